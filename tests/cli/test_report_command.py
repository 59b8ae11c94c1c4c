"""``maskwatch report``: prints and sends the numbers of a period of a seeded event file."""

import json
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from app.alerts.event_store import EventStore
from app.alerts.store_types import WriteBatch
from app.cli.main import main
from app.core.camera_hours import CameraHour

WRITE = "import sys,pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read(), 'utf-8')"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A week in 2026, and yesterday."""
    path, yesterday = tmp_path / "events.db", date.today() - timedelta(days=1)
    days = (("2026-01-07", 90), ("2026-01-11", 8), ("2026-01-12", 1000), (yesterday.isoformat(), 5))
    hours = tuple(
        CameraHour("door", int(datetime.fromisoformat(f"{day}T12:00").timestamp()), count, 2, watched_s=3600)
        for day, count in days
    )
    with EventStore(path) as store:
        store.write(WriteBatch(hours=hours), 0.0)
    return path


def settings_file(folder: Path, *argv: str) -> str:
    path = folder / "settings.toml"
    path.write_text(
        f'[[alerts.channels]]\nkind = "command"\nname = "boss"\nargv = {json.dumps([sys.executable, *argv])}\n'
        '[alerts.report]\nevery = "week"\nchannels = ["boss"]\n'
    )
    return str(path)


def test_a_report_is_printed_for_any_period(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", "--store", str(store)]
    assert main([*command, "--span", "week", "--date", "2026-01-09"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Masks, week 2, 5 January to 11 January 2026"
    assert lines[4].startswith("All: 96% (90 to 98%), 102 people, 4 without a mask, 0 worn wrong, 0 alerts, watched")
    assert main([*command, "--span", "month", "--date", "2026-01-31"]) == 0
    assert "Masks, January 2026\n" in capsys.readouterr().out
    assert main(command) == 0
    assert "too few people (7), 7 people" in capsys.readouterr().out, "the default is the last complete day"


def test_a_report_is_sent_by_the_channels_of_the_settings(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "received"
    command = ["report", "--store", str(store), "--config", settings_file(tmp_path, "-c", WRITE, str(out)), "--send"]
    assert main([*command, "--date", "2026-01-09"]) == 0
    assert capsys.readouterr().out == "boss: sent\n"
    alert = json.loads(out.read_text("utf-8"))
    assert (alert["kind"], alert["title"]) == ("report", "Masks, week 2, 5 January to 11 January 2026")
    assert "All: 96% (90 to 98%)" in alert["text"]
    with EventStore(store) as file:
        assert file.events() == [], "it does not replace the scheduled one"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--date", "yesterday"], "--date yesterday is no date; write it like 2026-11-23"),
        (["--send"], "no channel sends reports; name some in channels of [alerts.report]"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], message: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--store", str(store), *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_channel_that_fails_is_reported(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings_file(tmp_path, "-c", "raise SystemExit('no paper')")
    assert main(["report", "--store", str(store), "--config", config, "--send"]) == 1
    assert "boss: failed:" in capsys.readouterr().out
