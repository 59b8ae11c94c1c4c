"""A short version of ``benchmarks/line_counts.py``: the counts of generated videos are exact."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import line_counts


@pytest.mark.parametrize("name", ["one comes in", "two pass each other, one behind the other"])
def test_people_who_pass_the_line_are_counted_exactly(name: str, tmp_path: Path) -> None:
    scene = next(scene for scene in line_counts.SCENES if scene.name == name)
    assert line_counts.measure(scene, 6, tmp_path).is_exact


def test_every_scene_has_two_rates() -> None:
    assert sum(len(scene.rates) for scene in line_counts.SCENES) == 20
