"""``maskwatch annotate``, mostly with a fake detector: written files and printed lines."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector, BrightnessClassifier
from fakes_cli import fails

from app.cli.main import main
from app.core import resources
from app.core.types import Box, Label

FACE = Box(10, 10, 60, 60)


@pytest.fixture
def set_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[int], Sequence[Box]]], None]:
    """Sets the faces of each detection pass, by index. Runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("app.pipeline.image_labeler.load_classifier", lambda _: BrightnessClassifier())

    def set_boxes(boxes_of: Callable[[int], Sequence[Box]]) -> None:
        monkeypatch.setattr("app.pipeline.image_labeler.load_detector", lambda _: BoxesDetector(boxes_of))

    set_boxes(lambda _: [FACE])
    return set_boxes


def write_images(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, np.full((90, 90, 3), 240, np.uint8))


@pytest.mark.usefixtures("set_faces")
def test_subfolders_are_reported_and_not_searched(capsys: pytest.CaptureFixture[str]) -> None:
    write_images("in/a.png", "in/2019/b.png", "in/[x]/c.png", "in/given/d.png", "in/.thumbs/e.png")
    flags = ("in", "in/given", "--output", "in/out")
    for _ in range(2):  # in the second run the output exists
        assert main(["annotate", *flags]) == 0
        output = capsys.readouterr()
        assert output.err.splitlines() == ["2 subfolders not searched: in/2019, in/[x]"]
    assert sorted(path.name for path in Path("in/out").iterdir()) == ["a.png", "d.png"]

    assert main(["annotate", "in/2019"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("set_faces")
def test_folder_without_images_names_its_subfolders(capsys: pytest.CaptureFixture[str]) -> None:
    write_images("in/2019/b.png")
    assert main(["annotate", "in"]) == 2
    expected = "maskwatch: folder in contains no images; give its subfolders, which are not searched: in/2019"
    assert capsys.readouterr().err.splitlines() == [expected]


def interrupted_at(calls: int) -> Callable[[int], Sequence[Box]]:
    """Raises KeyboardInterrupt in the detection pass after ``calls`` others."""

    def boxes_of(call: int) -> Sequence[Box]:
        if call == calls:
            raise KeyboardInterrupt
        return [FACE]

    return boxes_of


def test_images_finished_before_an_interrupt_are_kept_and_reported(
    set_faces: Callable[[Callable[[int], Sequence[Box]]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(*(f"in/{i}.png" for i in range(5)))
    set_faces(interrupted_at(2))
    assert main(["annotate", "in", "--output", "out", "--table", "faces.csv"]) == 130
    output = capsys.readouterr()
    expected = "interrupted after 2 of 5 images; annotated images in out, faces in faces.csv"
    assert output.err.splitlines() == [expected]
    assert "2 faces in 2 images" in output.out
    assert [row.partition(",")[0] for row in Path("faces.csv").read_text().splitlines()[1:]] == ["in/0.png", "in/1.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.png", "1.png"]


def test_interrupt_before_the_first_image_keeps_an_existing_table(
    set_faces: Callable[[Callable[[int], Sequence[Box]]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_images("in/0.png", "in/1.png")
    Path("faces.csv").write_text("of yesterday")
    set_faces(interrupted_at(0))
    assert main(["annotate", "in", "--table", "faces.csv"]) == 130
    assert capsys.readouterr().err.splitlines() == ["interrupted before the first of 2 images; no file was written"]
    assert Path("faces.csv").read_text() == "of yesterday"


@pytest.mark.usefixtures("set_faces")
def test_images_with_the_same_name_are_shown_with_their_path(capsys: pytest.CaptureFixture[str]) -> None:
    write_images("a/door.png", "b/door.png", "b/[x].png")
    assert main(["annotate", "a", "b"]) == 0
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "60x60" in line]
    assert names == ["a/door.png", "[x].png", "b/door.png"]


def test_images_without_a_face_are_named(
    set_faces: Callable[[Callable[[int], Sequence[Box]]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(*(f"in/{i}.png" for i in range(9)), "also/1.png")
    set_faces(lambda call: [] if call in (1, 2, 9) else [FACE])
    assert main(["annotate", "in", "also"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("7 faces in 10 images;")
    assert output[-1] == "no face in 3 of 10: in/1.png, 2.png, also/1.png"

    set_faces(lambda _: [])
    assert main(["annotate", "in"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[-1] == "no face in 9 of 9: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more"


@pytest.mark.usefixtures("set_faces")
def test_one_face_in_one_image(capsys: pytest.CaptureFixture[str]) -> None:
    write_images("a.png")
    assert main(["annotate", "a.png"]) == 0
    assert "1 face in 1 image;" in capsys.readouterr().out


@pytest.mark.usefixtures("set_faces")
def test_input_is_kept_on_a_case_insensitive_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """A hard link with the other spelling simulates a case-insensitive disk."""
    write_images("in/a.JPG")
    original = Path("in/a.JPG").read_bytes()
    if not Path("in/a.jpg").exists():
        Path("in/a.jpg").hardlink_to("in/a.JPG")
    assert main(["annotate", "in/a.JPG", "--output", "in"]) == 2
    assert "would overwrite the input in" in capsys.readouterr().err
    assert Path("in/a.JPG").read_bytes() == original


@pytest.mark.usefixtures("set_faces")
@pytest.mark.parametrize("place", ["flag", "file", "environment"])
def test_blur_can_be_set_by_flag_file_and_environment(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blurred: list[int] = []
    monkeypatch.setattr("app.ui.faces.hide_faces", lambda board, boxes, factor: blurred.append(len(boxes)))
    Path("set.toml").write_text("[view]\nblur = true\n" if place == "file" else "")
    if place == "environment":
        monkeypatch.setenv("MASKWATCH_VIEW__BLUR", "true")
    write_images("a.png")
    assert main(["annotate", "a.png", "--config", "set.toml", *(["--blur"] if place == "flag" else [])]) == 0
    assert blurred == [1]


@pytest.mark.usefixtures("set_faces")
def test_a_rejected_detection_is_not_reported_but_blurred(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier may be wrong, and then a face would be visible."""
    blurred: list[int] = []
    rejecting = BrightnessClassifier()
    rejecting.metadata = rejecting.metadata.model_copy(update={"labels": (Label.NOT_FACE, Label.MASK, Label.NO_MASK)})
    monkeypatch.setattr("app.pipeline.image_labeler.load_classifier", lambda _: rejecting)
    monkeypatch.setattr("app.ui.faces.hide_faces", lambda board, boxes, factor: blurred.append(len(boxes)))
    write_images("a.png")
    assert main(["annotate", "a.png", "--blur", "--table", "faces.jsonl"]) == 0
    assert blurred == [1]
    assert Path("faces.jsonl").read_text() == ""


@pytest.mark.usefixtures("set_faces")
@pytest.mark.parametrize("table", ["faces.csv", "faces.jsonl"])
def test_file_name_that_is_not_utf8_is_escaped_in_the_table(table: str) -> None:
    write_images("a.png")
    try:
        Path("a.png").rename("caf\udce9.png")
    except (OSError, UnicodeError):
        pytest.skip("this file system does not allow the name")
    assert main(["annotate", "caf\udce9.png", "--table", table]) == 0
    assert "caf\\udce9.png" in Path(table).read_text("utf-8").replace("\\\\", "\\")


@pytest.mark.usefixtures("set_faces")
def test_failed_table_write_keeps_the_existing_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_images("a.png")
    Path("faces.csv").write_text("of yesterday")
    monkeypatch.setattr("app.core.text.CsvWriter.writerows", full)
    assert main(["annotate", "a.png", "--table", "faces.csv"]) != 0
    assert Path("faces.csv").read_text() == "of yesterday"
    assert not list(Path().glob(".faces*"))


def test_annotate_writes_images_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = cv2.VideoCapture(str(resources.asset("demo.mp4")))
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        video.set(cv2.CAP_PROP_POS_FRAMES, 60 + 50 * i)
        ok, image = video.read()
        assert ok
        cv2.imwrite(str(folder / f"{i}.jpg"), image)
    video.release()
    out, table = tmp_path / "out", tmp_path / "faces.csv"
    assert main(["annotate", str(folder), "--output", str(out), "--table", str(table)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]
    assert (cv2.imread(str(out / "0.jpg")) != cv2.imread(str(folder / "0.jpg"))).any()
    rows = table.read_text().splitlines()
    assert rows[0] == "file,face,label,confidence,x,y,width,height"
    assert len(rows) > 1
    assert "faces in 3 images" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [(1, 1), (40, 60), (40, 60, 3), (40, 60, 4)])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_annotate_reads_every_pixel_format(tmp_path: Path, shape: tuple[int, ...], depth: type) -> None:
    path = tmp_path / "odd.png"
    cv2.imwrite(str(path), np.full(shape, np.iinfo(depth).max // 2, depth))
    assert main(["annotate", str(path), "--output", str(tmp_path / "out")]) == 0
    assert cv2.imread(str(tmp_path / "out" / "odd.png")).shape[:2] == shape[:2]


def test_annotate_rejects_files_that_are_not_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, empty = tmp_path / "text.jpg", tmp_path / "empty"
    text.write_text("not an image")
    empty.mkdir()
    assert "text.jpg" in fails(capsys, "annotate", str(text), "--output", str(tmp_path / "out"))
    assert "empty" in fails(capsys, "annotate", str(empty), "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
