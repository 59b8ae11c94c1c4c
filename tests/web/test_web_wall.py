"""Groups, the wall, cameras that are offline, and what makes the pages an application of a phone."""

import json
import re
import struct
import time
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from fakes_web import FakeMonitor, Running, serving

from app.capture.capture import SourceState
from app.settings.load import load_settings
from app.settings.reload import live_part, needs_restart


def nine(**changes: Any) -> FakeMonitor:
    """Cameras 1 to 3 are in the group Hall, 4 and 5 in 'A & B', the others in none."""
    monitor = FakeMonitor(*(f"camera-{number}" for number in range(1, 10)))
    for index in range(5):
        monitor.change(index, group="Hall" if index < 3 else "A & B")
    return monitor


def cameras_of(page: str) -> list[int]:
    """The cameras that a page shows."""
    tiles = re.findall(r'<(?:a|article) class="[^"]*camera[^"]*" data-camera="(\d+)"[^>]*>', page)
    hidden = re.findall(r'data-camera="(\d+)"[^>]* hidden>', page)
    return [int(number) for number in tiles if number not in hidden]


def test_a_group_is_shown_alone(tmp_path: Path) -> None:
    with serving(tmp_path, nine()) as running:
        assert cameras_of(running.get("/").text) == list(range(1, 10))
        assert cameras_of(running.get("/?group=Hall").text) == [1, 2, 3]
        assert cameras_of(running.get("/?group=none").text) == list(range(1, 10))
        assert cameras_of(running.get("/?camera=4&group=Hall").text) == [4]
        page = running.get("/?group=A+%26+B").text
        assert cameras_of(page) == [4, 5]
        assert 'href="/wall?group=A%20%26%20B"' in page
        assert running.get("/api/v1/cameras/4").json()["group"] == "A & B"


def test_the_groups_come_from_the_settings_and_change_at_run_time() -> None:
    old, new = (
        load_settings(None, {"camera": [{"uri": "rtsp://a", "name": "a", "group": group}]}) for group in ("x", "y")
    )
    assert live_part(old, new).camera[0].group == "y"
    assert needs_restart(old, new) == []


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", [1, 2, 3, 4]),
        ("per=9", list(range(1, 10))),
        ("per=16", list(range(1, 10))),
        ("per=1&page=3", [3]),
        ("per=4&page=3", [9]),
        ("per=4&page=99", [9]),
        ("per=3", [1, 2, 3, 4]),
        ("per=99", list(range(1, 10))),
        ("per=4&group=Hall", [1, 2, 3]),
        ("per=4&camera=7", [7]),
        ("per=4&camera=7&group=Hall", [1, 2, 3]),
        ("per=x&page=-1&every=99999999&camera=%00", [1, 2, 3, 4]),
    ],
)
def test_the_address_says_what_the_wall_shows(tmp_path: Path, query: str, shown: list[int]) -> None:
    with serving(tmp_path, nine()) as running:
        page = running.get(f"/wall?{query}").text
        assert cameras_of(page) == shown
        sources = re.findall(r'src="/api/v1/cameras/(\d+)/(stream\.mjpeg|picture\.jpg)"', page)
        assert [int(number) for number, _ in sources] == shown, "hidden images are not loaded"
        assert {name for _, name in sources} == {"stream.mjpeg" if len(shown) <= 3 else "picture.jpg"}


def test_the_wall_turns_its_pages_without_javascript(tmp_path: Path) -> None:
    with serving(tmp_path, nine()) as running:
        page = running.get("/wall?per=4&every=10&page=3").text
        refresh = re.search(r'<noscript><meta http-equiv="refresh" content="10;url=([^"]+)"', page)
        assert refresh is not None
        assert cameras_of(running.get(refresh[1].replace("&amp;", "&")).text) == [1, 2, 3, 4]
        assert "http-equiv" not in running.get("/wall?per=4&every=10&camera=2").text
        assert "http-equiv" not in running.get("/wall?per=9&every=10").text


def test_a_wall_without_cameras_is_a_page(tmp_path: Path) -> None:
    with serving(tmp_path, FakeMonitor().without_cameras()) as running:
        assert "No camera is watched" in running.get("/wall").text


