"""Clips, verdicts, labels and the page of a hub in a headless Chromium."""

import time
from pathlib import Path
from typing import Any

import pytest
from fakes_browser import (
    AXE,
    DESKTOP,
    PHONE,
    By,
    accessibility_errors,
    fetch,
    needs_chromium,
    overflow_px,
    resize,
    wait_until,
    webdriver,
)
from fakes_review import FACE, add_face, write_review_clip
from fakes_video import striped_image
from fakes_web import FakeMonitor, Running, make_event, serving

from app.capture.recorder import VideoWriter
from app.core.camera_hours import CameraHour, hour_of
from app.core.types import Event, Label
from app.fleet.hub_store import HubStore
from app.fleet.messages import HourTotals, NodeHealth

pytestmark = needs_chromium


def test_written_videos_play_in_the_browser(browser: Any, tmp_path: Path) -> None:
    names = ("a.mp4", "a.webm", "odd size.mp4")
    for name in names:
        width_px, height_px = (321, 241) if "odd" in name else (320, 240)
        with VideoWriter(tmp_path / name, 25, (width_px, height_px)) as writer:
            for i in range(15):
                writer.write(striped_image(i, width_px, height_px))
    page = tmp_path / "videos.html"
    page.write_text(
        "<!doctype html><title>x</title>" + "".join(f"<video src='{name}' muted></video>" for name in names)
    )
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('video').forEach(video => video.play().catch(() => {}))")
    state = (
        "return [...document.querySelectorAll('video')].map(v => v.error ? v.error.message : v.ended ? 'ended' : '')"
    )
    wait_until(lambda: all(browser.execute_script(state)))
    assert browser.execute_script(state) == ["ended"] * len(names)
    sizes = "return [...document.querySelectorAll('video')].map(v => [v.videoWidth, v.videoHeight, v.duration])"
    for width_px, height_px, duration_s in browser.execute_script(sizes):
        assert (width_px, height_px) == (320, 240)
        assert duration_s == pytest.approx(15 / 25, abs=0.05)


def test_a_clip_plays_with_boxes_on_and_off(running: Running, browser: Any) -> None:
    event = running.add_event(make_event(1))
    write_review_clip(running.server.site.clips, event)
    browser.get(f"{running.base}/review?event={event.id}")
    drawn = (
        "const c = document.querySelector('.video canvas'); if (c.hidden) return 'hidden';"
        "if (!c.width) return false; const copy = new OffscreenCanvas(c.width, c.height);"
        "const pen = copy.getContext('2d', {willReadFrequently: true});"  # without it, a second look is a warning
        "pen.drawImage(c, 0, 0); const d = pen.getImageData(0, 0, c.width, c.height).data; let left = 0, right = 0;"
        "for (let i = 3; i < d.length; i += 4) if (d[i]) ((i >> 2) % c.width < c.width / 2) ? left++ : right++;"
        "return left > 50 && right < left / 20;"
    )
    wait_until(lambda: browser.execute_script(drawn) is True)
    browser.find_element(By.CSS_SELECTOR, "[data-box-toggle]").click()
    wait_until(lambda: browser.execute_script(drawn) == "hidden")
    browser.execute_script("document.querySelector('video').play().catch(() => {})")
    wait_until(lambda: browser.execute_script("return document.querySelector('video').ended"))
    assert browser.execute_script("return document.querySelector('video').duration") == pytest.approx(1.5, abs=0.11)
    browser.execute_script("document.querySelector('video').currentTime = 0.2")  # needs a range of the file
    wait_until(lambda: 0.1 < browser.execute_script("return document.querySelector('video').currentTime") < 0.5)
    browser.get("about:blank")


