"""The page of zones and lines, and their counts in the API, the metrics and the live page."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_web import FakeMonitor, Running, serving

from app.core.camera_hours import Occupancy
from app.core.types import Event, EventKind
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings

LINES = [{"name": name, "points": [[0.5, 0.9], [0.5, 0.1]]} for name in ("main", "back")]
ZONE = {"name": "ward <b>", "polygon": [[0, 0], [1, 0], [1, 1]]}
FULL = Event(
    "full-1", EventKind.OCCUPANCY_REACHED, "door", 1.0, time.time(), reason="3 inside, the limit is 3", people=3
)
STATE = Occupancy("door", 100.0, {"main": (5, 1), "gone": (1, 2)}, 3, FULL)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Running]:
    monitor = FakeMonitor("yard", "door")
    camera: dict[str, Any] = {"uri": "0", "name": "door", "line": LINES, "zone": [ZONE], "occupancy": {"limit": 3}}
    monitor.change(1, settings=CameraSettings.model_validate(camera), occupancy=STATE)
    with serving(tmp_path, monitor) as running:
        yield running


def test_counts_and_the_limit_are_in_the_api_the_metrics_and_the_live_page(counting: Running) -> None:
    yard, door = counting.get("/api/v1/cameras").json()["cameras"]
    assert yard["occupancy"] is None
    assert door["occupancy"] == {
        "since_s": 100.0,
        "entered": 6,
        "exited": 3,
        "inside": 3,
        "limit": 3,
        "is_full": True,
        "lines": [{"name": "main", "entered": 5, "exited": 1}, {"name": "back", "entered": 0, "exited": 0}],
    }
    metrics = counting.get("/metrics").text
    for line in (
        'maskwatch_line_passed{camera="door",direction="in",line="main"} 5.0',
        'maskwatch_line_passed{camera="door",direction="out",line="main"} 1.0',
        'maskwatch_people_inside{camera="door"} 3.0',
        'maskwatch_people_inside_limit{camera="door"} 3.0',
        'maskwatch_open_alerts{camera="door"} 1.0',
    ):
        assert line in metrics
    assert 'maskwatch_people_inside{camera="yard"}' not in metrics
    page = counting.get("/").text
    assert page.count("data-inside") == 1
    assert "is-full" in page


def test_a_reached_limit_is_an_open_alert_that_can_be_acknowledged(counting: Running) -> None:
    (alert,) = counting.get("/api/v1/alerts").json()["events"]
    assert (alert["kind"], alert["people"], alert["reason"]) == ("occupancy_reached", 3, FULL.reason)
    with counting.browser() as (client, headers):
        assert client.post(f"/api/v1/alerts/{FULL.id}/acknowledge", headers=headers).status_code == 200


def test_the_page_reads_without_a_script(counting: Running) -> None:
    page = counting.get("/setup/zones?camera=door").text
    assert "ward &lt;b&gt;" in page
    assert "main, back" in page
    assert "Zones of yard" in counting.get("/setup/zones").text, "the first camera"
    assert counting.get("/setup/zones?camera=nobody").status_code == 404
    assert counting.get("/setup/zones.jpg?camera=nobody").status_code == 404


def test_the_picture_to_draw_on_shows_nothing_but_the_image(counting: Running) -> None:
    counting.monitor.change(1, frame=None)
    assert counting.get("/setup/zones.jpg?camera=door").status_code == 404
    frame = counting.monitor.views()[0].frame
    assert frame is not None
    counting.monitor.change(1, frame=replace(frame, image=np.full((120, 160, 3), 90, np.uint8)))
    shown = cv2.imdecode(np.frombuffer(counting.get("/setup/zones.jpg?camera=door").content, np.uint8), 1)
    assert shown is not None
    assert np.abs(shown.astype(int) - 90).max() < 4


def test_the_picture_to_draw_on_hides_faces_if_they_are_hidden_everywhere(tmp_path: Path) -> None:
    """Without an analysed image nothing is shown: faces cannot be hidden yet."""
    with serving(tmp_path) as running:
        running.server.site.settings = load_settings(None, {"view": {"blur": True}})
        assert running.get("/setup/zones.jpg").status_code == 404
