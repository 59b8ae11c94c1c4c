"""The benchmark programs: videos, bars, roofline, growth. No test asserts a speed."""

import hashlib
import json
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import bar_table  # noqa: E402
import growth  # noqa: E402
import levers  # noqa: E402
import make_clip  # noqa: E402
import roofline  # noqa: E402

from app.bench.child_process import BenchError  # noqa: E402
from app.bench.result_types import Figures, Spread, Stage, StartupTime  # noqa: E402
from app.core import resources  # noqa: E402
from app.settings.root import Settings  # noqa: E402
from app.settings.vision import DetectorSettings  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402


def test_clip_is_reproducible_and_has_the_given_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_clip, "SECONDS", 1)
    paths = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for scene in ("busy", "still", "empty"):
        assert [make_clip.make(path, scene, (320, 240)) for path in paths] == [25, 25]
        assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1
        frames = list(make_clip.frames_of(paths[0]))
        assert {frame.shape for frame in frames} == {(240, 320, 3)}


def test_busy_clip_falls_back_to_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(make_clip, "CLIPS", tmp_path)
    frame = next(make_clip.busy(640, 480))
    assert len(load_detector(DetectorSettings()).detect(frame)) == 1


@pytest.mark.parametrize("faces", [0, 1, 4, 9])
def test_crowd_has_the_given_number_of_faces(faces: int) -> None:
    frame = next(islice(make_clip.crowd(faces, 640, 480), 30, None))
    assert len(load_detector(DetectorSettings()).detect(frame)) == faces


def test_still_scene_has_noise_and_no_face() -> None:
    one, two = islice(make_clip.still(640, 480), 2)
    assert 0 < np.abs(one.astype(int) - two).mean() < 6
    assert load_detector(DetectorSettings()).detect(one) == []


def figures(
    fps: float, cpu_s: float, cores: float = 1.0, delay_ms: float = 10.0, rates: dict[str, float] | None = None
) -> Figures:
    spread = Spread(count=1, p50_ms=delay_ms, p95_ms=delay_ms, p99_ms=delay_ms, max_ms=delay_ms)
    names = ("capture_to_result", "age_shown", "detection", "classification")
    return Figures(
        schema=1,
        name="x",
        seconds=1,
        frames=round(fps),
        rates_per_s=rates or {"capture": 25, "pictures_moved": 24},
        latency=dict.fromkeys(names, spread),
        cpu_s_per_frame=cpu_s,
        cores_used=cores,
        peak_rss_mb=200,
        stages={name: Stage(calls=1, wall_s=1, cpu_s=cpu_s * fps / 2, share=0.5) for name in ("detect", "classify")},
    )


def measured() -> dict[str, object]:
    start = StartupTime(first_frame_s=0.9, first_label_s=1.0, first_label_cpu_s=0.8, rss_mb=100, tensorflow=False)
    ours = [figures(100, 0.01), figures(120, 0.01), figures(80, 0.01)]
    runs = {"maskwatch": ours, "naive": [figures(8, 0.2)] * 3, "stages": [figures(100, 0.009)] * 3}
    runs |= {
        name: [figures(25, 0.01, cores=0.5)] * 3
        for name in ("one thread", "busy", "every look", "slow detector", "720p")
    }
    runs |= {name: [figures(25, 0.01, cores=0.03)] * 3 for name in ("still", "empty", "paused", "no camera")}
    one = {"cpu_ms": 1.0, "wall_ms": 1.0, "calls": 1}
    parts = {name: dict(one) for name in ("detector", "classifier, LiteRT", "model_6, LiteRT")}
    parts["model_6, LiteRT"]["cpu_ms"] = 2.0
    return {"runs": runs, "starts": [start] * 3, "parts": parts}


