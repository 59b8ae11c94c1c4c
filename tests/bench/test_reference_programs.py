"""Reference programs: how they are found and run, and how their figures are compared."""

import json
import sys
from pathlib import Path

import cv2
import pytest

from app.bench import reference_programs
from app.bench.child_process import BenchError, Child, run_for_figures
from app.bench.result_types import Figures, Report
from app.capture.recorder import VideoWriter
from app.cli.main import main
from app.core import resources

FAKE = """
import argparse, json, time
parser = argparse.ArgumentParser()
for name in ("--clip", "--seconds", "--warm-up", "--threads"):
    parser.add_argument(name)
args = parser.parse_args()
with open(args.clip + ".runs", "a") as runs:
    runs.write(f"{args.threads} {time.time()}\\n")
print("other output")
print(json.dumps({"schema": 1, "name": "fake", "seconds": 4.0, "frames": 2, "cpu_s_per_frame": 0.5}))
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(resources.asset("demo.mp4").read_bytes())
    return path


def test_reference_alternates_with_the_pipeline(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, path = tmp_path / "fake_loop.py", tmp_path / "speed.json"
    program.write_text(FAKE)
    flags = ["--seconds", "1", "--warm-up", "0.5", "--starts", "0", "--rounds", "2", "--threads", "1"]
    code = main(["bench", "--source", str(clip), *flags, "--compare", str(program), "--json", str(path)])
    assert code == 0
    assert "fake-loop" in capsys.readouterr().out
    report = Report.model_validate(json.loads(path.read_text()))
    (comparison,) = report.comparisons
    assert comparison.name == "fake-loop"
    assert len(report.runs) == len(comparison.runs) == 2
    ratios = [run.frames_per_s / 0.5 for run in report.runs]
    assert comparison.frames_per_s.pairs == 2
    assert comparison.frames_per_s.least == pytest.approx(min(ratios))
    assert comparison.frames_per_s.greatest == pytest.approx(max(ratios))
    assert comparison.cpu_s_per_frame is not None
    starts = [line.split() for line in (tmp_path / "clip.mp4.runs").read_text().splitlines()]
    assert [threads for threads, _ in starts] == ["1", "1"]
    apart_s = float(starts[1][1]) - float(starts[0][1])
    assert apart_s >= 1, "maskwatch ran in between"


OLD = """
import json, sys
flags = dict(zip(sys.argv[2::2], sys.argv[3::2]))
run = {"schema": 1, "name": "maskwatch", "seconds": 4.0, "frames": 8, "notes": " ".join(sys.argv[1:6])}
open(flags["--json"], "w").write(json.dumps({"runs": [run]}))
"""


def test_another_version_plays_the_same_video(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own code runs, although the path of Python leads to this version."""
    program = reference_programs.find("last-release")
    child = reference_programs.reference(program, clip, ["--seconds", "2.0"], {})
    for old in (None, tmp_path / "none"):
        monkeypatch.delenv("MASKWATCH_OLD", raising=False)
        if old is not None:
            monkeypatch.setenv("MASKWATCH_OLD", str(old))
        with pytest.raises(BenchError, match="set MASKWATCH_OLD to the Python"):
            run_for_figures(child, 2.0)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "__main__.py").write_text(OLD)
    monkeypatch.setenv("MASKWATCH_OLD", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(reference_programs.__file__).parents[2]))
    figures = run_for_figures(child, 2.0)
    assert figures.frames_per_s == 2
    assert figures.notes == f"bench --source {clip} --seconds 2.0"


def test_run_in_turns_alternates() -> None:
    order: list[str] = []

    def turn(name: str) -> Figures:
        order.append(name)
        return Figures(schema=1, name=name, seconds=1, frames=1)

    runs = reference_programs.run_in_turns(3, [lambda: turn("a"), lambda: turn("b")])
    assert order == ["a", "b"] * 3
    assert [[run.name for run in each] for each in runs] == [["a"] * 3, ["b"] * 3]


def test_every_reference_of_the_checkout_is_found() -> None:
    assert {"naive", "naive-ssd", "facemaskdetector", "stages", "last-release"} == set(reference_programs.names())
    for name in reference_programs.names():
        assert reference_programs.find(name).is_file()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('no weights here; fetch them')", "no weights here; fetch them"),
        ("print('hello')", "prints no figures"),
        ("", "prints no figures"),
        ('print(\'{"schema": 1, "name": "x", "seconds": -1, "frames": 1}\')', "seconds"),
    ],
)
def test_failing_reference_raises_one_line(tmp_path: Path, body: str, message: str) -> None:
    program = tmp_path / "bad.py"
    program.write_text(body)
    with pytest.raises(BenchError) as caught:
        run_for_figures(Child("bad", (sys.executable, str(program)), {}), 1.0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_comparison_with_a_reference_without_frames_raises() -> None:
    ours = [Figures(schema=1, name="maskwatch", seconds=1, frames=5)]
    theirs = [Figures(schema=1, name="x", seconds=1, frames=0)]
    with pytest.raises(BenchError, match="analysed no frame"):
        reference_programs.comparison("x", ours, theirs)


def test_stages_reference_reports_the_cost_of_each_stage(tmp_path: Path) -> None:
    demo, video = cv2.VideoCapture(str(resources.asset("demo.mp4"))), tmp_path / "people.avi"
    with VideoWriter(video, 25, (640, 480)) as writer:
        for index in range(160):
            _, image = demo.read()
            if index >= 120:  # two people from frame 120
                writer.write(image)
    flags = ("--clip", str(video), "--seconds", "2", "--warm-up", "0.5", "--threads", "1")
    figures = run_for_figures(
        Child("stages", (sys.executable, str(reference_programs.find("stages")), *flags), {}), 3.0
    )
    assert figures.frames > 0
    assert figures.stages["detect"].calls <= figures.frames
    assert figures.stages["detect"].cpu_s > 0
    assert 0 < figures.faces_per_frame < 3
