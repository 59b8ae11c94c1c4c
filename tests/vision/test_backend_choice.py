"""What ``auto`` means: explicit settings, then what was measured on this machine, then LiteRT with int8."""

import json

import pytest

from app.core import resources
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision import backend_choice
from app.vision.backend_choice import (
    Speed,
    fastest,
    read_speeds,
    resolved_classifier,
    resolved_detector,
    speeds_file,
    write_speeds,
)


def speed(backend: str, precision: str, threads: int, ms: float) -> Speed:
    return Speed("detector", backend, precision, threads, ms)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_choice, "available_backends", lambda: ["litert", "openvino", "onnx"])


MEASURED = [
    speed("litert", "int8", 1, 20.0),
    speed("litert", "int8", 2, 11.0),
    speed("litert", "float32", 1, 15.0),
    speed("litert", "float32", 2, 14.0),
    speed("openvino", "float32", 1, 12.0),
    speed("openvino", "float32", 2, 9.8),
    speed("onnx", "float32", 1, 30.0),
    speed("onnx-cuda", "float32", 1, 1.0),  # ONNX Runtime without CUDA was installed since
]


def chosen(cores: int | None = 8, **settings: object) -> tuple[str, str, int | None]:
    found = resolved_detector(DetectorSettings.model_validate(settings), cores, MEASURED)
    return found.backend, found.precision, found.threads


def test_auto_takes_the_fastest_and_explicit_settings_win() -> None:
    assert chosen() == ("litert", "int8", 2)
    assert chosen(cores=1) == ("litert", "float32", 1)
    assert chosen(precision="float32") == ("litert", "float32", 1)  # the second core saves too little
    assert chosen(precision="float32", threads=6) == ("litert", "float32", 6)
    assert chosen(backend="auto") == ("openvino", "float32", 1)
    assert chosen(backend="onnx") == ("onnx", "float32", 1)
    assert chosen(backend="auto", precision="int8") == ("litert", "int8", 2)


def test_a_small_gain_does_not_change_the_default() -> None:
    nearly = [speed("litert", "int8", 1, 10.0), speed("litert", "float32", 1, 9.5)]
    assert fastest(nearly, "detector") == nearly[0]
    assert fastest([nearly[0], speed("litert", "float32", 1, 8.9)], "detector") != nearly[0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("litert", "int8", 2)),
        ({"backend": "auto", "threads": 3}, ("litert", "int8", 3)),
        ({"backend": "onnx"}, ("onnx", "float32", 2)),
        ({"backend": "auto", "model": "own.onnx"}, ("onnx", "float32", 2)),
        ({"backend": "auto", "model": "own.tflite"}, ("litert", "int8", 2)),
    ],
)
def test_auto_without_a_measurement(settings: dict[str, object], expected: tuple[str, str, int]) -> None:
    found = resolved_detector(DetectorSettings.model_validate(settings), 8)
    assert (found.backend, found.precision, found.threads) == expected
    assert resolved_classifier(ClassifierSettings(backend="auto")).backend == "litert"


def test_times_are_kept_per_machine_and_models(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [*MEASURED, Speed("classifier", "openvino", "float32", 1, 0.2)]
    write_speeds(measured)
    assert read_speeds() == measured
    assert resolved_detector(DetectorSettings(backend="auto"), 8).backend == "openvino"
    assert resolved_classifier(ClassifierSettings(backend="auto")).backend == "openvino"
    with monkeypatch.context() as other:
        other.setattr(backend_choice, "cpu_name", lambda: "another processor")
        assert read_speeds() == []
        write_speeds(MEASURED[:1])
    with monkeypatch.context() as other:
        other.setattr(resources, "root", lambda: speeds_file().parent)  # other models
        assert read_speeds() == []
    assert read_speeds() == measured
    assert len(json.loads(speeds_file().read_text("utf-8"))) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', "\x00", '{"KEY": [["detector"]]}', '{"KEY": 3}'])
def test_a_damaged_file_counts_as_not_measured(text: str) -> None:
    write_speeds(MEASURED)
    key = next(iter(json.loads(speeds_file().read_text("utf-8"))))
    speeds_file().write_text(text.replace("KEY", key))
    assert read_speeds() == []
    assert resolved_detector(DetectorSettings(), 2).precision == "int8"
    write_speeds(MEASURED)
    assert read_speeds() == MEASURED
