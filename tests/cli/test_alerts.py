"""The commands ``events``, ``alerts`` and ``purge``."""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest
from fakes_alerts import HttpPeer, make_event
from fixtures_threads import no_thread_survives  # noqa: F401

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.export import HourRow, atomic_text_file, by_hour, hour_fields, parse_time, plot_png, total
from app.alerts.store_types import CameraHour, Delivery, Status, WriteBatch, hour_of
from app.cli import alerts as alerts_module
from app.cli.event_file import settings_of
from app.cli.main import main
from app.core import sound
from app.core.errors import OutputError, SettingsError
from app.core.text import local_time, offset_if_ambiguous
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings, PushChannel, push_file

Run = Callable[..., int]


@pytest.fixture
def run() -> Run:
    parser = argparse.ArgumentParser()
    alerts_module.register(parser.add_subparsers())

    def run_command(*arguments: object) -> int:
        args = parser.parse_args([str(argument) for argument in arguments])
        return int(args.run(args))

    return run_command


@pytest.fixture
def filled(store_path: Path) -> list[Event]:
    """Four events in the last three hours, the first undelivered, and an older event with a snapshot."""
    now_s = time.time()  # not at import, which may be long ago in a large suite
    kinds = (EventKind.NO_MASK, EventKind.RESOLVED, EventKind.CAMERA_OFFLINE, EventKind.INCORRECT)
    events = [make_event(kind, f"cam-{i % 2}", now_s - 3600 * (3 - i)) for i, kind in enumerate(kinds)]
    with EventStore(store_path) as store:
        delivery = Delivery(events[0], "web", now_s, now_s, Status.UNDELIVERED, 9, "was down")
        seen = CameraHour("cam-0", hour_of(now_s), masked=3, bare=1)
        store.write(WriteBatch(tuple((event, None) for event in events), (delivery,), (seen,)), now_s)
        store.write(WriteBatch(((make_event(wall_s=now_s - 9 * 86_400), b"JPEG"),)), now_s - 9 * 86_400)
    return events


def config_with(tmp_path: Path, store: Path, url: str) -> Path:
    path = tmp_path / "maskwatch.toml"
    text = f'[alerts]\nstore = "{store}"\n[[alerts.channels]]\nkind = "webhook"\nname = "web"\nurl = "{url}"\n'
    path.write_text(text)
    return path


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


