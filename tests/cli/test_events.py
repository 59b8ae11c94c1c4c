"""The command ``events``."""

import csv
import io
import json
import os
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes_alerts import make_event
from fixtures_alerts import Run
from fixtures_threads import no_thread_survives  # noqa: F401

from app.alerts.event_store import EventStore
from app.alerts.store_types import WriteBatch
from app.core.camera_hours import CameraHour
from app.core.errors import OutputError, SettingsError
from app.core.text import local_time, offset_if_ambiguous
from app.core.types import Event, EventKind


def test_export_filters_by_time_camera_and_kind(
    run: Run, store_path: Path, filled: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("events", "export", "--store", store_path, "--since", "150m", "--until", "1m", "--format", "jsonl") == 0
    ids = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    assert ids == [filled[1].id, filled[2].id]
    flags = ("--camera", "cam-1", "--kind", "resolved", "--kind", "no_mask")
    assert run("events", "export", "--store", store_path, *flags) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["id"] for row in rows] == [filled[1].id]


@pytest.mark.usefixtures("filled")
def test_export_writes_files_and_snapshots(run: Run, store_path: Path, tmp_path: Path) -> None:
    out, snapshots = tmp_path / "out.jsonl", tmp_path / "snapshots"
    assert run("events", "export", "--store", store_path, "--output", out, "--pictures", snapshots) == 0
    assert len(out.read_text().splitlines()) == 5
    assert [file.read_bytes() for file in snapshots.iterdir()] == [b"JPEG"]
    with pytest.raises(SettingsError, match="--format csv or jsonl"):
        run("events", "export", "--store", store_path, "--output", tmp_path / "out.xml")
    with pytest.raises(OutputError, match="cannot write"):
        run("events", "export", "--store", store_path, "--output", tmp_path / "absent" / "out.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes, and links need permissions")
