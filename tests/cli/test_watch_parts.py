"""Parts of a running program that fail are events: raised once, resolved once, sent through all channels."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes_alerts import HttpPeer, make_event, wait_until
from fakes_monitor import HangingDetector, Hangs, LiveCamera, fake_parts

from app.cli.watch_session import WatchSession
from app.settings.load import load_settings
from app.settings.root import Settings


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.part_watch.FAILED_AFTER_S", 0.1)
    monkeypatch.setattr("app.alerts.event_queue.RETRY_S", 0.2)


def settings_of(folder: Path, stuck_after_s: float = 20.0, **channels: HttpPeer) -> Settings:
    listed = [{"kind": "webhook", "name": name, "url": peer.url} for name, peer in channels.items()]
    alerts = {"store": folder / "events.db", "channels": listed, "retry_first_s": 0.05, "retry_max_s": 0.1}
    cameras = [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}]
    monitor = {"stuck_after_s": stuck_after_s}
    return load_settings(None, {"camera": cameras, "alerts": alerts, "monitor": monitor, "view": {"headless": True}})


def received(peer: HttpPeer) -> list[tuple[str, str]]:
    """The kinds and parts of the events of parts."""
    records = [json.loads(request.body) for request in list(peer.requests)]
    return [(each["kind"], each["camera"]) for each in records if each["kind"].startswith("part_")]


def steps_until(session: WatchSession, peer: HttpPeer, *expected: tuple[str, str]) -> None:
    def is_there() -> bool:
        session.step()
        return received(peer) == list(expected)

    wait_until(is_there)


def test_a_channel_that_fails_is_reported_through_the_others(tmp_path: Path) -> None:
    with HttpPeer(rest=500).running() as mail, HttpPeer().running() as siren:
        parts = fake_parts(boxes=(), source=LiveCamera("door"))
        with WatchSession(settings_of(tmp_path, mail=mail, siren=siren), None, None, parts=parts) as session:
            session.on_event(make_event(), None)
            failed = "part_failed", "channel mail"
            steps_until(session, siren, failed)
            mail.rest = 200
            steps_until(session, siren, failed, ("part_recovered", "channel mail"))


def test_a_broken_event_store_is_reported_and_its_end_too(tmp_path: Path) -> None:
    with HttpPeer().running() as siren:
        parts = fake_parts(boxes=(), source=LiveCamera("door"))
        with WatchSession(settings_of(tmp_path, siren=siren), None, None, parts=parts) as session:
            with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                session.on_event(make_event(), None)
                steps_until(session, siren, ("part_failed", "event store"))
                other.execute("ROLLBACK")
            steps_until(session, siren, ("part_failed", "event store"), ("part_recovered", "event store"))


def test_a_restarted_thread_is_reported_and_its_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pipeline.watchdog.RESTART_SHOWN_S", 1.0)
    hangs = Hangs(1)
    with HttpPeer().running() as siren:
        parts = fake_parts(source=LiveCamera("door"), load_detector=lambda _: HangingDetector(hangs))
        with WatchSession(settings_of(tmp_path, 1.0, siren=siren), None, None, parts=parts) as session:
            failed = "part_failed", "threads of door"
            steps_until(session, siren, failed)
            steps_until(session, siren, failed, ("part_recovered", "threads of door"))
            hangs.release.set()
