"""The review page: a day, its timeline, verdicts, bulk acknowledgement, clips and archives."""

import csv
import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from fakes_review import add_face, write_review_clip
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving

from app.alerts.event_store import EventStore
from app.alerts.marks import read_marks
from app.alerts.store_types import WriteBatch
from app.core.camera_hours import CameraHour, hour_of
from app.core.types import Box, EventKind
from app.review.clips import POSTER, RECORD, VIDEO
from app.review.collected import CollectedFace, CollectedFaces
from app.review.picture_folder import PictureFolder, day_of
from app.web import history, review_page

NOON_S = datetime.now().replace(hour=12, minute=0, second=0, microsecond=0).timestamp()
TODAY = day_of(NOON_S)


@pytest.fixture(autouse=True)
def _same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the page it stays the day of ``NOON_S``: a run of all tests may go on after midnight."""
    monkeypatch.setattr(review_page, "time", SimpleNamespace(time=lambda: NOON_S))


@pytest.fixture
def reviewed(tmp_path: Path) -> Iterator[Running]:
    """Cameras 'door' and 'yard': an event at 12:01 to 12:04, of which the first has a clip."""
    with serving(tmp_path, FakeMonitor("door", "yard"), {"snapshots": "blur_all"}) as running:
        for number in range(1, 5):
            camera, kind = ("yard", EventKind.INCORRECT) if number == 4 else ("door", EventKind.NO_MASK)
            event = make_event(number, kind, camera, wall_s=NOON_S + 60 * number)
            running.add_event(event, b"\xff\xd8snapshot" if number == 2 else None)
        write_review_clip(running.server.site.clips, make_event(1))
        yield running


def items(page: str) -> list[str]:
    return re.findall(r'data-item="run-(\w+-\d+)"', page)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["yard-4", "door-3", "door-2", "door-1"]),
        ("camera=yard", ["yard-4"]),
        ("kind=no_mask", ["door-3", "door-2", "door-1"]),
        ("state=open", ["yard-4", "door-3", "door-1"]),
        ("state=acknowledged", ["door-2"]),
        ("verdict=no_face", ["door-3"]),
        ("verdict=none&camera=door", ["door-2", "door-1"]),
        ("day=2001-01-01", []),
        ("day=1960-01-01", ["yard-4", "door-3", "door-2", "door-1"]),
        ("day=nonsense&camera=&kind=x&state=y&verdict=z&from=-4", ["yard-4", "door-3", "door-2", "door-1"]),
        ("from=3", ["door-1"]),
        (f"from={'9' * 5000}", ["yard-4", "door-3", "door-2", "door-1"]),
    ],
)
def test_the_list_is_filtered(reviewed: Running, query: str, shown: list[str]) -> None:
    with reviewed.browser() as (client, secret):
        client.post("/api/v1/alerts/run-door-2/acknowledge", headers=secret)
        client.post("/api/v1/events/run-door-3/verdict", headers=secret, json={"verdict": "no_face"})
        page = client.get(f"/review?{query}")
        assert (page.status_code, items(page.text)) == (200, shown)


def test_a_link_that_names_only_an_event_shows_its_day(reviewed: Running) -> None:
    """A notification may be opened on the next day."""
    at_s = NOON_S - 3 * 86_400
    event = reviewed.add_event(make_event(9, wall_s=at_s))
    page = reviewed.get(f"/review?event={event.id}").text
    assert items(page) == ["door-9"]
    assert f'name="day" value="{day_of(at_s)}"' in page
    assert items(reviewed.get("/review?event=unknown").text) == ["yard-4", "door-3", "door-2", "door-1"]


def test_a_verdict_is_stored_with_who_gave_it(reviewed: Running) -> None:
    path = "/api/v1/events/run-door-1/verdict"
    with reviewed.browser() as (client, secret):
        for body in ({"verdict": "perhaps"}, {"verdict": "wrong_label", "label": "hat"}, {}):
            assert client.post(path, headers=secret, json=body).status_code == 400
        assert client.post("/api/v1/events/none/verdict", headers=secret, json={"verdict": "right"}).status_code == 404
        assert client.post(path, json={"verdict": "right"}).status_code == 403
        client.post(path, headers=secret, json={"verdict": "right"})
        assert client.post(path, headers=secret, json={"verdict": "wrong_label", "label": "mask"}).status_code == 200
        record = client.get("/api/v1/events/run-door-1").json()
    assert (record["verdict"], record["verdict_label"]) == ("wrong_label", "mask"), "the last verdict counts"
    assert record["verdict_by"] == "browser at 127.0.0.1"
    with EventStore(reviewed.settings.alerts.store) as store:
        marks = read_marks(store, ["run-door-1", "run-door-2"])
    assert marks.keys() == {"run-door-1"}
    assert abs((marks["run-door-1"].verdict_s or 0) - time.time()) < 600


def test_only_an_event_about_a_face_gets_a_verdict(reviewed: Running) -> None:
    event = reviewed.add_event(make_event(5, EventKind.CAMERA_OFFLINE, wall_s=NOON_S, track_id=0, box=None))
    with reviewed.browser() as (client, secret):
        assert "Was it right?" in client.get("/review?event=run-door-1").text
        assert "Was it right?" not in client.get(f"/review?event={event.id}").text
        answer = client.post(f"/api/v1/events/{event.id}/verdict", headers=secret, json={"verdict": "no_face"})
        assert (answer.status_code, answer.json()["error"]) == (
            409, "an event of the kind camera_offline is not about a face, so it gets no verdict",
        )  # fmt: skip


def test_a_verdict_reaches_the_face_that_was_collected(reviewed: Running) -> None:
    faces = CollectedFaces(PictureFolder(reviewed.settings.alerts.store.with_name("events.db.collected")))
    box = Box(1, 2, 3, 4)
    face = CollectedFace("run-door-1", "event", "door", NOON_S, "no_mask", 0.9, box, (9, 9), box, (9, 9))
    faces.folder.create()
    faces.write(face)
    with reviewed.browser() as (client, secret):
        for number, verdict in ((1, "no_face"), (2, "right")):
            path = f"/api/v1/events/run-door-{number}/verdict"
            assert client.post(path, headers=secret, json={"verdict": verdict}).status_code == 200
    assert list(faces.faces()) == [replace(face, reason="verdict", verdict="no_face")]


@pytest.mark.parametrize("delayed", [(history, "write_marks"), (CollectedFaces, "judge")], ids=["file", "face"])
def test_of_two_verdicts_at_once_one_is_the_last_everywhere(
    reviewed: Running, monkeypatch: pytest.MonkeyPatch, delayed: tuple[Any, str]
) -> None:
    """The first one is delayed while it is written; a second one must not overtake it."""
    site, face = reviewed.server.site, make_event(1)
    add_face(site.collected, face.id, np.zeros((60, 60, 3), np.uint8), reason="event")
    begun, overtaken = threading.Event(), threading.Event()
    owner, name = delayed
    write = getattr(owner, name)

    def write_slowly(*arguments: Any) -> None:
        is_first, _ = not begun.is_set(), begun.set()
        if is_first:
            overtaken.wait(0.5)
        write(*arguments)

    monkeypatch.setattr(owner, name, write_slowly)
    first = threading.Thread(target=lambda: site.judge(face.id, "right", "", "a"))
    first.start()
    assert begun.wait(10)
    site.judge(face.id, "no_face", "", "b")
    overtaken.set()
    first.join()
    with EventStore(site.settings.alerts.store) as store:
        assert read_marks(store, [face.id])[face.id].verdict == "no_face"
    collected = site.collected.find(face.id)
    assert collected is not None
    assert collected.verdict == "no_face"


def test_a_program_is_told_apart_from_a_browser(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with serving(tmp_path, token_file=tmp_path / "token") as running:
        event = running.add_event(make_event(1))
        with running.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            client.post(f"/api/v1/alerts/{event.id}/acknowledge")
            assert client.get(f"/api/v1/events/{event.id}").json()["acknowledged_by"] == "program at 127.0.0.1"


def test_marks_of_events_that_are_not_stored_last_for_the_run(tmp_path: Path) -> None:
    with serving(tmp_path, alerts={"persist": False}) as running, running.browser() as (client, secret):
        event = running.add_event(make_event(1))
        client.post(f"/api/v1/events/{event.id}/verdict", headers=secret, json={"verdict": "unsure"})
        assert client.get(f"/api/v1/events/{event.id}").json()["verdict"] == "unsure"


def test_several_alerts_are_acknowledged_at_once(reviewed: Running) -> None:
    with reviewed.browser() as (client, secret):
        body = {"ids": ["run-door-1", "run-yard-4", "run-none-9"]}
        assert client.post("/api/v1/alerts/acknowledge", headers=secret, json=body).json() == {"acknowledged": 2}
        assert client.post("/api/v1/alerts/acknowledge", headers=secret, json={"ids": []}).status_code == 400
        assert items(client.get("/review?state=open").text) == ["door-3", "door-2"]


def test_forms_work_without_javascript_and_return_to_the_same_view(reviewed: Running) -> None:
    with reviewed.browser() as (client, secret):
        csrf = secret["X-CSRF-Token"]
        page = client.get("/review?camera=door&event=run-door-2").text
        back = re.search(r'name="back" value="([^"]*)"', page)
        assert back is not None
        fields = {"csrf": csrf, "back": back[1].replace("&amp;", "&"), "id": ["run-door-1", "run-door-3"]}
        response = client.post("/api/v1/alerts/acknowledge", data=fields)
        assert response.status_code == 303
        target = urlsplit(response.headers["location"])
        assert target.path == "/review"
        assert parse_qs(target.query) == {
            "day": [TODAY], "camera": ["door"], "event": ["run-door-2"], "said": ["acknowledged"],
        }  # fmt: skip
        assert items(client.get("/review?state=open&camera=door").text) == ["door-2"]
        verdict = {"csrf": csrf, "back": "//evil.example/?x=1", "verdict": "right"}
        response = client.post("/api/v1/events/run-door-2/verdict", data=verdict)
        assert response.headers["location"] == "/?said=judged", "only to pages of our own"
        again = client.get("/review?event=run-door-2").text
        assert "Verdict: Right, by browser at 127.0.0.1." in again


def test_a_page_has_at_most_as_many_events_as_a_form_may_have(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.browser() as (client, secret):
        for number in range(45):
            running.center.submit(make_event(number, wall_s=NOON_S + number))
        first = client.get("/review").text
        ids = re.findall(r'name="id" value="([^"]+)"', first)
        assert len(ids) == 40
        fields = {"csrf": secret["X-CSRF-Token"], "back": "/review", "id": ids}
        assert client.post("/api/v1/alerts/acknowledge", data=fields).status_code == 303
        older = re.search(r'href="(/review\?[^"]*from=40[^"]*)"', first)
        assert older is not None
        assert len(items(client.get(older[1].replace("&amp;", "&")).text)) == 5


def test_the_last_page_may_become_empty(tmp_path: Path) -> None:
    """Its events match the filter no more, once they are acknowledged; the others must stay in reach."""
    with serving(tmp_path) as running, running.browser() as (client, secret):
        for number in range(41):
            running.center.submit(make_event(number, wall_s=NOON_S + number))
        (oldest,) = items(client.get("/review?state=open&from=40").text)
        assert client.post(f"/api/v1/alerts/run-{oldest}/acknowledge", headers=secret).status_code == 200
        assert len(items(client.get("/review?state=open&from=40").text)) == 40


def test_a_busy_day_is_shown_and_exported_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, alerts={"snapshots": "blur_all"}) as running, running.client() as client:
        events = [make_event(number, wall_s=NOON_S + number / 10) for number in range(6000)]
        rows = tuple((each, b"a picture" if i % 3000 == 0 else None) for i, each in enumerate(events))
        with EventStore(running.settings.alerts.store) as store:
            store.write(WriteBatch(rows), time.time())
        page = client.get("/review").text
        assert 'aria-label="Alert at 12:00:00"' in page, "the first alert of the day"
        assert page.count("alert-mark") < 50, "alerts at the same place are one mark"
        assert "of this day are shown and downloaded" not in page
        opened: list[str] = []
        monkeypatch.setattr(EventStore, "snapshot", lambda self, event_id: opened.append(event_id) or b"a picture")
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/day.zip?day={TODAY}").content))
        assert archive.read("events.csv").count(b"\n") == 6001
        assert opened == [events[0].id, events[3000].id], "only the pictures that exist are looked for"
        monkeypatch.setattr("app.web.review_page.MAX_DAY_EVENTS", 6000)
        assert "Only the newest 6000 events of this day are shown and downloaded" in client.get("/review").text


def test_a_clip_is_served_in_ranges(reviewed: Running) -> None:
    path = "/api/v1/events/run-door-1/clip.mp4"
    video = reviewed.server.site.clips.read("run-door-1", VIDEO)
    assert video is not None
    with reviewed.client() as client:
        whole = client.get(path)
        assert whole.content == video
        assert whole.headers["content-type"] == "video/mp4"
        for given, part in (("0-9", video[:10]), ("100-", video[100:]), ("-7", video[-7:]), ("5-999999999", video[5:])):
            response = client.get(path, headers={"Range": f"bytes={given}"})
            assert response.status_code == 206
            assert response.content == part
        assert client.get(path, headers={"Range": f"bytes={len(video)}-"}).status_code == 416
        assert client.get(path, headers={"Range": "items=0-9, 4"}).content == video
        assert "attachment" in client.get(f"{path}?download").headers["content-disposition"]
        assert client.get("/api/v1/events/run-door-1/clip.json").json()["frames"][0]["faces"][0][4] == "no_mask"
        assert client.get("/api/v1/events/run-door-1/clip.jpg").content[:2] == b"\xff\xd8"
        assert client.get("/api/v1/events/run-door-2/clip.mp4").status_code == 404
        assert client.get("/api/v1/events/..%2F..%2Fevents/clip.mp4").status_code == 404


def test_a_day_is_exported_as_one_archive(reviewed: Running) -> None:
    with reviewed.browser() as (client, secret):
        client.post("/api/v1/events/run-door-1/verdict", headers=secret, json={"verdict": "no_face"})
        response = client.get(f"/api/v1/day.zip?day={TODAY}&camera=door")
        archive = zipfile.ZipFile(io.BytesIO(response.content))
        assert archive.testzip() is None
        rows = list(csv.DictReader(io.StringIO(archive.read("events.csv").decode())))
        assert [(row["id"], row["verdict"]) for row in rows] == [
            ("run-door-1", "no_face"), ("run-door-2", ""), ("run-door-3", ""),
        ]  # fmt: skip
        names = sorted(archive.namelist())
        assert [name.partition("_")[0] + Path(name).suffix for name in names[:3]] == [
            "12-01-00.json", "12-01-00.mp4", "12-02-00.jpg",
        ]  # fmt: skip
        assert archive.read(names[1]) == reviewed.server.site.clips.read("run-door-1", VIDEO)
        assert client.get("/api/v1/day.zip?day=today").status_code == 400
        empty = zipfile.ZipFile(io.BytesIO(client.get("/api/v1/day.zip?day=2001-01-01").content))
        assert empty.namelist() == ["events.csv"]


def test_the_timeline_shows_people_alerts_and_gaps(reviewed: Running) -> None:
    hour_s = hour_of(NOON_S - 3 * 3600)
    hours = (CameraHour("door", hour_s, masked=3, bare=1, watched_s=1800, offline_s=1800),)
    with EventStore(reviewed.settings.alerts.store) as store:
        store.write(WriteBatch(hours=hours), time.time())
    with reviewed.client() as client:
        page = client.get("/review?camera=door").text
    (svg,) = re.findall(r"<svg class=\"timeline\".*?</svg>", page, re.DOTALL)
    assert svg.count("alert-mark") == 3
    assert 'aria-label="Alert at 12:01:00"' in svg
    assert "event=run-door-1#player" in svg
    widths = [float(width) for width in re.findall(r'class="watched" x="[\d.]+" y="\d+" width="([\d.]+)"', svg)]
    day_h = (datetime.fromtimestamp(NOON_S).replace(hour=0) + timedelta(days=1)).timestamp()
    assert day_h > NOON_S
    assert widths[0] == pytest.approx(960 / 24 / 2, rel=0.1), "half of the hour was watched"
    assert "4 people, 0 alerts; watched 30 min" in svg
    assert "offline" in svg
    assert page.index("door</h2>") > 0
    assert "yard</h2>" not in page


def test_the_files_of_a_clip_belong_together(reviewed: Running) -> None:
    folder = reviewed.server.site.clips
    assert all(folder.has("run-door-1", suffix) for suffix in (VIDEO, RECORD, POSTER))
    assert json.loads(folder.read("run-door-1", RECORD) or b"")["at_s"] == 0.5