@pytest.mark.usefixtures("filled")
def test_export_writes_into_pipes_and_links(run: Run, store_path: Path, tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert run("events", "export", "--store", store_path, "--output", pipe, "--format", "csv") == 0
    reader.join(10)
    assert pipe.is_fifo()
    assert read[0].startswith("id,at,kind")
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    link.symlink_to(target)
    assert run("events", "export", "--store", store_path, "--output", link) == 0
    assert link.is_symlink()
    assert target.read_text() == read[0]


def test_export_writes_each_snapshot_to_a_separate_file(
    run: Run, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "!" * 80
    ids = ["6-10.0.1.11-1", "6-10.0.11.1-1", "6-Door-1", "6-door-1", "6-a/b-1", "6-Tür-1", f"6-{long}-1", f"6-{long}-2"]
    with EventStore(store_path) as store:
        events = [replace(make_event(), id=each) for each in ids]
        store.write(WriteBatch(tuple((event, event.id.encode()) for event in events)), time.time())
    assert run("events", "export", "--store", store_path, "--pictures", tmp_path / "snapshots") == 0
    assert "8 snapshots written" in capsys.readouterr().err
    files = list((tmp_path / "snapshots").iterdir())
    assert sorted(file.read_text() for file in files) == sorted(ids)
    assert len({file.name.casefold() for file in files}) == len(ids)
    assert {file.stem for file in files} >= {"6-10%2E0%2E1%2E11-1", "6-Door-1", "6-door-1-2", "6-a%2Fb-1", "6-Tür-1"}


def test_list_shows_the_newest_events(
    run: Run, store_path: Path, filled: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("events", "list", "--store", store_path, "--newest", "2") == 0
    output = capsys.readouterr().out
    assert "incorrect" in output
    assert "camera_offline" in output
    assert "resolved" not in output
    assert "2 events" in output
    assert filled[0].camera in output
    assert run("events", "list", "--store", store_path, "--newest", "1") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 event"


@pytest.mark.usefixtures("filled")
def test_stats_give_the_compliance_rate_by_hour(run: Run, store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("events", "stats", "--store", store_path, "--since", "3d") == 0
    assert "75.0%" in capsys.readouterr().out
    assert run("events", "stats", "--store", store_path, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["compliance"] for row in rows if row["people"]] == [0.75]
    assert sum(row["alerts"] for row in rows) == 3
    assert run("events", "stats", "--store", store_path, "--since", "2030-01-01") == 0
    assert "no people and no events" in capsys.readouterr().out


def test_stats_count_people_and_alerts_of_the_same_whole_hours(
    run: Run, store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hour_s = 1_760_000_400
    with EventStore(store_path) as store:
        alerts = tuple((make_event(wall_s=hour_s + minute * 60), None) for minute in (-1, 1, 40, 61))
        store.write(
            WriteBatch(alerts, (), tuple(CameraHour("door", hour_s + k * 3600, masked=1) for k in (-1, 0, 1))), hour_s
        )
    since, until = (datetime.fromtimestamp(hour_s + minute * 60).isoformat() for minute in (30, 50))
    assert run("events", "stats", "--store", store_path, "--json", "--since", since, "--until", until) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["hour_s"], row["people"], row["alerts"]) == (hour_s, 1, 2)
    assert run("events", "stats", "--store", store_path, "--json", "--since", f"{10**20}d") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.usefixtures("filled")
def test_stats_write_a_plot(run: Run, store_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    png = tmp_path / "plot.png"
    assert run("events", "stats", "--store", store_path, "--png", png) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match="cannot write"):
        run("events", "stats", "--store", store_path, "--png", tmp_path / "absent" / "plot.png")


@pytest.mark.usefixtures("filled")
def test_stats_without_matplotlib_name_the_package(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OutputError, match="needs matplotlib: pip install"):
        run("events", "stats", "--store", store_path, "--png", tmp_path / "plot.png")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("action", ["list", "export", "stats"])
def test_an_unknown_camera_is_an_error(
    run: Run, store_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = store_path.with_name("settings.toml")
    config.write_text('[[camera]]\nuri = "demo"\nname = "gate"\n')
    arguments = ("events", action, "--config", config, "--store", store_path, "--camera", "gate")
    assert run(*arguments) == 0, "a camera may have no events yet"
    assert "cam-" not in capsys.readouterr().out
    with pytest.raises(SettingsError, match=r"^no camera 'cam-9'; choose from: cam-0, cam-1, door, gate$"):
        run(*arguments, "--camera", "cam-9")


@pytest.mark.usefixtures("filled")
def test_since_must_be_before_until(run: Run, store_path: Path) -> None:
    with pytest.raises(SettingsError, match="swap them"):
        run("events", "list", "--store", store_path, "--since", "1h", "--until", "2h")


def test_missing_event_file_is_reported(run: Run, store_path: Path) -> None:
    with pytest.raises(OutputError, match="no event file"):
        run("events", "list", "--store", store_path)
    assert not store_path.exists()


def test_row_in_a_pipe_stays_on_one_line(run: Run, store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EventStore(store_path) as store:
        crowd = Event("e-1", EventKind.NO_MASK, "door", 1.0, time.time(), 3, people=7, reason="word " * 60)
        store.write(WriteBatch(((crowd, None),)), time.time())
    assert run("events", "list", "--store", store_path) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "door" in line]
    assert len(rows) == 1
    assert "7 people" in rows[0]
    assert rows[0].count("word") == 60


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs tzset")
def test_equal_hours_of_the_longest_night_are_told_apart(
    run: Run, store_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        first_s = int(datetime(2026, 10, 25, 0, 0, tzinfo=UTC).timestamp())  # 02:00 summer time
        hours = [first_s - 3600, first_s, first_s + 3600, first_s + 7200]
        events = [make_event(wall_s=hour_s + 1800.0) for hour_s in hours]
        with EventStore(store_path) as store:
            presence = tuple(CameraHour("door", hour_s, masked=1) for hour_s in hours)
            store.write(WriteBatch(tuple((event, None) for event in events), hours=presence), float(first_s))
        assert run("events", "stats", "--store", store_path, "--json") == 0
        rows = [json.loads(line)["hour"] for line in capsys.readouterr().out.splitlines()]
        assert rows == [
            *("2026-10-25 01:00+02:00", "2026-10-25 02:00+02:00"),
            *("2026-10-25 02:00+01:00", "2026-10-25 03:00+01:00"),
        ]
        assert run("events", "stats", "--store", store_path) == 0
        assert "2026-10-25 02:00+01:00" in capsys.readouterr().out
        assert run("events", "list", "--store", store_path) == 0
        listed = capsys.readouterr().out
        assert "2026-10-25 02:30:00+02:00" in listed
        assert "2026-10-25 02:30:00+01:00" in listed
        flags = ("--since", "2026-10-25T02:00+01:00", "--until", "2026-10-25T03:00+01:00")
        assert run("events", "export", "--store", store_path, *flags) == 0
        assert [row["id"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [events[2].id]
        spring_s = datetime(2026, 3, 29, 1, 0, tzinfo=UTC).timestamp()
        assert [local_time(spring_s + k, "minutes") for k in (-60, 0)] == [
            *("2026-03-29 01:59+01:00", "2026-03-29 03:00+02:00"),
        ]
        assert [offset_if_ambiguous(each + 1.0) for each in hours] == ["", " +02:00", " +01:00", ""]
    finally:
        monkeypatch.undo()
        time.tzset()
