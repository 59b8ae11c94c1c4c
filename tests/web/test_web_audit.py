"""The audit log, and the file of the users when it is damaged or cannot be written."""

import csv
import io
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_people import add_users, browser, entries
from fakes_web import CHEAP, FakeMonitor, Running, make_event, serving

from app.settings.web import people_file
from app.web import audit
from app.web.audit import DELETED, AuditEntry, digest_of
from app.web.people import People


def test_what_people_do_is_recorded(tmp_path: Path) -> None:
    with serving(tmp_path, FakeMonitor("door", "yard"), {"snapshots": "blur_all"}) as served:
        add_users(served.server.site.people)
        event = served.add_event(make_event(), b"\xff\xd8")
        served.server.site.clips.create()
        served.server.site.clips.file(event.id, ".clip.mp4").write_bytes(b"clip")
        with browser(served, "anna") as anna:
            for _ in range(3):
                for path in ("/events?camera=door", "/api/v1/cameras/2/picture.jpg"):
                    anna.get(path)
                for name in ("picture.jpg", "clip.mp4"):
                    assert anna.get(f"/api/v1/events/{event.id}/{name}").status_code == 200
            assert anna.get("/api/v1/events/missing/picture.jpg").status_code == 404
            assert anna.get("/api/v1/events.csv?camera=door").status_code == 200
            assert anna.get("/api/v1/day.zip?day=2026-01-02").status_code == 200
            assert anna.send(f"/api/v1/alerts/{event.id}/acknowledge", "/account").status_code == 303
            assert anna.send("/api/v1/alerts/acknowledge", "/account", id=event.id).status_code == 303
            assert anna.send(f"/api/v1/events/{event.id}/verdict", "/account", verdict="right").status_code == 303
            anna.get("/users")
            record = anna.client.get(f"/api/v1/events/{event.id}").json()
            assert record["acknowledged_by"] == "anna at 127.0.0.1"
            assert record["verdict_by"] == "anna at 127.0.0.1"
        assert entries(served) == [
            ("anna", "signed in", ""),
            ("anna", "viewed events", "camera=door"),
            ("anna", "viewed live images", "yard"),
            ("anna", "viewed a snapshot", event.id),
            ("anna", "viewed a clip", event.id),
            ("anna", "exported events", "camera=door"),
            ("anna", "exported a day", "day=2026-01-02"),
            ("anna", "acknowledged", event.id),
            ("anna", "acknowledged", event.id),
            ("anna", "gave a verdict", event.id),
            ("anna", "viewed an event", event.id),
        ]


def test_the_page_shows_filters_and_exports_the_log(served: Running) -> None:
    people = served.server.site.people
    for number in range(230):
        people.audit.record("anna" if number % 2 else "=vera", "10.0.0.1", "viewed a clip", f"<b>event {number}</b>")
    with browser(served, "boss") as boss:
        first = boss.get("/audit").text
        assert "&lt;b&gt;event 229&lt;/b&gt;" in first
        assert "event 129&" not in first
        older = first.partition('href="/audit?before=')[2].partition('"')[0]
        assert "event 129&" in boss.get(f"/audit?before={older}").text
        one = boss.get("/audit?who=anna&what=viewed+a+clip").text
        assert "event 229&" in one
        assert "event 228&" not in one
        for query in ("since=2999-01-01", "until=2000-01-01", "who=missing"):
            assert "No entries match" in boss.get(f"/audit?{query}").text
        for query in ("since=x&until=9999-12-31&before=x", "before=99999999999999999999"):
            assert "event 229&" in boss.get(f"/audit?{query}").text
        rows = list(csv.DictReader(io.StringIO(boss.get("/audit.csv?what=viewed+a+clip").text)))
        assert len(rows) == 230
        assert (rows[0]["target"], rows[0]["who"]) == ("<b>event 229</b>", "anna")
        assert rows[1]["who"] == "'=vera", "no formula for a table program"
        assert "Somebody changed" not in boss.get("/audit").text
    assert ("boss", "exported the audit log", "what=viewed a clip") in entries(served)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE audit SET who = 'anna' WHERE number = 3", "entry 3 was changed"),
        ("UPDATE audit SET target = '' WHERE number = 1", "entry 1 was changed"),
        ("UPDATE audit SET at_s = at_s + 1 WHERE number = 6", "entry 6 was changed"),
        ("DELETE FROM audit WHERE number = 4", "entry 4 was removed"),
        ("DELETE FROM audit WHERE number = 6", "entry 6 was removed"),
        ("DELETE FROM audit WHERE number <= 2", "entry 2 was removed"),
        ("DELETE FROM audit", "entry 6 was removed"),
        (
            "INSERT INTO audit SELECT 7, at_s, who, address, what, target, previous, digest FROM audit WHERE number=6",
            "entry 7 was changed",
        ),
    ],
)
def test_a_change_of_the_log_shows(tmp_path: Path, change: str, fault: str) -> None:
    path = tmp_path / "people"
    people = People(path, CHEAP)
    for number in range(6):
        people.audit.record("boss", "10.0.0.1", "viewed a clip", f"event {number}")
    assert people.audit.fault() == ""
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    assert people.audit.fault() == fault
    people.audit.record("boss", "10.0.0.1", "signed in")
    assert people.audit.fault(), "later entries do not hide it"


