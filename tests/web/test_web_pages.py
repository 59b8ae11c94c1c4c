"""The pages as the server makes them: paging, filters, the chart, words for people."""

import html
import re
import time
import xml.etree.ElementTree as ET
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from fakes_web import FakeMonitor, Running, an_event, serving, wait_until

from app.alerts.export import HourRow
from app.alerts.store_types import Presence
from app.core.types import EventKind
from app.web.chart import _axis_top, chart, hours_between
from app.web.pages import MOST_STREAMS, PAGE_EVENTS

HOUR_S = 1_700_002_800


def rows(*people: tuple[int, int, int, int]) -> list[HourRow]:
    """(hour after the first, masked, worn wrong, bare)."""
    return [HourRow(Presence("", HOUR_S + 3600 * k, masked, bare, wrong), 0) for k, masked, wrong, bare in people]


def test_the_chart_shows_every_part_of_every_hour() -> None:
    svg = chart(rows((0, 6, 1, 3), (2, 0, 0, 5)), HOUR_S, HOUR_S + 4 * 3600)
    root = ET.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))
    space = "{http://www.w3.org/2000/svg}"
    bars = root.findall(f"{space}g/{space}rect")
    assert len(bars) == 4
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(6 * heights[1], rel=0.02)
    assert heights[3] == pytest.approx(5 * heights[1], rel=0.03)
    lines = root.findall(f"{space}polyline")
    assert len(lines) == 2, "broken where nobody was seen"
    assert "15 people in 2 hours; 40% wore" in "".join(root.itertext())
    assert "style=" not in svg


@pytest.mark.parametrize("hours", [1, 24, 72, 168])
def test_the_charts_labels_stay_apart(hours: int) -> None:
    svg = str(chart([], HOUR_S, HOUR_S + hours * 3600))
    ticks = [float(x) for x in re.findall(r'class="tick" x="([\d.]+)" y="294"', svg)]
    days = [float(x) for x in re.findall(r'class="tick day" x="([\d.]+)"', svg)]
    for places, least in ((ticks, 20), (days, 60)):
        assert all(after - before >= least for before, after in pairwise(places))
    assert len(hours_between([], HOUR_S, HOUR_S + hours * 3600)) == hours


def test_axes_end_at_round_numbers() -> None:
    for most in range(1, 3000, 7):
        top = _axis_top(most)
        assert most <= top <= max(4, 2.5 * most)
        assert top % 4 == 0


def test_an_empty_chart_says_so(running: Running) -> None:
    with running.client() as client:
        assert "Nobody was counted" in client.get("/trends").text


def test_trends_by_camera_and_time(running: Running) -> None:
    now_s = time.time()
    running.center.record_presence("door", now_s, 3, 1)
    running.center.record_presence("yard", now_s, 5)
    running.center.record_presence("door", now_s - 50 * 3600, 7)
    with running.client() as client:
        wait_until(lambda: _sum(client.get("/trends").text) == "9")
        assert _sum(client.get("/trends?camera=door").text) == "4"
        assert _sum(client.get("/trends?hours=72").text) == "16"
        assert _sum(client.get("/trends?hours=nonsense&camera=nobody").text) == "9"


def _sum(page: str) -> str:
    return page.partition("<dt>People</dt><dd>")[2].partition("<")[0]


