"""The page Trends: exact numbers of a day, week and month, groups, heat maps and print; and the example client."""

import base64
import html
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from fakes_web import LIMIT_S, TOKEN, FakeMonitor, make_event, serving, wait_until

from app.alerts.event_store import EventStore
from app.alerts.store_types import WriteBatch
from app.core.camera_hours import CameraHour
from app.core.period import Period, Span
from app.core.types import Box, Event
from app.web.heat_map import heat_map
from app.web.numbers_page import choose

CLIENT = Path(__file__).parents[2] / "docs" / "example_client.py"


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("needs tzset")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local_s(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def hour(camera: str, text: str, masked: int, bare: int = 0) -> CameraHour:
    return CameraHour(camera, local_s(text), masked, bare, watched_s=3600)


def add(folder: Path, hours: list[CameraHour], events: list[tuple[Event, bytes | None]] = []) -> None:  # noqa: B006
    with EventStore(folder / "events.db") as store:
        store.write(WriteBatch(tuple(events), hours=tuple(hours)), time.time())


def cells(page: str, name: str) -> list[str]:
    """The cells of the first row of a table that begins with ``name``."""
    row = page.partition(f'<th scope="row">{name}')[2].partition("</tr>")[0]
    return [html.unescape(cell) for cell in re.findall("<td[^>]*>(.*?)</td>", row)]


def test_a_week_with_a_clock_change_is_exact(tmp_path: Path, berlin: None) -> None:
    add(
        tmp_path,
        [
            hour("door", "2026-10-12T09:00", 800, 200),
            hour("door", "2026-10-19T00:00", 28, 2),
            hour("door", "2026-10-25T23:00", 70),
            hour("yard", "2026-10-20T12:00", 3, 4),
            hour("yard", "2026-10-26T00:00", 50),
        ],
        [(make_event(1, wall_s=float(local_s("2026-10-25T23:59"))), None)],
    )
    with serving(tmp_path, FakeMonitor("door", "yard"), {"keep_days": 3650}) as running:
        page = running.get("/trends?span=week&date=2026-10-21").text
        assert "<h1>Masks: Week 43, 19 October to 25 October 2026</h1>" in page
        assert "<dt>People</dt><dd>107<" in page
        assert "<dt>Alerts</dt><dd>1<" in page
        assert "<dt>Masks worn correctly</dt><dd>94% (88 to 97%)<" in page
        watched = "3 h, 1%"  # of 169 h of the door and 133 h of the yard, which was first watched on Tuesday noon
        assert f"<dt>Watched</dt><dd>{watched}<" in page
        before = ["80% (77 to 82%)", "1 h, 1%", "1000", "0", "200", "0", "+14 points (+8 to +18)"]
        assert cells(page, "Week before") == before
        assert cells(page, "Mon 19 October 2026")[2:7] == ["30", "28", "0", "2", "0"]
        assert cells(page, "Sun 25 October 2026")[2:7] == ["70", "70", "0", "0", "1"]
        assert cells(page, "door")[:3] == ["98% (93 to 99%)", "2 h, 1%", "100"]
        assert cells(page, "yard")[0] == "too few people (7)"
        assert cells(page, "12:00")[:1] == ["too few people (7)"]
        assert 'href="/trends?span=week&amp;date=2026-10-12"' in page
        assert 'href="/trends?span=week&amp;date=2026-10-26"' in page
        assert "<dt>People</dt><dd>7<" in running.get("/trends?span=week&date=2026-10-21&camera=yard").text
        assert "<dt>People</dt><dd>1157<" in running.get("/trends?span=month&date=2026-10-01").text
        day = running.get("/trends?span=day&date=2026-10-26").text
        assert cells(day, "Day before")[2] == "70"
        assert cells(day, "Same day of the week before")[2] == "30"
        assert "too few people to compare" not in day
        assert "No people were counted" in running.get("/trends?span=day&date=1900-01-01").text
        assert running.get("/trends?span=month&date=99999-99-99&group=nothing").status_code == 200


def test_a_running_period_is_compared_with_the_same_part(berlin: None) -> None:
    now_s = local_s("2026-03-30T14:20")  # the day after the clock went forward
    choice = choose("day", "2026-03-30", now_s)
    assert [(name, until_s) for name, _, until_s in choice.earlier] == [
        ("Day before", local_s("2026-03-29T15:00")),
        ("Same day of the week before", local_s("2026-03-23T15:00")),
    ]
    ((_, since_s, until_s),) = choose("72", "", now_s).earlier
    assert (since_s, until_s) == (choose("72", "", now_s).since_s - 72 * 3600, now_s - 72 * 3600)
    assert choose("day", "no date", now_s).period == Period.of(Span.DAY, date(2026, 3, 30))
    assert choose("year", "", now_s).title == "Last 24 hours"


def test_groups_have_their_own_numbers(tmp_path: Path) -> None:
    now = f"{datetime.now() - timedelta(hours=2):%Y-%m-%dT%H:00}"
    add(tmp_path, [hour("door", now, 30), hour("hall", now, 20), hour("yard", now, 7)])
    cameras = [{"uri": f"rtsp://h/{name}", "name": name, "group": group} for name, group in
               (("door", "Floor 1"), ("hall", "Floor 1"), ("yard", "<Outside>"))]  # fmt: skip
    with serving(tmp_path, FakeMonitor("door", "hall", "yard"), cameras=cameras) as running:
        page = running.get("/trends").text
        assert cells(page, "Floor 1")[2] == "50"
        assert cells(page, "&lt;Outside&gt;")[2] == "7"
        page = running.get(f"/trends?group={quote('Floor 1')}").text
        assert "<dt>People</dt><dd>50<" in page
        assert cells(page, "yard") == []


def placed(number: int, x: float, y: float, size: tuple[int, int] = (160, 120), **more: Any) -> Event:
    box = Box(x * size[0] - 5, y * size[1] - 5, 10, 10)
    return make_event(number, box=box, frame_width_px=size[0], frame_height_px=size[1], **more)


def test_a_heat_map_counts_places_of_any_resolution() -> None:
    alerts = [placed(1, 0.1, 0.1), placed(2, 0.12, 0.1, (1600, 1200)), placed(3, 0.5, 0.5), placed(4, 1.0, 1.01)]
    turned, old = placed(0, 0.5, 0.5, (120, 160)), make_event(0)
    found = heat_map("a<b", [turned, old, *alerts], "")
    assert found is not None
    assert (found.count, found.unplaced) == (4, 2)
    assert found.thirds == ((2, 0, 0), (0, 1, 0), (0, 0, 1))
    assert re.findall(r'class="heat-(\d)" x="(\d+)" y="(\d+)"', found.svg) == [
        ("5", "20", "20"), ("3", "160", "120"), ("3", "300", "220"),
    ]  # fmt: skip
    assert "a&lt;b" in found.svg
    assert "<image" not in found.svg
    assert heat_map("door", [old], "") is None


@pytest.mark.parametrize("scale", [1, 3], ids=["analysed stream", "main stream"])
def test_a_heat_map_lies_over_a_snapshot_without_faces(tmp_path: Path, scale: int) -> None:
    """A snapshot of the main stream is larger than the image in which the face was found."""
    image = np.full((120, 160, 3), 127, np.uint8)
    image[40:80:2, 60:100] = 255  # a face of stripes
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    event = make_event(1, box=Box(60, 40, 40, 40), frame_width_px=160, frame_height_px=120)
    with serving(tmp_path, alerts={"snapshots": "blur_others"}) as running:
        running.add_event(event, cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes())
        page = running.get("/trends").text
        (address,) = re.findall(r'<image href="([^"]+)"', page)
        shown, stored = (
            cv2.imdecode(np.frombuffer(running.get(path).content, np.uint8), cv2.IMREAD_COLOR)
            for path in (address, address.partition("?")[0])
        )
        faces = [each[50 * scale : 70 * scale : scale, 75 * scale : 85 * scale] for each in (shown, stored)]
        stripes = [np.abs(np.diff(face.astype(int), axis=0)).mean() for face in faces]
        assert stripes[0] < 10 < 100 < stripes[1]
        assert running.get("/api/v1/events/none/picture.jpg?blurred").status_code == 404
    with serving(tmp_path) as running:
        page = running.get("/trends").text
        assert 'class="heat"' in page
        assert "<image" not in page, "snapshots are not allowed"


def test_the_page_prints_on_a4(tmp_path: Path) -> None:
    """The print of a month: the pages are A4, all tables are printed, and controls are not."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[test]'")
    from fakes_browser import CHROMIUM, DRIVER, FLAGS

    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver: apt install chromium-driver")
    today = date.today()
    hours = [hour("door", f"{today - timedelta(days=day)}T08:00", 40, 3) for day in range(today.day)]
    add(tmp_path, hours)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        with serving(tmp_path) as running:
            browser.get(f"{running.base}/trends?span=month")
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
            size = {"width": 688, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            widths = browser.execute_script(
                "return [...document.querySelectorAll('main, .numbers, .chart')].map((each) => each.scrollWidth)"
            )
            assert max(widths) <= 688, "182 mm of A4"
            shown = "return [...document.querySelectorAll(arguments[0])].filter((each) => each.offsetParent).length"
            assert browser.execute_script(shown, ".top, .filters, button, .foot") == 0
            assert browser.execute_script(shown, ".numbers tbody tr") >= today.day + 2
            printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
            browser.get("about:blank")
    finally:
        browser.quit()
    pdf = base64.b64decode(printed["data"])
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([\d. ]+)\]", pdf)}
    assert {(round(box[2]), round(box[3])) for box in boxes} == {(595, 842)}


def test_the_example_client_prints_old_and_new_events_and_reconnects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(CLIENT.read_text("utf-8").splitlines()) <= 60
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    program = CLIENT.read_text("utf-8").replace("OVERLAP_S = 3.0", "OVERLAP_S = 0.1")

    def expect(*events: str) -> None:
        """Each event once, without its time."""
        wait_until(lambda: len((tmp_path / "printed").read_text("utf-8").splitlines()) > len(events))
        lines = (tmp_path / "printed").read_text("utf-8").splitlines()
        assert lines[0] == "door: live, 1 without a mask"
        assert [line.partition(" ")[2] for line in lines[1:]] == [f"{name}: no_mask" for name in events]

    with ExitStack() as stack:
        with serving(tmp_path, token_env="PAGE_TOKEN") as running:
            running.add_event(make_event(1, camera="old"))
            port = running.port
            output = stack.enter_context((tmp_path / "printed").open("w"))
            argv = [sys.executable, "-c", program, running.base, TOKEN]
            process = subprocess.Popen(argv, stdout=output, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, LIMIT_S)
            stack.callback(process.kill)
            expect("old")
            running.add_event(make_event(2, camera="new"))
            expect("old", "new")
        with EventStore(tmp_path / "events.db") as store:
            store.write(WriteBatch(((make_event(3, camera="missed"), None),)), time.time())
        with serving(tmp_path, token_env="PAGE_TOKEN", port=port) as running:
            expect("old", "new", "missed")
            running.add_event(make_event(4, camera="later"))
            expect("old", "new", "missed", "later")
