"""Files of a release agree about the version."""

import re
from pathlib import Path

import yaml

from app import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## \[(\d.+)] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert newest is not None
    assert (citation["version"], str(citation["date-released"])) == newest.groups()
    assert newest[1] == __version__
    upgrade = (ROOT / "docs" / "upgrade.md").read_text("utf-8")
    assert f"to {__version__}\n" in upgrade
    assert f"maskwatch_{__version__}_amd64.deb" in (ROOT / "docs" / "packaging.md").read_text("utf-8")


def test_the_event_file_of_this_version_is_in_the_upgrade_notes() -> None:
    from app.alerts.store_schema import SCHEMA_VERSION

    assert f"| version {SCHEMA_VERSION} | {__version__} |" in (ROOT / "docs" / "upgrade.md").read_text("utf-8")