def test_each_view_of_the_log_checks_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = People(tmp_path / "people", CHEAP)
    for number in range(50):
        people.audit.record("boss", "10.0.0.1", "viewed a clip", f"event {number}")
    assert people.audit.fault() == ""
    people.audit.record("boss", "10.0.0.1", "signed in")
    checked: list[str] = []
    monkeypatch.setattr(audit, "digest_of", lambda text: checked.append(text) or digest_of(text))
    assert people.audit.fault() == ""
    assert len(checked) == 2, "the new entry, and the last one that was checked"
    assert people.audit.fault() == ""
    assert len(checked) == 3
    with sqlite3.connect(tmp_path / "people") as db:
        db.execute("UPDATE audit SET who = 'anna' WHERE number = 7")
    db.close()
    assert people.audit.fault() == "entry 7 was changed", "another program wrote to the file"


def test_an_entry_that_is_written_during_the_check_is_no_change(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is made in another thread than the one that writes entries."""
    for number in range(3):
        people.audit.record("boss", "10.0.0.1", "viewed a clip", f"event {number}")
    read = people.audit.entries

    def read_late(**given: Any) -> Iterator[AuditEntry]:
        people.audit.record("anna", "10.0.0.2", "viewed a clip")
        return read(**given)

    monkeypatch.setattr(people.audit, "entries", read_late)
    assert people.audit.fault() == ""


def test_old_entries_are_deleted_and_the_rest_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now_s = tmp_path / "people", time.time()
    for days_ago in (40, 31, 1, 0):
        monkeypatch.setattr(time, "time", lambda days_ago=days_ago: now_s - days_ago * 86_400)
        people = People(path, CHEAP, keep_days=30)
        people.audit.record("boss", "10.0.0.1", "viewed a clip", f"{days_ago} days ago")
        people.close()
    people = People(path, CHEAP, keep_days=30)
    found = [(entry.what, entry.target) for entry in people.audit.entries()]
    kept, older = ("viewed a clip", "1 days ago"), (DELETED, "1")
    assert found == [("viewed a clip", "0 days ago"), (DELETED, "2"), kept, older]
    assert people.audit.fault() == ""


def test_the_web_view_works_on_a_disk_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with serving(tmp_path, alerts={"store": tmp_path / "file" / "events.db"}) as running:
        assert running.get("/audit").status_code == 200
    assert "kept only while maskwatch runs" in caplog.text


def test_damaged_users_stop_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people_file(tmp_path / "events.db").write_bytes(b"no database, or a damaged one" * 99)
    with pytest.raises(Exception, match=r"events\.db\.users"), serving(tmp_path):
        pass  # never open to everybody
