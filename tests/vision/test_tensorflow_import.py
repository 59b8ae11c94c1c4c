"""Tests of app/vision/tensorflow_import.py: only native log lines are dropped."""

import os
import threading

import pytest

from app.vision.tensorflow_import import silence_native_logs

NATIVE = [
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795776546.577325   12010 cudart_stub.cc:31] Could not find cuda drivers on your machine",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow",
]


def test_lines_of_other_threads_are_kept(capfd: pytest.CaptureFixture[str]) -> None:
    printed = threading.Event()

    def load() -> None:
        with silence_native_logs():
            for line in NATIVE:
                os.write(2, f"{line}\n".encode())
            printed.wait(60)

    loads = [threading.Thread(target=load) for _ in range(3)]  # a detector and a classifier load at the same time
    for thread in loads:
        thread.start()
    os.write(2, b"web view: http://127.0.0.1:8080/\n")
    printed.set()
    for thread in loads:
        thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "web view: http://127.0.0.1:8080/\nafter\n"
