"""Short versions of benchmarks/cameras.py and benchmarks/soak.py, without assertions about speed."""

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from fakes_video import wait_until

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses need the module there
    spec.loader.exec_module(module)
    return module


def test_each_of_eight_cameras_is_analysed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    figures = benchmark(monkeypatch, "cameras").run(8, 10, 4.0, [])
    assert len({each.camera for each in figures.cameras}) == 8
    for each in figures.cameras:
        assert each.analysed_fps > 0
        assert each.age_p95_ms < 60_000
        # Every frame was analysed or counted as dropped or skipped, except the current one.
        known_fps = each.analysed_fps + each.dropped_fps + each.skipped_fps
        assert each.came_fps == pytest.approx(known_fps, abs=3 / 4.0)
    wait_until(lambda: set(threading.enumerate()) <= before, "the threads end")  # not at once on a busy machine


def test_the_numbers_of_threads_and_handles_do_not_grow(tmp_path: Path) -> None:
    """In a separate process, because libraries in other tests start threads too."""
    path = tmp_path / "soak.json"
    argv = [sys.executable, str(BENCHMARKS / "soak.py"), "--minutes", "0.5", "--kill-every", "10", "--json", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert path.exists(), done.stderr
    soak = json.loads(path.read_text())
    assert soak["kills"] >= 1
    assert soak["analysed"] > 0
    assert soak["threads_last"] <= soak["threads_first"]
    assert soak["handles_last"] <= soak["handles_first"]
    assert soak["left_threads"] == []
    assert soak["growth"] < 0.5  # a loose limit, because the run is short
