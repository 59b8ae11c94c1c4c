"""The page of a hub: sites, nodes and cameras of the hub's event file."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving

from app.core.camera_hours import CameraHour, hour_of
from app.core.types import EventKind
from app.fleet.hub_store import HubStore, SiteEvent
from app.fleet.messages import Applied, HourTotals, NodeHealth
from app.web.fleet_page import MAX_ROWS

SITES, CAMERAS = 50, 10
FOLDER = Path(__file__).parents[2] / "packaging" / "fleet"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Running]:
    """The page of a hub with 50 sites of 10 cameras; the node of site 7 is silent."""
    store, now_s = HubStore(tmp_path / "events.db"), time.time()
    names = [f"door {number}" for number in range(CAMERAS)]
    bad = Applied(number=2, fingerprint="f6a151105d94", refused=3, reason="self-test: detector: it is damaged")
    applied = {"settings": Applied(number=3), "model": Applied(number=1, fingerprint="a62e38e490e6"), "detector": bad}
    states = dict.fromkeys(names, "live")
    health = NodeHealth(version="1.2", heartbeat_s=5, waiting=0, cameras=states, applied=applied)
    silent_s = now_s - 3600
    store.save_nodes({f"shop-{n}/box": (silent_s if n == 7 else now_s, health) for n in range(SITES)})
    total = CameraHour("", hour_of(now_s), masked=3, bare=1, watched_s=60.0)
    hours = [(f"shop-{n}/{name}", HourTotals(node="box", hours=(total,))) for n in range(SITES) for name in names]
    event = replace(make_event(), id="shop-7/e:fleet", camera="shop-7/door 3")
    store.write([SiteEvent(event, None)], hours, now_s)
    store.close()
    with serving(tmp_path, FakeMonitor().without_cameras(), is_hub=True) as running:
        yield running


def cells(page: str) -> list[str]:
    return re.findall(r"<t[dh][^>]*>(?:<a[^>]*>)?([^<]*)", page)


def test_the_first_page_of_a_hub_shows_the_sums_of_each_site(hub: Running) -> None:
    with hub.client(follow_redirects=True) as client:
        response = client.get("/")
    assert response.url.path == "/fleet"
    assert "49 of 50 nodes online" in response.text
    shown = cells(response.text)
    start = shown.index("shop-0")
    assert shown[start : start + 7] == ["shop-0", "40", "30", "0", "10", "75 %", "10 min"]
    assert shown.index("offline") < shown.index("online")  # what needs attention comes first
    assert f"{SITES * CAMERAS - MAX_ROWS} more; search for them." in response.text


def test_a_node_is_shown_with_what_it_uses_of_the_hub_and_what_it_refused(hub: Running) -> None:
    detector = "detector 2 (f6a151105d94); detector 3 refused: self-test: detector: it is damaged"
    assert f"settings 3; classifier 1 (a62e38e490e6); {detector}" in cells(hub.get("/fleet").text)
    assert 'revision_refused{node="box",part="detector",site="shop-7"} 3.0' in hub.get("/metrics").text


@pytest.mark.parametrize(
    ("query", "count"), [("shop-31", 10), ("SHOP-31+door", 10), ("shop-7+offline", 10), ("nothing", 0), ("%3Cb%3E", 0)]
)
def test_the_search_finds_cameras_by_site_name_and_state(query: str, count: int, hub: Running) -> None:
    page = hub.get(f"/fleet?q={query}").text
    assert page.count("/events?camera=") == count
    assert "<b>" not in page


def test_a_camera_of_the_fleet_leads_to_its_events_and_trends(hub: Running) -> None:
    link = next(
        link for link in re.findall(r'href="(/events\?camera=[^"]+)"', hub.get("/fleet?q=shop-7").text) if "3" in link
    )
    assert "shop-7/door 3" in hub.get(link).text
    assert "<dt>People</dt><dd>4<" in hub.get("/trends?camera=shop-7/door%203").text
    assert "<dt>People</dt><dd>40<" in hub.get("/trends?group=shop-7").text
    assert "<dt>People</dt><dd>2000<" in hub.get("/trends").text
    assert hub.get("/readyz").status_code == 200


def test_the_events_of_the_fleet_can_be_reviewed(hub: Running) -> None:
    day = time.strftime("%Y-%m-%d", time.localtime(make_event().wall_s))
    page = hub.get(f"/review?day={day}").text
    assert 'aria-label="Select No mask of shop-7/door 3' in page
    assert "Choose a camera to see its day." in page
    assert '<option value="shop-31/door 4">' in page
    assert "<svg" in hub.get(f"/review?day={day}&camera=shop-7/door%203").text


def test_a_silent_node_can_be_acknowledged(tmp_path: Path) -> None:
    event = replace(make_event(), kind=EventKind.NODE_OFFLINE, camera="shop-7/box", wall_s=time.time())
    store = HubStore(tmp_path / "events.db")
    store.write([SiteEvent(event, None)], [], event.wall_s)
    store.close()
    with serving(tmp_path, FakeMonitor().without_cameras(), is_hub=True) as running:
        day = time.strftime("%Y-%m-%d", time.localtime(event.wall_s))
        assert 'aria-label="Select Node offline of shop-7/box' in running.get(f"/review?day={day}").text
        assert f"/api/v1/alerts/{event.id}/acknowledge" in running.get("/events").text


def test_the_page_needs_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    HubStore(tmp_path / "events.db").close()
    monitor = FakeMonitor().without_cameras()
    with serving(tmp_path, monitor, is_hub=True, token_env="PAGE_TOKEN") as running:
        response = running.get("/fleet")
    assert response.status_code == 303
    assert "/login" in response.headers["location"]


def test_all_cameras_are_sent_to_the_script_of_the_page(hub: Running) -> None:
    rows = hub.get("/fleet/cameras").json()
    assert len(rows) == SITES * CAMERAS
    first = {"site": "shop-0", "name": "door 0", "state": "live", "people": 4, "masked": 3, "incorrect": 0, "bare": 1}
    assert rows[0] == {**first, "watched_s": 60.0}


def test_the_dashboard_and_the_rules_use_metrics_that_the_hub_exports(hub: Running) -> None:
    metrics = hub.get("/metrics").text
    exported = set(re.findall(r"^([a-z_]+)[{ ]", metrics, re.MULTILINE)) | {"maskwatch_alert_channel_up"}
    files = [FOLDER / name for name in ("grafana-dashboard.json", "prometheus-rules.yaml")]
    names = set(re.findall(r"(?:maskwatch|process)_[a-z_]+", " ".join(path.read_text("utf-8") for path in files)))
    assert len(names) > 10
    assert names <= exported
    assert 'maskwatch_fleet_node_up{node="box",site="shop-7"} 0.0' in metrics
    assert 'maskwatch_fleet_cameras{site="shop-8",state="live"} 10.0' in metrics
    assert 'maskwatch_fleet_people_seen{label="mask",site="shop-8"} 30.0' in metrics
    assert 'maskwatch_fleet_watched_seconds{site="shop-8"} 600.0' in metrics


def test_another_maskwatch_has_no_such_page(running: Running) -> None:
    response = running.get("/fleet")
    assert response.status_code == 404
    assert running.get("/fleet/cameras").status_code == 404
    assert "no hub of a fleet" in response.text
    assert ">Fleet<" not in running.get("/").text