def test_bars_are_ratios_within_a_round_and_report_misses() -> None:
    bars = {bar.name: bar for bar in bar_table.bars_of(measured())}
    naive = bars["frames per second, pipeline / `naive`"]
    assert naive.values == (100 / 8, 120 / 8, 80 / 8)
    assert naive.value == 12.5
    assert not naive.met
    assert "20.0 × less" in naive.note
    overhead = bars["processor time per frame, pipeline / detector and classifier alone"]
    assert overhead.value == pytest.approx(0.01 / 0.009)
    assert bars["the same within one run, one thread per network"].value == 1.0, "both stages have half of it"
    paper = bars["one face, the paper's `model_6` / our classifier, both LiteRT"]
    assert paper.value == 2.0
    assert not paper.met
    still = bars["processor load, still empty scene / busy scene"]
    assert still.value == pytest.approx(0.06)
    assert still.met
    assert bars["capture to result, p95 / median time of detector and classifier"].value == 0.5
    assert not any("facemaskdetector" in name or "predict" in name for name in bars), "no bar without a measurement"


def test_run_without_frames_raises() -> None:
    results = measured()
    results["runs"]["slow detector"] = [Figures(schema=1, name="x", seconds=1, frames=0)] * 3  # type: ignore[index]
    with pytest.raises(BenchError, match="--seconds"):
        bar_table.bars_of(results)


def test_tables_are_written_between_their_markers(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- bars -->\nold\n<!-- /bars -->\nafter\n")
    bar_table.write_between(page, "bars", "new")
    bar_table.write_between(page, "bars", "newer")
    assert page.read_text() == "before\n<!-- bars -->\nnewer\n<!-- /bars -->\nafter\n"
    with pytest.raises(SystemExit, match="growth"):
        bar_table.write_between(page, "growth", "new")


def test_operations_grow_with_the_image_but_weights_do_not() -> None:
    path = resources.model("face_detector.tflite")
    small, large = (roofline.work_of("x", roofline.allocated(path, (1, side, side, 3))) for side in (128, 256))
    assert large.multiply_adds == 4 * small.multiply_adds > 0
    assert large.parameters_bytes == small.parameters_bytes > 0
    assert small.parameters_bytes < small.least_bytes < small.most_bytes < large.most_bytes


def test_least_time_is_set_by_the_tighter_limit() -> None:
    work = roofline.Work("x", multiply_adds=500, most_bytes=10_000, least_bytes=3000, parameters_bytes=0)
    assert work.least_s(roofline.Peaks(flops=1000, bytes_per_s=6000)) == 1.0
    assert work.least_s(roofline.Peaks(flops=10_000, bytes_per_s=6000)) == 0.5


def test_growth_writes_figures_plot_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    monkeypatch.setattr(make_clip, "SECONDS", 2)
    page, record, plot = (tmp_path / name for name in ("speed.md", "growth.json", "growth.svg"))
    page.write_text("<!-- growth --><!-- /growth -->")
    axes = ["--widths", "320", "--faces", "1", "--cameras", "2", "--rounds", "1", "--seconds", "1.5"]
    outputs = ["--json", str(record), "--plot", str(plot), "--page", str(page), "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["growth.py", *axes, *outputs])
    assert growth.main() == 0
    results = json.loads(record.read_text())
    for axis, x in (("width", 320), ("faces", 1), ("cameras", 2)):
        (point,) = results[axis]
        assert point["x"] == x
        assert point["frames_per_s"] > 0
        assert point["cpu_ms_per_frame"] > 0
    assert "| 320 |" in page.read_text()
    assert plot.read_text().lstrip().startswith("<?xml")


def test_levers_writes_the_saving_of_each_optimisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_clip, "SECONDS", 2)
    page, record = tmp_path / "speed.md", tmp_path / "levers.json"
    page.write_text("<!-- levers --><!-- /levers -->")
    flags = ["--videos", "still", "--rounds", "1", "--seconds", "1.5", "--json", str(record), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", ["levers.py", *flags])
    assert levers.main() == 0
    (row,) = json.loads(record.read_text())["rows"]
    assert row["ratios"][0] > 1
    assert row["saving"] in page.read_text()


def test_every_setting_of_a_lever_exists() -> None:
    names = {name for each in levers.LEVERS.values() for lever in each for name in lever.environment}
    for name in names:
        table, field = name.removeprefix("MASKWATCH_").lower().split("__")
        assert field in type(getattr(Settings(), table)).model_fields
