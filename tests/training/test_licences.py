"""Training on data whose licences permit commercial use takes nothing else."""

from pathlib import Path

import pytest

from app.core.types import Label
from app.training.data.licences import OPEN, OPEN_SOURCES, is_open
from app.training.data.splits import negative_sources, training_sources


@pytest.mark.parametrize(
    "source", ["wider", "mafa", "utkface", "rmfd_part2", "mfn_seg", "macwin", "jnogra", "no_face", ""]
)
def test_sources_for_research_or_without_a_licence_are_not_open(source: str) -> None:
    assert not is_open(source)
    assert not any(is_open(source, label) for label in Label)


def test_of_faces12k_only_the_masked_faces_are_open() -> None:
    assert is_open("faces12k", Label.MASK)
    assert not is_open("faces12k", Label.NO_MASK)
    assert is_open("andrewmvd", Label.NO_MASK)


def test_the_open_splits_of_the_real_data_hold_nothing_else(shared_data: Path) -> None:
    splits = training_sources(shared_data, licence=OPEN)
    samples = (*splits.train, *splits.dev)
    assert {sample.source for sample in samples} == set(OPEN_SOURCES)
    folders = {sample.path.relative_to(shared_data).parts[:2] for sample in samples}
    assert folders == {
        *(("faces12k", "Train"), ("faces12k", "Validation"), ("frames", "train")),
        *(("scenes", "wear"), ("scenes", "office")),
    }
    assert not [sample for sample in samples if "faces12k" in str(sample.path) and sample.label is not Label.MASK]
    assert {sample.path for sample in splits.train}.isdisjoint({sample.path for sample in splits.dev})
    for negatives in negative_sources(shared_data, splits, OPEN):
        assert not negatives.crops
        names = {
            path.name.split("_")[0] if path.parent.name == "train" else path.parent.name for path in negatives.images
        }
        assert names == {"andrewmvd", "wear", "office"}