def test_failed_write_keeps_the_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def write_half() -> None:
        with atomic_text_file(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


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


def test_plot_of_months_is_a_readable_image(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    rows = [HourRow(CameraHour("", 3600 * hour, masked=hour % 7, bare=hour % 3), 0) for hour in range(1500)]
    plot_png(rows, tmp_path / "plot.png")
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image is not None
    assert image.shape[1] <= 5000


@pytest.mark.usefixtures("filled")
def test_stats_without_matplotlib_name_the_package(
    run: Run, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OutputError, match="needs matplotlib: pip install"):
        run("events", "stats", "--store", store_path, "--png", tmp_path / "plot.png")


def test_hours_are_summed_over_cameras() -> None:
    rows = by_hour(
        [CameraHour("a", 3600, masked=1), CameraHour("b", 3600, bare=1), CameraHour("a", 7200, incorrect=2)],
        [make_event(wall_s=3700.0), make_event(EventKind.RESOLVED, wall_s=3700.0), make_event(wall_s=11_000.0)],
        until_s=20_000.0,
    )
    assert [(row.hour_s, row.seen.people, row.seen.compliance, row.alerts) for row in rows] == [
        (3600, 2, 0.5, 1),
        (7200, 2, 0.0, 0),
        (10_800, 0, None, 1),
    ]
    assert (total(rows).seen.people, total(rows).alerts) == (4, 2)
    assert {row.watched for row in rows} == {None}, "an older version recorded them"


def test_every_rate_has_its_watched_time() -> None:
    hours = [
        CameraHour("a", 3600, masked=1, bare=1, watched_s=1800.0, offline_s=600.0, quiet_s=900.0),
        CameraHour("a", 3600, watched_s=300.0),  # the part that is not stored yet
        CameraHour("b", 3600, masked=2, watched_s=3590.0),
        CameraHour("a", 4 * 3600, masked=1, watched_s=1200.0, paused_s=300.0, behind_s=300.0),
    ]
    rows = by_hour(hours, [], until_s=4.5 * 3600)
    listed = [row for row in rows if not row.is_empty]
    assert [(row.hour_s, row.watched_text, row.not_watched_text) for row in listed] == [
        (3600, "1 h 35 min, 79%", "offline 10 min, not running 15 min, watched, but no alerts by schedule 15 min"),
        (4 * 3600, "20 min, 33%", "paused 5 min, behind 5 min, not running 30 min"),
    ]
    assert [row.not_running_s for row in rows] == [900.0, 7200.0, 7200.0, 1800.0], "nobody watched in between"
    assert total(rows).watched_text == "1 h 55 min, 27%"
    assert hour_fields(listed[0])["watched_s"] == 5690.0


def test_times_are_parsed() -> None:
    assert parse_time("90m", 10_000.0) == 4_600.0
    assert parse_time("2d", 200_000.0) == 27_200.0
    assert parse_time("1970-01-02T00:00:00+00:00", 0.0) == 86_400.0
    for text in ("", "yesterday", "5x", "2026-13-01"):
        with pytest.raises(SettingsError, match="no time"):
            parse_time(text, 0.0)


@pytest.mark.usefixtures("filled")
def test_since_must_be_before_until(run: Run, store_path: Path) -> None:
    with pytest.raises(SettingsError, match="swap them"):
        run("events", "list", "--store", store_path, "--since", "1h", "--until", "2h")


def test_missing_event_file_is_reported(run: Run, store_path: Path) -> None:
    with pytest.raises(OutputError, match="no event file"):
        run("events", "list", "--store", store_path)
    assert not store_path.exists()


def test_alerts_test_shows_the_result_of_each_channel(
    run: Run, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HttpPeer(200, 500).running() as peer:
        config = config_with(tmp_path, store_path, peer.url)
        assert run("alerts", "test", "--config", config) == 0
        assert "sent" in capsys.readouterr().out
        assert run("alerts", "test", "--config", config, "--channel", "web") == 1
        assert "failed" in capsys.readouterr().out
        with pytest.raises(SettingsError, match="no channel 'wab'; choose from: web"):
            run("alerts", "test", "--config", config, "--channel", "wab")
    assert json.loads(peer.requests[0].body)["reason"] == "a test of the channel"


def test_channels_of_flags_are_tested_without_a_settings_file(
    run: Run, http_peer: HttpPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sound, "PLAYERS", (("sh", "-c", "exit 0"),))
    monkeypatch.setattr(sound, "output_fault", lambda: "")
    assert run("alerts", "test", "--sound", "--webhook", http_peer.url, "--on-alert", "no-such-program") == 1
    lines = capsys.readouterr().out.splitlines()
    found = {name: rest.strip() for name, _, rest in (line.strip().partition(" ") for line in lines)}
    assert found["webhook"].endswith("sent")
    assert "cannot run 'no-such-program'" in found["on-alert"]
    assert "failed: 'sh' played nothing" in found["sound"]


def test_verbose_log_shows_no_token(tmp_path: Path, http_peer: HttpPeer) -> None:
    config = tmp_path / "maskwatch.toml"
    url, push = http_peer.url, http_peer.url.replace("http://", "json://")
    config.write_text(
        f'[[alerts.channels]]\nkind = "webhook"\nname = "desk"\nurl = "{url}"\n'
        f'[[alerts.channels]]\nkind = "apprise"\nname = "push"\nurl = "{push}"\ntimeout_s = 60\n'
    )
    argv = [sys.executable, "-m", "app", "-vv", "alerts", "test", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(http_peer.requests) == 2
    assert "token-in-path" not in done.stdout + done.stderr


@pytest.mark.usefixtures("filled")
def test_alerts_list_and_retry(
    run: Run, store_path: Path, tmp_path: Path, http_peer: HttpPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_with(tmp_path, store_path, http_peer.url)
    assert run("alerts", "list", "--config", config) == 0
    assert "1 undelivered" in capsys.readouterr().out
    assert run("alerts", "retry", "--config", config) == 0
    assert "1 alert queued again; 1 sent now" in capsys.readouterr().out
    assert len(http_peer.requests) == 1
    assert run("alerts", "list", "--config", config, "--status", "delivered") == 0
    assert "1 delivered" in capsys.readouterr().out


@pytest.mark.usefixtures("filled")
def test_retry_names_channels_without_settings(run: Run, store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match=r"no channel 'wab'; choose from: .*web"):
        run("alerts", "retry", "--store", store_path, "--channel", "wab")
    assert run("alerts", "retry", "--store", store_path) == 1
    output = capsys.readouterr()
    assert "1 alert queued again; 0 sent now" in output.out
    assert "channel web: not in these settings, so its alerts stay queued; give --config FILE" in output.err


def test_row_in_a_pipe_stays_on_one_line(run: Run, store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EventStore(store_path) as store:
        crowd = Event("e-1", EventKind.NO_MASK, "door", 1.0, time.time(), 3, people=7, reason="word " * 60)
        store.write(WriteBatch(((crowd, None),)), time.time())
    assert run("events", "list", "--store", store_path) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "door" in line]
    assert len(rows) == 1
    assert "7 people" in rows[0]
    assert rows[0].count("word") == 60


@pytest.mark.usefixtures("filled")
def test_retry_leaves_sending_to_a_running_program(
    run: Run, store_path: Path, tmp_path: Path, http_peer: HttpPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_with(tmp_path, store_path, http_peer.url)
    center = AlertCenter(AlertSettings(store=store_path))
    center.start()
    center.submit(make_event())
    try:
        assert run("alerts", "retry", "--config", config) == 0
        assert "the running maskwatch sends them" in capsys.readouterr().out
    finally:
        center.close()
    assert http_peer.requests == []


def test_purge_asks_before_it_deletes(
    run: Run,
    store_path: Path,
    filled: list[Event],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match="add --yes"):
        run("purge", "--store", store_path)
    monkeypatch.setattr(sys, "stdin", None)  # closed, as after '<&-'
    with pytest.raises(SettingsError, match="add --yes"):
        run("purge", "--store", store_path)
    assert run("purge", "--store", store_path, "--before", "7d", "--yes") == 0
    assert "deleted 1 event, 1 snapshot, 0 hourly counts, 0 old files" in capsys.readouterr().out
    with EventStore(store_path) as store:
        assert store.events() == filled
    assert run("purge", "--store", store_path, "--yes") == 0
    with EventStore(store_path) as store:
        assert store.events() == []
        assert store.hours() == []


@pytest.mark.parametrize("command", [("purge",), ("dataset", "purge")])
def test_an_empty_argument_or_answer_deletes_nothing(
    command: tuple[str, ...],
    store_path: Path,
    filled: list[Event],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script passes an empty argument if its variable is not set; Ctrl-D is no answer."""
    monkeypatch.setattr("app.settings.alerts.default_store", lambda: store_path)
    assert main([*command, "--store", str(store_path), "--before", "", "--yes"]) == 2
    assert main([*command, "--store", "", "--yes"]) == 2
    errors = capsys.readouterr().err
    assert "no time: ''" in errors
    assert "--store: '.' is not a file name" in errors
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main([*command, "--store", str(store_path)]) == 1
    assert "no data deleted" in capsys.readouterr().out
    with EventStore(store_path) as store:
        assert len(store.events()) == len(filled) + 1
    assert main(["events", "list", "--store", str(store_path), "--since", ""]) == 2


def test_test_alerts_go_to_the_devices_of_the_given_event_file(store_path: Path) -> None:
    config = store_path.with_name("settings.toml")
    config.write_text('[[alerts.channels]]\nkind = "push"\nname = "phones"\ncontact = "mailto:me@example.org"\n')
    args = argparse.Namespace(config=str(config), store=str(store_path))
    (channel,) = settings_of(args).channels
    assert isinstance(channel, PushChannel)
    assert channel.store == push_file(store_path)


def test_purge_leaves_the_pictures_of_other_event_files(run: Run, store_path: Path, filled: list[Event]) -> None:
    """The folders in the settings belong to the event file in the settings."""
    own, config = store_path.with_name("own.db"), store_path.with_name("settings.toml")
    EventStore(own).close()
    folders = {name: store_path.with_name(name) for name in ("clips", "collect", f"{store_path.name}.clips")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "1.clip.mp4").touch()
    tables = [f"[{name}]\nfolder = '{folders[name]}'" for name in ("clips", "collect")]
    config.write_text("\n".join([f"[alerts]\nstore = '{own}'", *tables]))
    assert run("purge", "--config", config, "--store", store_path, "--yes") == 0
    assert {name for name, folder in folders.items() if any(folder.iterdir())} == {"clips", "collect"}
    assert run("purge", "--config", config, "--store", own, "--yes") == 0
    assert not any(any(folder.iterdir()) for folder in folders.values())


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


def test_purge_by_age_is_refused_if_the_clock_may_be_wrong(run: Run, store_path: Path) -> None:
    now_s = time.time()
    with EventStore(store_path) as store:
        store.write(WriteBatch(((make_event(wall_s=now_s), None),)), now_s - 40 * 86_400)
    with pytest.raises(SettingsError, match=r"is 40 days old, so the clock may be wrong; .* --before a date"):
        run("purge", "--store", store_path, "--before", "7d", "--yes")
    with EventStore(store_path) as store:
        assert len(store.events()) == 1
    date = datetime.fromtimestamp(now_s - 7 * 86_400).date().isoformat()
    assert run("purge", "--store", store_path, "--before", date, "--yes") == 0
    with EventStore(store_path) as store:
        assert store.events() == []