def test_events_are_reviewed_by_keyboard(running: Running, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    events = [running.add_event(make_event(number)) for number in range(1, 4)]  # the newest is the first in the list

    def record(event: Event) -> Any:
        return fetch(f"{running.base}/api/v1/events/{event.id}").json()

    browser.get(f"{running.base}/review")
    wait_until(lambda: browser.switch_to.active_element.get_attribute("aria-current") == "true")
    browser.switch_to.active_element.send_keys("2")
    wait_until(lambda: record(events[2])["verdict"] == "no_face")
    wait_until(lambda: "No face" in browser.find_element(By.CSS_SELECTOR, "[data-marks]").text)
    browser.switch_to.active_element.send_keys("j", "x")
    browser.switch_to.active_element.send_keys("j", "x", "a")
    wait_until(lambda: browser.current_url.endswith("said=acknowledged"))
    assert [bool(record(event)["acknowledged_s"]) for event in events] == [True, True, False]
    wait_until(lambda: browser.switch_to.active_element.get_attribute("aria-current") == "true")
    browser.switch_to.active_element.send_keys("j")
    browser.switch_to.active_element.send_keys("3")
    wait_until(lambda: browser.switch_to.active_element.get_attribute("id") == "r-label")
    browser.switch_to.active_element.send_keys("Worn wrong", Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_until(lambda: browser.current_url.endswith("said=judged"))
    assert (record(events[1])["verdict"], record(events[1])["verdict_label"]) == ("wrong_label", "incorrect")
    browser.get("about:blank")


def test_the_page_of_a_hub_shows_500_cameras_in_groups_with_a_search(tmp_path: Path, browser: Any) -> None:
    store, now_s = HubStore(tmp_path / "events.db"), time.time()
    names = [f"door {number}" for number in range(10)]
    health = NodeHealth(version="1", heartbeat_s=5, waiting=0, cameras=dict.fromkeys(names, "live"))
    store.save_nodes({f"shop-{n}/box": (now_s if n != 7 else now_s - 3600, health) for n in range(50)})
    total = CameraHour("", hour_of(now_s), masked=3, bare=1, watched_s=60.0)
    hours = [(f"shop-{n}/{name}", HourTotals(node="box", hours=(total,))) for n in range(50) for name in names]
    store.write([], hours, now_s)
    store.close()

    def shown() -> list[str]:
        script = "return [...document.querySelectorAll('[data-rows] [role=row]')].map(row => row.innerText)"
        return [" ".join(text.split()) for text in browser.execute_script(script)]

    def found() -> str:
        return str(browser.find_element(By.CSS_SELECTOR, "[data-found]").text)

    with serving(tmp_path, FakeMonitor().without_cameras(), is_hub=True) as running:
        browser.get(f"{running.base}/fleet")
        wait_until(lambda: found() == "500 of 500 cameras, sites: 50")
        assert shown()[:2] == ["shop-0 10 of 10 live 40 30 0 10 75 % 10 min", "door 0 Live 4 3 0 1 75 % 1 min"]
        assert len(shown()) < 60  # only what is in view
        browser.execute_script("document.querySelector('[data-scroll]').scrollTop = 1e9")
        wait_until(lambda: shown()[-1].startswith("door 9 Live"))
        search = browser.find_element(By.CSS_SELECTOR, "#q")
        search.send_keys("SHOP-7 offline")
        wait_until(lambda: found() == "10 of 500 cameras, sites: 1")
        assert shown()[1].startswith("door 0 node offline")
        browser.find_element(By.CSS_SELECTOR, "[data-site=shop-7]").click()
        wait_until(lambda: len(shown()) == 1)
        browser.execute_script("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", search)
        browser.find_element(By.CSS_SELECTOR, "[data-close-all]").click()
        wait_until(lambda: all("live" in row and row.startswith("shop-") for row in shown()))
        for size in (PHONE, DESKTOP):
            resize(browser, *size)
            assert overflow_px(browser) <= 0


@pytest.mark.parametrize("shape", [DESKTOP, PHONE])
def test_faces_are_labelled_by_keyboard_and_pointer(running: Running, browser: Any, shape: tuple[int, int]) -> None:
    faces = running.server.site.collected
    for number in range(3):
        add_face(faces, f"{number}.5-a", striped_image(160, 120), confidence=0.5 + number / 10)

    def known(number: int) -> Any:
        face = faces.find(f"{number}.5-a")
        assert face is not None
        return face.known_label

    resize(browser, *shape)
    browser.get(f"{running.base}/label")
    rect = browser.find_element(By.CSS_SELECTOR, "[data-box]")
    left = rect.get_attribute("x")
    browser.execute_script("document.querySelector('#language').focus()")
    webdriver.ActionChains(browser).send_keys("\ue014").perform()  # belongs to the list of languages
    assert rect.get_attribute("x") == left
    browser.execute_script("document.activeElement.blur()")
    corner = browser.find_elements(By.CSS_SELECTOR, ".labelling circle")[3]
    webdriver.ActionChains(browser).drag_and_drop_by_offset(corner, 30, 20).perform()
    width = float(rect.get_attribute("width"))
    assert width > FACE.width + 2
    webdriver.ActionChains(browser).send_keys("\ue014", "\ue014", "0").perform()  # two arrows to the right, no face
    wait_until(lambda: known(0) is Label.NOT_FACE)
    found = faces.find("0.5-a")
    assert found is not None
    assert (found.box.x, found.box.width) == (FACE.x + 2, pytest.approx(width, abs=0.1))
    wait_until(lambda: "1.5-a" in browser.find_element(By.CSS_SELECTOR, "[data-labelling]").get_attribute("action"))
    browser.find_element(By.CSS_SELECTOR, "[value=mask]").click()
    wait_until(lambda: known(1) is Label.MASK)
    wait_until(lambda: "2.5-a" in browser.find_element(By.CSS_SELECTOR, "[data-labelling]").get_attribute("action"))
    webdriver.ActionChains(browser).send_keys("u").perform()
    wait_until(lambda: known(1) is None)
    wait_until(lambda: "1.5-a" in browser.find_element(By.CSS_SELECTOR, "[data-labelling]").get_attribute("action"))
    assert overflow_px(browser) <= 0
    if AXE.is_file():
        assert accessibility_errors(browser) == []
    browser.get("about:blank")