@pytest.mark.parametrize("path", ["/", "/wall"])
@pytest.mark.parametrize("state", [SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED])
def test_an_offline_camera_is_loud(tmp_path: Path, path: str, state: SourceState) -> None:
    with serving(tmp_path, nine()) as running:
        assert re.search(r"data-offline-list hidden", running.get(path).text)
        running.monitor.state(state, "rtsp://u:secret@cam: no route to host", 1)
        page = running.get(path).text
        banner = page[page.index("data-offline-list") : page.index("</section>", page.index("data-offline-list"))]
        assert "hidden" not in banner
        assert 'Cameras offline: <span data-field="offline-count">1</span>' in banner
        assert "camera-2" in banner
        assert "no route to host" in banner
        assert "secret" not in page
        record = running.get("/api/v1/cameras/2").json()
        assert record["offline_since_s"] == pytest.approx(time.time() - 90, abs=60)
        assert time.strftime("%H:%M:%S", time.localtime(record["offline_since_s"])) in banner
        assert len(re.findall(r'<span class="badge" data-badge>Offline since', page)) == 1, "badge on its image"
        running.monitor.state(SourceState.LIVE, "", 1)
        assert running.get("/api/v1/cameras/2").json()["offline_since_s"] is None


def test_an_outage_of_yesterday_shows_its_day(running: Running) -> None:
    running.monitor.state(SourceState.FAILED, "gone")
    since_s = time.time() - 30 * 3600
    running.monitor.change(down_since_s=since_s)
    assert time.strftime('since <span data-field="since"><time', time.localtime(since_s)) in running.get("/").text
    assert time.strftime(">%d %b, %H:%M<", time.localtime(since_s)) in running.get("/").text


def width_of(response: httpx.Response) -> int:
    left = b""
    for part in response.iter_raw():
        left += part
        if len(left) >= 8 and len(left) >= 8 + (length := struct.unpack(">I", left[4:8])[0]):
            image = cv2.imdecode(np.frombuffer(left[8 : 8 + length], np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            return int(image.shape[1])
    raise AssertionError("the stream ended")


def test_live_images_are_as_wide_as_they_are_shown(running: Running) -> None:
    running.monitor.step(1, size=(1080, 1920))
    for wanted, width_px in (("1", 320), ("320", 320), ("321", 480), ("600.5", 640), ("4000", 960)):
        with httpx.stream("GET", f"{running.base}/api/v1/live?width={wanted}", timeout=60) as response:
            assert width_of(response) == width_px
    for wrong in ("0", "x", "99999"):
        assert running.get(f"/api/v1/live?width={wrong}").status_code == 400


@pytest.mark.parametrize("root", ["", "/masks"])
def test_the_pages_can_be_installed_also_below_a_path(tmp_path: Path, root: str) -> None:
    with serving(tmp_path, root_path=root) as running:
        page = running.get(f"{root}/").text
        address = re.search(r'rel="manifest" href="([^"]+)"', page)
        assert address is not None
        manifest_url = httpx.URL(running.base).join(address[1])
        response = running.get(manifest_url.path)
        assert response.headers["content-type"] == "application/manifest+json"
        manifest = json.loads(response.text)
        assert manifest_url.join(manifest["start_url"]).path == manifest_url.join(manifest["scope"]).path == f"{root}/"
        for icon in manifest["icons"]:
            picture = running.get(manifest_url.join(icon["src"]).path)
            assert picture.headers["content-type"] == icon["type"]
            if icon["type"] == "image/png":
                width, height = struct.unpack(">II", picture.content[16:24])
                assert icon["sizes"] == f"{width}x{height}"
        worker = httpx.URL(running.base).join(f"{root}/static/service-worker.js")
        allowed = running.get(worker.path).headers["service-worker-allowed"]
        assert worker.join(allowed).path == f"{root}/"


def test_the_offline_page_contains_nothing_of_the_program_and_needs_no_sign_in(locked: Running) -> None:
    response = locked.get("/static/offline.html")
    assert response.status_code == 200
    assert "No connection" in response.text
    assert "csrf" not in response.text
    assert locked.get("/wall").status_code == 303