def test_older_events_are_paged_without_loss_or_repeat(running: Running) -> None:
    base_s = time.time() - 1000
    # Two of each moment: a page must not end between them.
    events = [an_event(k, wall_s=base_s + k // 2) for k in range(2 * PAGE_EVENTS + 7)]
    for event in events:
        running.center.submit(event)
    seen: list[str] = []
    with running.client() as client:
        wait_until(lambda: len(client.get("/api/v1/events?limit=500").json()["events"]) == len(events))
        url = "/events?camera=door"
        for _ in range(5):
            page = client.get(url).text
            assert 'href="/api/v1/events.csv?camera=door"' in page, "the download holds them all"
            seen += re.findall(r"/api/v1/alerts/(run-door-\d+)/acknowledge", page)
            older = re.search(r'href="(/events\?[^"]*before=[^"]*)"', page)
            if older is None:
                break
            url = older[1].replace("&amp;", "&")
            assert "camera=door" in url
    assert len(seen) == len(set(seen)) == len(events)


def test_more_events_of_one_moment_than_a_page_holds_are_shown_at_once(running: Running) -> None:
    """A crowd that leaves with one frame: 'Older events' led to the same page for ever."""
    moments = [1.7e9] * 3 + [1.7e9 + 1] * 60 + [1.7e9 + 2] * 2
    events = [an_event(number, wall_s=wall_s) for number, wall_s in enumerate(moments)]
    for event in events:
        running.happen(event)
    seen: list[str] = []
    url = "/events"
    for _ in range(4):
        page = running.get(url).text
        seen += re.findall(r"/api/v1/alerts/(run-door-\d+)/acknowledge", page)
        older = re.search(r'href="(/events\?[^"]*before=[^"]*)"', page)
        url = older[1].replace("&amp;", "&") if older else ""
        if not url:
            break
    assert url == ""
    assert sorted(seen) == sorted(event.id for event in events)


def test_filters_by_local_time_keep_what_was_asked(running: Running) -> None:
    event = running.happen(an_event())
    local = datetime.fromtimestamp(event.wall_s)
    early, late = (local.replace(year=local.year + by, month=1, day=1).strftime("%Y-%m-%dT%H:%M") for by in (-1, 1))
    with running.client() as client:
        wait_until(lambda: event.id in client.get("/events").text)
        page = client.get(f"/events?since={early}&until={late}&kind=no_mask&camera=door").text
        assert event.id in page
        assert f'value="{early}"' in page
        download = page.partition("events.csv?")[2].partition('"')[0]
        assert all(part in download for part in ("kind=no_mask", "since=", "until="))
        assert event.id not in client.get(f"/events?since={late}").text
        assert event.id in client.get("/events?since=9999999-01-01&kind=nonsense&before=x").text


def test_more_cameras_than_a_browser_has_connections_are_shown_as_single_pictures(tmp_path: object) -> None:
    names = [f"camera {k}" for k in range(MOST_STREAMS + 1)]
    with serving(tmp_path, FakeMonitor(*names)) as running, running.client() as client:  # type: ignore[arg-type]
        page = client.get("/").text
        assert page.count('picture.jpg"') == len(names)
        assert "stream.mjpeg" not in page
        one = client.get("/?camera=2").text
        assert one.count("stream.mjpeg") == 1
        assert "camera 1" in one
        assert "camera 3" not in one
        assert client.get("/?camera=99").status_code == 200


@pytest.mark.parametrize(
    "name",
    ["Hall / North", "clip #2", "a?b=c", "50%", "%2F..%41", "../..", "a//b/", "two  blanks", "Tür", "/picture.jpg"],
)
def test_whatever_a_camera_is_called_its_events_have_addresses(tmp_path: Path, name: str) -> None:
    with (
        serving(tmp_path, FakeMonitor(name), {"snapshots": "blur_all"}) as running,
        running.browser() as (client, secret),
    ):
        event = running.happen(an_event(1, camera=name), b"\xff\xd8 a picture")
        running.monitor.change(alerts=(event,))
        live, page = (html.unescape(client.get(path).text) for path in ("/", "/events"))
        found = re.search(r'src="(/api/v1/events/[^"]*)"', page)
        assert found is not None
        assert client.get(found[1]).content == b"\xff\xd8 a picture"
        told = client.get(found[1].removesuffix("/picture.jpg"))
        assert told.json()["id"] == event.id
        csrf = secret["X-CSRF-Token"]
        for text in (live, page):
            action = re.search(r'action="(/api/v1/alerts/[^"]*/acknowledge)"', text)
            assert action is not None
            assert client.post(action[1], data={"csrf": csrf}).headers["location"] == "/?said=acknowledged"
        assert client.get(f"/api/v1/events/{quote(event.id, safe='')}").json()["acknowledged_s"]
        assert client.post(f"/api/v1/alerts/{quote(event.id)}/acknowledge", headers=secret).status_code == 200
        assert f'<option value="{name}">' in html.unescape(client.get("/trends").text)
        assert f'<option value="{name}" selected>' in html.unescape(client.get(f"/events?camera={quote(name)}").text)
        assert len(client.get("/api/v1/events", params={"camera": name}).json()["events"]) == 1
        client.post("/api/v1/cameras/1/mute", json={"minutes": 5}, headers=secret)
        assert running.mutes.until_s(name) is not None
        client.post("/api/v1/cameras/1/unmute", headers=secret)
        assert running.mutes.until_s(name) is None


def test_the_banner_names_each_open_alert(running: Running) -> None:
    first, second = an_event(1), an_event(2, EventKind.INCORRECT, track_id=9)
    running.monitor.change(alerts=(first, second))
    with running.client() as client:
        page = client.get("/").text
    banner = page.partition("data-alerts")[2].partition("</section>")[0]
    assert banner.count("data-alert=") == 2
    assert "Worn wrong" in banner
    assert "person 9" in banner


def test_an_alert_for_a_crowd_says_how_many(running: Running) -> None:
    crowd = running.happen(an_event(1, people=7))
    running.monitor.change(alerts=(crowd,))
    with running.client() as client:
        assert client.get(f"/api/v1/events/{crowd.id}").json()["people"] == 7
        live, events = client.get("/").text, client.get("/events").text
    banner, recent = live.partition("data-alerts")[2].partition("</section>")[0], live.partition("data-recent")[2]
    assert "door, 7 people" in banner
    assert "door, 7 people" in recent
    assert "7 people" in events.partition("<tbody>")[2]


def test_the_end_of_an_alert_says_why(running: Running) -> None:
    ended = running.happen(an_event(1, EventKind.RESOLVED, reason="mask"))
    with running.client() as client:
        assert client.get(f"/api/v1/events/{ended.id}").json()["reason"] == "mask"
        assert ": mask on" in client.get("/").text.partition("data-recent")[2]
        assert "<small>mask on</small>" in client.get("/events").text


def test_pages_that_are_not_there(running: Running) -> None:
    with running.client() as client:
        answer = client.get("/nothing")
        assert answer.status_code == 404
        assert "<h1>Not here</h1>" in answer.text
        assert client.get("/api/v1/nothing").json() == {"error": "not found"}
        assert client.get("/static/nothing.css").status_code == 404
        assert client.put("/events", headers={"X-CSRF-Token": "x"}).status_code == 403


def test_a_fault_of_ours_is_told_without_its_inside(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise ZeroDivisionError("the inside")

    monkeypatch.setattr(running.monitor, "views", broken)
    with running.client() as client:
        for path in ("/", "/api/v1/status"):
            answer = client.get(path)
            assert answer.status_code == 500
            assert "inside" not in answer.text
        assert client.get("/healthz").status_code == 200
