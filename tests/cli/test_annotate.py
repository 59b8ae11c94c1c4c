"""Pictures annotated with known faces: what is written, and what is told."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector, BrightnessClassifier

from app.cli.main import main
from app.core.types import Box

FACE = Box(10, 10, 60, 60)


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[int], Sequence[Box]]], None]:
    """Sets the faces of each picture, in the order of the looks; runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("app.vision.classifier.load_classifier", lambda _: BrightnessClassifier())

    def seen(boxes_of: Callable[[int], Sequence[Box]]) -> None:
        monkeypatch.setattr("app.vision.detector_loader.load_detector", lambda _: BoxesDetector(boxes_of))

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


def interrupted_at(calls: int) -> Callable[[int], Sequence[Box]]:
    """Ctrl-C comes while the picture after ``calls`` others is looked at."""

    def boxes_of(call: int) -> Sequence[Box]:
        if call == calls:
            raise KeyboardInterrupt
        return [FACE]

    return boxes_of


def test_what_was_done_before_an_interrupt_is_kept_and_told(
    see: Callable[[Callable[[int], Sequence[Box]]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    paint(*(f"in/{i}.png" for i in range(5)))
    see(interrupted_at(2))
    assert main(["annotate", "in", "--output", "out", "--table", "faces.csv"]) == 130
    said = capsys.readouterr()
    told = "interrupted after 2 of 5 pictures; annotated ones in out, their faces in faces.csv"
    assert said.err.splitlines() == [told]
    assert "2 faces in 2 pictures" in said.out
    assert [row.partition(",")[0] for row in Path("faces.csv").read_text().splitlines()[1:]] == ["in/0.png", "in/1.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.png", "1.png"]


def test_an_interrupt_before_the_first_picture_leaves_an_older_table(
    see: Callable[[Callable[[int], Sequence[Box]]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    paint("in/0.png", "in/1.png")
    Path("faces.csv").write_text("of yesterday")
    see(interrupted_at(0))
    assert main(["annotate", "in", "--table", "faces.csv"]) == 130
    assert capsys.readouterr().err.splitlines() == ["interrupted before the first of 2 pictures; nothing is written"]
    assert Path("faces.csv").read_text() == "of yesterday"


@pytest.mark.usefixtures("see")
def test_pictures_of_one_name_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a/door.png", "b/door.png", "b/[x].png")
    assert main(["annotate", "a", "b"]) == 0
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "60x60" in line]
    assert names == ["a/door.png", "[x].png", "b/door.png"]


def test_pictures_without_a_face_are_named(
    see: Callable[[Callable[[int], Sequence[Box]]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    paint(*(f"in/{i}.png" for i in range(9)), "also/1.png")
    see(lambda call: [] if call in (1, 2, 9) else [FACE])
    assert main(["annotate", "in", "also"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("7 faces in 10 pictures;")
    assert said[-1] == "no face in 3 of 10: in/1.png, 2.png, also/1.png"

    see(lambda _: [])
    assert main(["annotate", "in"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "no face in 9 of 9: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more"


@pytest.mark.usefixtures("see")
def test_one_face_in_one_picture(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png")
    assert main(["annotate", "a.png"]) == 0
    assert "1 face in 1 picture;" in capsys.readouterr().out


@pytest.mark.usefixtures("see")
def test_an_original_is_kept_whatever_its_name_is_spelled_like(capsys: pytest.CaptureFixture[str]) -> None:
    """A link of the other spelling stands in for a disk that does not mind capitals."""
    paint("in/a.JPG")
    original = Path("in/a.JPG").read_bytes()
    if not Path("in/a.jpg").exists():
        Path("in/a.jpg").hardlink_to("in/a.JPG")
    assert main(["annotate", "in/a.JPG", "--output", "in"]) == 2
    assert "would write over in" in capsys.readouterr().err
    assert Path("in/a.JPG").read_bytes() == original


@pytest.mark.usefixtures("see")
@pytest.mark.parametrize("place", ["flag", "file", "environment"])
def test_faces_are_blurred_wherever_that_is_set(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blurred: list[int] = []
    monkeypatch.setattr("app.ui.canvas.hide_faces", lambda board, boxes, factor: blurred.append(len(boxes)))
    Path("set.toml").write_text("[view]\nblur = true\n" if place == "file" else "")
    if place == "environment":
        monkeypatch.setenv("MASKWATCH_VIEW__BLUR", "true")
    paint("a.png")
    assert main(["annotate", "a.png", "--config", "set.toml", *(["--blur"] if place == "flag" else [])]) == 0
    assert blurred == [1]


@pytest.mark.usefixtures("see")
@pytest.mark.parametrize("table", ["faces.csv", "faces.jsonl"])
def test_a_name_that_is_no_utf8_is_written_into_the_table(table: str) -> None:
    paint("a.png")
    try:
        Path("a.png").rename("caf\udce9.png")
    except (OSError, UnicodeError):
        pytest.skip("this disk takes no such name")
    assert main(["annotate", "caf\udce9.png", "--table", table]) == 0
    assert "caf\\udce9.png" in Path(table).read_text("utf-8").replace("\\\\", "\\")


@pytest.mark.usefixtures("see")
def test_a_table_that_cannot_be_written_leaves_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    paint("a.png")
    Path("faces.csv").write_text("of yesterday")
    monkeypatch.setattr("csv.DictWriter.writerows", full)
    assert main(["annotate", "a.png", "--table", "faces.csv"]) != 0
    assert Path("faces.csv").read_text() == "of yesterday"
    assert not list(Path().glob(".faces*"))
