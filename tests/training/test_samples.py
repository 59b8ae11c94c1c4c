"""Samples from class folders and splits."""

from pathlib import Path

import pytest
from fakes_training import write_image, yolo
from rich.console import Console

from app.core.errors import DataError
from app.core.types import Label
from app.training.data.samples import class_folders, find_samples, image_files, label_of, labels_of, show_left_out
from app.training.types import LeftOut


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("WithMask", Label.MASK),
        ("with_mask", Label.MASK),
        ("WithoutMask", Label.NO_MASK),
        ("no_mask", Label.NO_MASK),
        ("mask_weared_incorrect", Label.INCORRECT),
        ("face_mask", Label.MASK),
        ("face_no_mask", Label.NO_MASK),
        ("face_with_mask_incorrect", Label.INCORRECT),
        ("mask 2", Label.MASK),
        ("cat", None),
        ("без mask", None),
        ("无mask", None),
    ],
)
def test_names_of_public_sets_map_to_labels(name: str, label: Label | None) -> None:
    assert label_of(name) == label


def test_the_kaggle_layout_keeps_its_splits(tmp_path: Path) -> None:
    for split in ("Train", "Validation", "Test"):
        write_image(tmp_path / split / "WithMask" / "a.jpg")
        write_image(tmp_path / split / "WithoutMask" / "b.png")
    splits = find_samples(tmp_path).splits
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert {sample.label for sample in splits["test"]} == {Label.MASK, Label.NO_MASK}


def test_splits_within_the_class_folders_are_kept(tmp_path: Path) -> None:
    for label in ("mask", "no_mask"):
        for split in ("train", "test"):
            write_image(tmp_path / label / split / "a.jpg")
    stray = write_image(tmp_path / "mask" / "b.jpg")
    found = find_samples(tmp_path)
    assert {name: len(samples) for name, samples in found.splits.items()} == {"train": 2, "test": 2}
    assert found.left_out == (LeftOut(stray, "is not in any split"),)
    assert find_samples(tmp_path / "mask" / "..").splits.keys() == found.splits.keys()


def test_a_folder_without_a_label_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "mask" / "a.jpg")
    write_image(tmp_path / "bananas" / "b.jpg")
    with pytest.raises(DataError, match="bananas"):
        class_folders(tmp_path)


def test_missing_images_raise_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mask").mkdir()
    with pytest.raises(DataError, match="has no images"):
        find_samples(tmp_path)
    with pytest.raises(DataError, match="no data at"):
        find_samples(tmp_path / "absent")


def test_other_xml_files_beside_class_folders_are_ignored(tmp_path: Path) -> None:
    for name in ("mask", "no_mask"):
        write_image(tmp_path / name / "a.jpg")
    (tmp_path / "project.xml").write_text("<project><name>mask</name></project>")
    assert len(find_samples(tmp_path).splits["train"]) == 2


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    own, store = tmp_path / "own", tmp_path / "store"
    for name in ("mask", "no_mask"):
        write_image(store / name / "a.jpg")
        write_image(own / name / "day1" / "b.jpg")
        try:
            (own / name / "day2").symlink_to(store / name, target_is_directory=True)
        except OSError:
            pytest.skip("no permission to create links")
        (own / name / "again").symlink_to(own / name / "day1", target_is_directory=True)
        (own / name / "up").symlink_to(own / name, target_is_directory=True)
        (own / name / "gone.jpg").symlink_to(store / "gone.jpg")
    paths = {sample.path.relative_to(own).as_posix() for sample in find_samples(own).splits["train"]}
    assert paths == {f"{name}/{path}" for name in ("mask", "no_mask") for path in ("day1/b.jpg", "day2/a.jpg")}
    yolo(tmp_path / "yolo", "0 0.5 0.5 0.1 0.4")
    (tmp_path / "yolo" / "images").rename(store / "images")
    (tmp_path / "yolo" / "images").symlink_to(store / "images", target_is_directory=True)
    (tmp_path / "yolo" / "classes.txt").write_text("mask\n")
    assert len(find_samples(tmp_path / "yolo").splits["train"]) == 1


def test_images_as_browsers_save_them_are_read(tmp_path: Path) -> None:
    for name in ("mask/a.jpg", "no_mask/b.jpg"):
        path = write_image(tmp_path / name)
        path.rename(path.with_suffix(".JFIF"))
    assert len(find_samples(tmp_path).splits["train"]) == 2


def test_if_no_image_is_readable_one_is_named(tmp_path: Path) -> None:
    for name in ("mask", "no_mask"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "IMG_1.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(DataError, match=r"no images .* that can be read, for example .*IMG_1\.HEIC; expected"):
        find_samples(tmp_path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "mask" / "a.jpg")
    with pytest.raises(DataError, match="only mask"):
        labels_of(class_folders(tmp_path))


def test_hidden_files_and_archive_folders_are_skipped(tmp_path: Path) -> None:
    top = tmp_path / ".cache" / "download"  # only dots below the data folder hide files
    data = top / "Face Mask Dataset"
    for name in ("mask", "no_mask"):
        write_image(data / "Train" / name / "a.jpg")
        write_image(data / "Train" / name / "._a.jpg")
        write_image(data / "Train" / name / ".ipynb_checkpoints" / "a.jpg")
    write_image(top / "__MACOSX" / "Train" / "mask" / "a.jpg")
    (data / "Train" / "annotations_at").mkdir()
    (top / "readme.txt").write_text("hello")
    found = find_samples(top)
    assert found.left_out == ()
    assert [sample.path for sample in found.splits["train"]] == image_files(data)
    assert len(found.splits["train"]) == 2


def test_unsupported_and_unlabelled_images_are_reported(tmp_path: Path) -> None:
    for name in ("mask/a.TIFF", "no_mask/b.jpg", "loose.jpg"):
        write_image(tmp_path / "Train" / name)
    write_image(tmp_path / "more" / "mask" / "c.jpg")
    (tmp_path / "Train" / "mask" / "d.gif").write_bytes(b"GIF89a")
    found = find_samples(tmp_path)
    assert [sample.path.name for sample in found.splits["train"]] == ["a.TIFF", "b.jpg"]
    assert {entry.path.name: entry.reason for entry in found.left_out} == {
        "loose.jpg": "is not in a class folder",
        "d.gif": "cannot be read; save it as PNG or JPEG",
        "c.jpg": "is not in any split",
    }


def test_ten_left_out_entries_are_listed_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show_left_out(Console(), [LeftOut(Path(f"{i}.jpg"), "is broken") for i in range(13)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "left out: 0.jpg: is broken"
    assert lines[9:] == ["left out: 9.jpg: is broken", "left out: 3 more"]
    show_left_out(Console(), [])
    assert capsys.readouterr().out == ""
