"""Pictures annotated with known faces: what is written, and what is told."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector, BrightnessClassifier

from app.cli import main
from app.domain import Box

FACE = Box(10, 10, 60, 60)


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[int], Sequence[Box]]], None]:
    """Sets the faces of each picture, in the order of the looks; runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("app.vision.classify.load_classifier", lambda _: BrightnessClassifier())

    def seen(boxes_of: Callable[[int], Sequence[Box]]) -> None:
        monkeypatch.setattr("app.vision.detect.load_detector", lambda _: BoxesDetector(boxes_of))

    seen(lambda _: [FACE])
    return seen


def paint(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.full((90, 90, 3), 240, np.uint8))


@pytest.mark.usefixtures("see")
def test_subfolders_are_told_not_looked_into(capsys: pytest.CaptureFixture[str]) -> None:
    paint("in/a.png", "in/2019/b.png", "in/[x]/c.png", "in/given/d.png", "in/.thumbs/e.png")
    flags = ("in", "in/given", "--output", "in/out")
    for _ in range(2):  # the second time the output is there
        assert main(["annotate", *flags]) == 0
        said = capsys.readouterr()
        assert said.err.splitlines() == ["2 subfolders not looked into: in/2019, in/[x]"]
    assert sorted(path.name for path in Path("in/out").iterdir()) == ["a.png", "d.png"]

    assert main(["annotate", "in/2019"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("see")
def test_a_folder_of_folders_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    paint("in/2019/b.png")
    assert main(["annotate", "in"]) == 2
    told = "maskwatch: folder in holds no picture; name its subfolders, which are not looked into: in/2019"
    assert capsys.readouterr().err.splitlines() == [told]
