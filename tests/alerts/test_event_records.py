"""Event records and the log that writes them line by line."""

import csv
import json
from contextlib import closing
from pathlib import Path

import pytest
from fakes_alerts import make_event

from app.alerts.event_records import RECORD_FIELDS, EventLog, event_from_record, event_record, iso_time
from app.core.errors import OutputError


def test_json_lines_are_written_at_once(tmp_path: Path) -> None:
    path, events = tmp_path / "out.jsonl", [make_event(camera="Tür 7") for _ in range(3)]
    with closing(EventLog(path)) as log:
        for number, event in enumerate(events, start=1):
            log.write(event)
            assert len(path.read_text(encoding="utf-8").splitlines()) == number
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [event_from_record(json.loads(line)) for line in lines] == events


def test_csv_has_the_record_names_and_values(tmp_path: Path) -> None:
    path, event = tmp_path / "out.csv", make_event(camera='a "quoted", name')
    with closing(EventLog(path)) as log:
        log.write(event)
        log.write(make_event(camera="=formula"))
    with path.open(newline="", encoding="utf-8") as file:
        row, other = csv.DictReader(file)
    assert tuple(row) == RECORD_FIELDS
    assert row == {name: "" if value is None else str(value) for name, value in event_record(event).items()}
    assert other["camera"] == "'=formula"


def test_empty_csv_has_a_header(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    EventLog(path).close()
    assert path.read_text().strip() == ",".join(RECORD_FIELDS)


@pytest.mark.parametrize("name", ["absent/out.jsonl", "folder.csv", "out.txt", "out"])
def test_unwritable_path_raises_on_open(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="cannot write events to"):
        EventLog(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_raises_output_error(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.symlink_to("/dev/full")
    log = EventLog(path)
    with pytest.raises(OutputError, match="No space left"):
        log.write(make_event())
    with pytest.raises(OutputError, match="No space left"):
        log.close()


def test_times_are_iso_8601_in_utc() -> None:
    assert iso_time(0.0) == "1970-01-01T00:00:00.000Z"
    assert iso_time(1_790_000_000.1234) == "2026-09-21T14:13:20.123Z"
