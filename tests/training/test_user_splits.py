"""The splits of a user's own images."""

from collections import Counter
from pathlib import Path

import pytest
from fakes_training import make_set
from rich.console import Console

from app.core.errors import DataError
from app.core.types import Label
from app.training.data.splits import photograph
from app.training.data.user_splits import held_back, user_splits
from app.training.types import Sample


def test_development_split_has_all_labels_and_whole_photographs() -> None:
    faces = [Sample(Path(f"Augmented_{i // 4}_{i}.png"), Label.MASK, "a") for i in range(400)]
    faces += [Sample(Path(f"bare{i}.png"), Label.NO_MASK, "a") for i in range(60)]
    faces += [Sample(Path(f"wrong{i}.png"), Label.INCORRECT, "a") for i in range(12)]
    held = held_back(faces)
    assert set(held) == set(held_back(faces[::-1]))
    counts = {label: sum(sample.label == label for sample in held) for label in Label}
    assert (counts[Label.NO_MASK], counts[Label.INCORRECT]) == (9, 5)
    assert counts[Label.MASK] == 60
    chosen = {photograph(sample.path) for sample in held}
    assert not chosen & {photograph(sample.path) for sample in faces if sample not in held}


def test_same_file_names_in_different_folders_are_different_photographs(tmp_path: Path) -> None:
    faces = [
        Sample(tmp_path / label.value / f"person{i}" / "face.png", label, "own")
        for label in (Label.MASK, Label.NO_MASK)
        for i in range(40)
    ]
    held = held_back(faces)
    assert Counter(face.label for face in held) == {Label.MASK: 6, Label.NO_MASK: 6}
    assert set(held) == set(held_back(faces[::-1]))


def test_augmented_copies_of_validation_images_are_left_out_of_training(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own" / "train", {"mask": 40, "no_mask": 40}).parent
    make_set(own / "validation", {"mask": 6, "no_mask": 6}, seed=1)
    named = {
        "train/mask/000": "Augmented_7_1",
        "train/mask/001": "Augmented_8_1",
        "validation/mask/000": "Augmented_7_2",
    }
    for place, name in named.items():
        path = own / f"{place}.png"
        path.rename(path.with_stem(name))
    splits, copies = user_splits(own, Console())
    assert [tuple(path.name for path in pair) for pair in copies] == [("Augmented_7_1.png", "Augmented_7_2.png")]
    assert "Augmented_8_1.png" in {sample.path.name for sample in splits.train}
    dated = {photograph(Path(f"20240501__cam1__{i}.png")) for i in range(9)}
    assert len(dated) == 9
    assert photograph(Path("door_jpg.rf.abc.jpg")) == photograph(Path("door_jpg.rf.def.jpg"))


@pytest.mark.parametrize("count", [5, 24])
def test_too_few_faces_get_a_sentence_that_helps(tmp_path: Path, count: int) -> None:
    """Regression: five pictures a class gave '0 training faces of mask, besides 5 for development'."""
    own = make_set(tmp_path / "own", {"mask": count, "no_mask": count})
    with pytest.raises(DataError) as caught:
        user_splits(own, Console())
    assert f"too few faces to learn from: {count} of mask, {count} of no_mask; " in str(caught.value)
    assert "give each label at least 20 to train and 5 to check" in str(caught.value)


def test_splits_of_the_real_data_share_no_frame(shared_data: Path) -> None:
    from app.training.data.splits import training_sources

    splits = training_sources(shared_data)
    trained = {sample.path for sample in splits.train}
    assert trained.isdisjoint({sample.path for sample in splits.dev})
    forbidden = ("frames/test", "faces12k/Test", "vijaykumar")
    assert not [path for path in trained if any(part in path.as_posix() for part in forbidden)]
    assert {sample.label for sample in splits.dev} == {Label.MASK, Label.NO_MASK, Label.INCORRECT}
