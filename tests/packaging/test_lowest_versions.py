"""Every dependency has a lower bound, which packaging/lowest.py installs and tests once in the gate."""

import tomllib
from pathlib import Path

import lowest
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def test_the_lower_bounds_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [
        *project["dependencies"],
        *project["optional-dependencies"]["web"],
        *project["optional-dependencies"]["alerts"],
    ]
    bounds = lowest.lower_bounds()
    assert len(bounds) == len(direct)
    for text in direct:
        requirement = Requirement(text)
        lower = Version(bounds[requirement.name])
        assert requirement.specifier.contains(lower)
        assert str(lower) in {each.version for each in requirement.specifier if each.operator == ">="}


def test_a_dependency_without_a_lower_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy<3"]\noptional-dependencies = {}\n')
    monkeypatch.setattr(lowest, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="numpy<3 has no lower bound"):
        lowest.lower_bounds(())
