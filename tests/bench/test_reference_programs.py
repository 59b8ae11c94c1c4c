"""References: how they are found and asked, and what their figures become."""

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
with open(args.clip + ".asked", "a") as asked:
    asked.write(f"{args.threads} {time.time()}\\n")
print("chatter on the way")
print(json.dumps({"schema": 1, "name": "fake", "seconds": 4.0, "frames": 2, "cpu_s_per_frame": 0.5}))
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(resources.asset("demo.mp4").read_bytes())
    return path


def test_a_reference_takes_turns_with_the_pipeline(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, path = tmp_path / "fake_loop.py", tmp_path / "speed.json"
    program.write_text(FAKE)
    words = ["--seconds", "1", "--warm-up", "0.5", "--starts", "0", "--rounds", "2", "--threads", "1"]
    code = main(["bench", "--source", str(clip), *words, "--compare", str(program), "--json", str(path)])
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
    asked = [line.split() for line in (tmp_path / "clip.mp4.asked").read_text().splitlines()]
    assert [threads for threads, _ in asked] == ["1", "1"]
    apart_s = float(asked[1][1]) - float(asked[0][1])
    assert apart_s >= 1, "a run of ours lay between"


def test_turns_alternate() -> None:
    order: list[str] = []

    def turn(name: str) -> Figures:
        order.append(name)
        return Figures(schema=1, name=name, seconds=1, frames=1)

    runs = reference_programs.run_in_turns(3, [lambda: turn("a"), lambda: turn("b")])
    assert order == ["a", "b"] * 3
    assert [[run.name for run in each] for each in runs] == [["a"] * 3, ["b"] * 3]


def test_the_checkouts_own_references_are_known() -> None:
    assert {"naive", "naive-ssd", "facemaskdetector", "stages"} == set(reference_programs.names())
    for name in reference_programs.names():
        assert reference_programs.find(name).is_file()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import sys; sys.exit('no weights here; fetch them')", "no weights here; fetch them"),
        ("print('hello')", "gives no figures"),
        ("", "gives no figures"),
        ('print(\'{"schema": 1, "name": "x", "seconds": -1, "frames": 1}\')', "seconds"),
    ],
)
def test_a_reference_that_fails_or_tells_nothing(tmp_path: Path, body: str, told: str) -> None:
    program = tmp_path / "bad.py"
    program.write_text(body)
    with pytest.raises(BenchError) as caught:
        run_for_figures(Child("bad", (sys.executable, str(program)), {}), 1.0)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reference_that_analysed_nothing_gives_no_ratio() -> None:
    ours = [Figures(schema=1, name="maskwatch", seconds=1, frames=5)]
    theirs = [Figures(schema=1, name="x", seconds=1, frames=0)]
    with pytest.raises(BenchError, match="analysed no frame"):
        reference_programs.comparison("x", ours, theirs)


def test_our_stages_alone_run_and_tell_what_they_cost(tmp_path: Path) -> None:
    demo, film = cv2.VideoCapture(str(resources.asset("demo.mp4"))), tmp_path / "people.avi"
    with VideoWriter(film, 25, (640, 480)) as writer:
        for index in range(160):
            _, image = demo.read()
            if index >= 120:  # two people from here on
                writer.write(image)
    words = ("--clip", str(film), "--seconds", "2", "--warm-up", "0.5", "--threads", "1")
    figures = run_for_figures(
        Child("stages", (sys.executable, str(reference_programs.find("stages")), *words), {}), 3.0
    )
    assert figures.frames > 0
    assert figures.stages["detect"].calls <= figures.frames
    assert figures.stages["detect"].cpu_s > 0
    assert 0 < figures.faces_per_frame < 3
