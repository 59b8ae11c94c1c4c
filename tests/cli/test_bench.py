"""``maskwatch bench``: short real runs, its JSON file, and bad input."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.bench.child_process import own_child
from app.bench.result_types import Report
from app.cli.bench import settings_of
from app.cli.main import build_parser, main

SHORT = ("bench", "--seconds", "3", "--warm-up", "0.5")


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a failing command prints on standard error."""
    try:
        code = main(argv)
    except SystemExit as stop:  # raised by argparse
        code = stop.code
    assert code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    return lines[0]


def report_of(path: Path) -> Report:
    return Report.model_validate(json.loads(path.read_text()))


def test_bench_measures_latency_and_start_up_of_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.json"
    assert main([*SHORT, "--starts", "1", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    for heading in ("frames analysed", "capture to glass", "drawing", "first labelled face"):
        assert heading in shown
    report = report_of(path)
    (run,) = report.runs
    assert run.seconds >= 3
    assert run.frames > 0
    assert run.dropped == 0
    assert math.isclose(run.rates_per_s["analysis"], run.frames / run.seconds)
    assert run.rates_per_s["pictures_drawn"] > 0
    assert {"capture", "detect", "analyse", "draw", "rest"} <= set(run.stages), "other stages depend on the faces"
    shares = sum(stage.share for stage in run.stages.values())
    assert math.isclose(shares, 1, abs_tol=0.3), "except calls cut at both ends"
    for name in ("capture_to_result", "capture_to_glass", "age_shown"):
        spread = run.latency[name]
        assert 0 < spread.p50_ms <= spread.p95_ms <= spread.p99_ms <= spread.max_ms
    assert run.cpu_s_per_frame
    assert run.settings["detector"]["kind"] == "cnn"
    assert report.starts is not None
    for start in (report.starts.cold, *report.starts.warm):
        assert 0 < start.first_frame_s <= start.first_label_s
        assert not start.tensorflow
    assert report.machine.cores >= report.machine.cores_allowed >= 1
    assert report.versions["maskwatch"]


def test_memory_is_measured_in_the_child_process(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    ballast = b"x" * 600_000_000
    assert main([*SHORT, "--starts", "0", "--json", str(path)]) == 0
    peak_mb = report_of(path).runs[0].peak_rss_mb
    if peak_mb is None:
        pytest.skip("this system does not report the memory of a process")
    assert 50 < peak_mb < len(ballast) / 1e6


def test_video_plays_as_a_live_camera(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    flags = ("--as-live", "200", "--slow-detector", "5", "--starts", "0", "--threads", "1", "--json", str(path))
    assert main([*SHORT, *flags]) == 0
    report = report_of(path)
    (run,) = report.runs
    assert report.as_live_fps == 200
    assert report.threads == 1
    assert run.settings["detector"]["threads"] == 1
    assert run.frames > 0
    assert run.dropped > 0, "the newest frame wins"
    assert run.rates_per_s["pictures_moved"] > 0
    assert "5 times slower" in run.notes


def test_paused_run_analyses_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    assert main([*SHORT, "--as-live", "10", "--paused", "--starts", "0", "--json", str(path)]) == 0
    (run,) = report_of(path).runs
    assert run.frames <= 1, "one frame may have been in progress"
    assert "detect" not in run.stages or run.stages["detect"].calls <= 1
    assert run.dropped > 0, "the camera keeps running"
    assert run.rates_per_s["pictures_moved"] == 0, "the image does not change"


@pytest.mark.parametrize("name", ["app.py", "json.py"])
def test_module_in_the_current_folder_is_not_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("raise SystemExit('the wrong program')")
    child = own_child(["--help"], "start", {})
    environment = {**os.environ, **child.environment}
    done = subprocess.run(child.command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "measure" in done.stdout


def test_source_flags_apply_to_cameras_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[[camera]]\nuri = "rtsp://door/live"\nname = "door"\n')
    argv = ["bench", "--config", str(file), "--width", "1280", "--rtsp-transport", "udp"]
    (door,) = settings_of(build_parser().parse_args(argv)).camera
    assert (door.name, door.width_px, door.rtsp_transport) == ("door", 1280, "udp")
    (demo,) = settings_of(build_parser().parse_args(["bench", "--width", "640"])).camera
    assert (demo.uri, demo.width_px, demo.loop) == ("demo", 640, True)


def test_missing_sources_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "absent.mp4" in fails(capsys, *SHORT, "--starts", "0", "--source", str(tmp_path / "absent.mp4"))
    both = ("--source", "demo", "--source", str(tmp_path / "absent.mp4"))
    assert "absent.mp4" in fails(capsys, *SHORT, "--starts", "0", *both)


def test_bad_arguments_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for flags, expected in (
        (("--seconds", "soon"), "soon"),
        (("--seconds", "nan"), "nan"),
        (("--seconds", "0"), "--seconds"),
        (("--threads", "0"), "--threads"),
        (("--threads", "1000"), "1000"),
        (("--as-live", "-3"), "--as-live"),
        (("--starts", "-1"), "--starts"),
        (("--detector", "eyes"), "eyes"),
        (("--model", str(tmp_path / "none.tflite"), "--starts", "0"), "none.tflite"),
        (("--json", str(tmp_path / "no" / "speed.json")), "speed.json"),
        (("--compare", "nobody"), "nobody"),
        (("--compare", str(tmp_path / "gone.py")), "gone.py"),
        (("--compare", "naive", "--as-live", "5"), "--as-live"),
        (("--compare", "naive", "--source", "0"), "--compare"),
    ):
        assert expected in fails(capsys, *SHORT, *flags)


def test_window_without_a_display_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform in ("win32", "darwin"):
        pytest.skip("there is always a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "no display" in fails(capsys, *SHORT, "--window")


def test_command_imports_no_large_package() -> None:
    code = (
        "import sys; import app.cli.bench; "
        "print([m for m in ('cv2', 'numpy', 'rich', 'tensorflow', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
