"""The HTML pages: paging, filters, the chart, texts."""

import html
import re
import time
import xml.etree.ElementTree as ET
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from fakes_alerts import record_people
from fakes_web import FakeMonitor, Running, make_event, serving, wait_until

from app.alerts.export import HourRow
from app.core.camera_hours import CameraHour
from app.core.types import EventKind
from app.web.chart import axis_maximum, chart, rows_by_hour
from app.web.pages import MAX_STREAMS, PAGE_EVENTS

HOUR_S = 1_700_002_800


def rows(*people: tuple[int, int, int, int]) -> list[HourRow]:
    """(hour after the first, masked, worn wrong, bare)."""
    return [HourRow(CameraHour("", HOUR_S + 3600 * k, masked, bare, wrong), 0) for k, masked, wrong, bare in people]


def test_the_chart_has_a_bar_for_each_label_and_hour() -> None:
    svg = chart(rows((0, 24, 4, 12), (2, 0, 0, 20), (3, 19, 0, 0)), HOUR_S, HOUR_S + 4 * 3600)
    root = ET.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))
    space = "{http://www.w3.org/2000/svg}"
    bars = root.findall(f"{space}g/{space}rect")
    assert len(bars) == 5
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(6 * heights[1], rel=0.02)
    assert heights[3] == pytest.approx(5 * heights[1], rel=0.03)
    lines = root.findall(f"{space}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [1, 1], "not through hours with too few people"
    text = "".join(root.itertext())
    assert "79 people; masks worn correctly: 54% (43 to 65%)" in text
    assert "masks worn correctly: too few people (19)" in text
    assert "style=" not in svg


@pytest.mark.parametrize("hours", [1, 24, 72, 168])
def test_the_labels_of_the_chart_do_not_overlap(hours: int) -> None:
    svg = str(chart([], HOUR_S, HOUR_S + hours * 3600))
    ticks = [float(x) for x in re.findall(r'class="tick" x="([\d.]+)" y="294"', svg)]
    days = [float(x) for x in re.findall(r'class="tick day" x="([\d.]+)"', svg)]
    for positions, minimum in ((ticks, 20), (days, 60)):
        assert all(after - before >= minimum for before, after in pairwise(positions))
    assert len(rows_by_hour([], HOUR_S, HOUR_S + hours * 3600)) == hours


def test_axes_end_at_round_numbers() -> None:
    for largest in range(1, 3000, 7):
        top = axis_maximum(largest)
        assert largest <= top <= max(4, 2.5 * largest)
        assert top % 4 == 0


def test_an_empty_chart_has_a_message(running: Running) -> None:
    with running.client() as client:
        assert "No people were counted" in client.get("/trends").text


def test_trends_filter_by_camera_and_time(running: Running) -> None:
    now_s = time.time()
    record_people(running.center, "door", now_s, 3, 1)
    record_people(running.center, "yard", now_s, 5)
    record_people(running.center, "door", now_s - 50 * 3600, 7)
    with running.client() as client:
        wait_until(lambda: _people(client.get("/trends").text) == "9")
        assert _people(client.get("/trends?camera=door").text) == "4"
        assert _people(client.get("/trends?hours=72").text) == "16"
        assert _people(client.get("/trends?hours=nonsense&camera=nobody").text) == "9"


def _people(page: str) -> str:
    return page.partition("<dt>People</dt><dd>")[2].partition("<")[0]


def test_older_events_are_paged_without_loss_or_repeat(running: Running) -> None:
    base_s = time.time() - 1000
    # Two events per second: a page must not end between them.
    events = [make_event(k, wall_s=base_s + k // 2) for k in range(2 * PAGE_EVENTS + 7)]
    for event in events:
        running.center.submit(event)
    seen: list[str] = []
    with running.client() as client:
        wait_until(lambda: len(client.get("/api/v1/events?limit=500").json()["events"]) == len(events))
        url = "/events?camera=door"
        for _ in range(5):
            page = client.get(url).text
            assert 'href="/api/v1/events.csv?camera=door"' in page, "the CSV contains all events"
            seen += re.findall(r"/api/v1/alerts/(run-door-\d+)/acknowledge", page)
            older = re.search(r'href="(/events\?[^"]*before=[^"]*)"', page)
            if older is None:
                break
            url = older[1].replace("&amp;", "&")
            assert "camera=door" in url
    assert len(seen) == len(set(seen)) == len(events)


def test_more_simultaneous_events_than_a_page_holds_are_shown_together(running: Running) -> None:
    """For example a crowd that leaves in one frame: 'Older events' must not link to the same page."""
    times_s = [1.7e9] * 3 + [1.7e9 + 1] * 60 + [1.7e9 + 2] * 2
    events = [make_event(number, wall_s=wall_s) for number, wall_s in enumerate(times_s)]
    for event in events:
        running.add_event(event)
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


def test_filters_by_local_time_keep_their_values(running: Running) -> None:
    event = running.add_event(make_event())
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


def test_many_cameras_are_shown_as_single_images(tmp_path: object) -> None:
    names = [f"camera {k}" for k in range(MAX_STREAMS + 1)]
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
    ["Hall / North", "clip #2", "a?b=c", "50%", "%2F..%41", "../..", "a//b/", "two  spaces", "Tür", "/picture.jpg"],
)
def test_urls_work_for_any_camera_name(tmp_path: Path, name: str) -> None:
    with (
        serving(tmp_path, FakeMonitor(name), {"snapshots": "blur_all"}) as running,
        running.browser() as (client, secret),
    ):
        event = running.add_event(make_event(1, camera=name), b"\xff\xd8 a snapshot")
        running.monitor.change(alerts=(event,))
        live, page = (html.unescape(client.get(path).text) for path in ("/", "/events"))
        match = re.search(r'src="(/api/v1/events/[^"]*)"', page)
        assert match is not None
        assert client.get(match[1]).content == b"\xff\xd8 a snapshot"
        response = client.get(match[1].removesuffix("/picture.jpg"))
        assert response.json()["id"] == event.id
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
    first, second = make_event(1), make_event(2, EventKind.INCORRECT, track_id=9)
    running.monitor.change(alerts=(first, second))
    with running.client() as client:
        page = client.get("/").text
    banner = page.partition("data-alerts")[2].partition("</section>")[0]
    assert banner.count("data-alert=") == 2
    assert "Worn wrong" in banner
    assert "person 9" in banner


@pytest.mark.parametrize("stores_files", [False, True])
def test_the_page_says_that_a_file_is_not_counted_unless_it_is(tmp_path: Path, stores_files: bool) -> None:
    monitor = FakeMonitor("demo")
    monitor.change(is_live=False)
    with serving(tmp_path, monitor, {"store_files": stores_files}) as running:
        assert ("are not counted" in running.get("/").text) is not stores_files


def test_an_alert_for_a_crowd_shows_the_number_of_people(running: Running) -> None:
    crowd = running.add_event(make_event(1, people=7))
    running.monitor.change(alerts=(crowd,))
    with running.client() as client:
        assert client.get(f"/api/v1/events/{crowd.id}").json()["people"] == 7
        live, events = client.get("/").text, client.get("/events").text
    banner, recent = live.partition("data-alerts")[2].partition("</section>")[0], live.partition("data-recent")[2]
    assert "door, 7 people" in banner
    assert "door, 7 people" in recent
    assert "7 people" in events.partition("<tbody>")[2]


def test_a_resolved_event_shows_its_reason(running: Running) -> None:
    ended = running.add_event(make_event(1, EventKind.RESOLVED, reason="mask"))
    with running.client() as client:
        assert client.get(f"/api/v1/events/{ended.id}").json()["reason"] == "mask"
        assert ": mask on" in client.get("/").text.partition("data-recent")[2]
        assert "<small>mask on</small>" in client.get("/events").text


def test_missing_pages(running: Running) -> None:
    with running.client() as client:
        response = client.get("/missing")
        assert response.status_code == 404
        assert "<h1>Page not found</h1>" in response.text
        assert client.get("/api/v1/missing").json() == {"error": "not found"}
        assert client.get("/static/missing.css").status_code == 404
        assert client.put("/events", headers={"X-CSRF-Token": "x"}).status_code == 403


def test_the_reason_of_an_error_keeps_its_names(tmp_path: Path) -> None:
    with serving(tmp_path, FakeMonitor("Main Door")) as running:
        running.monitor.change(frame=None)
        assert "camera &#39;Main Door&#39; has no image yet" in running.get("/setup/zones.jpg").text
        assert ">not found<" in running.get("/missing").text


def test_an_internal_error_is_reported_without_details(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr(running.monitor, "views", broken)
    with running.client() as client:
        for path in ("/", "/api/v1/status"):
            response = client.get(path)
            assert response.status_code == 500
            assert "secret" not in response.text
        assert client.get("/healthz").status_code == 200


def test_an_archive_scan_is_a_page_with_a_search(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow (maskwatch[scan]) is not installed")
    from fakes_scan import scanned

    with serving(tmp_path, scan=scanned(tmp_path / "archive")) as running:
        page = running.get("/scan").text
        assert "2 people; 50.0% wore a mask correctly" in page
        assert page.count(">no_mask</td>") == 1
        assert 'href="/scan"' in page
        assert ">no_mask</td>" not in running.get("/scan?q=door+resolved").text
        assert "Nothing found" in running.get("/scan?q=another").text


def test_a_scan_that_cannot_be_read_is_an_error_page(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow (maskwatch[scan]) is not installed")
    with serving(tmp_path, scan=tmp_path / "absent") as running:
        response = running.get("/scan")
        assert response.status_code == 503
        assert "is no planned scan" in response.text
