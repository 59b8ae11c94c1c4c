"""Setting up in a headless Chromium: zones, cameras, channels, a sign-in code."""

import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fakes_browser import (
    AXE,
    ROOT,
    By,
    Program,
    accessibility_errors,
    live_image,
    needs_chromium,
    resize,
    wait_until,
)
from fakes_onvif import OnvifCamera
from fakes_setup import make_live_or_real
from fakes_setup import running as settings_of
from fakes_video import RtspServer, striped_image, write_clip
from fakes_web import FakeMonitor, serving

from app.capture.onvif import find_devices
from app.core.types import EventKind
from app.settings.load import load_settings
from app.web.passwords import Passwords
from app.web.people import Role

pytestmark = needs_chromium

DOOR: dict[str, Any] = {
    "name": "door", "rotate": 90, "flip": "horizontal",
    "zone": [{"name": "ward", "polygon": [[0.1, 0.1], [0.4, 0.1], [0.4, 0.5], [0.1, 0.5]], "dwell_s": 5,
              "alert_on": ["incorrect", "no_mask"], "schedule": []}],
    "blackout": [[[0, 0], [0.2, 0], [0.2, 0.3], [0, 0.3]]],
}  # fmt: skip


FAKE_SETTINGS = """
window.posts = [];
const real = window.fetch;
window.fetch = (url, options = {}) => {
  if (!String(url).endsWith("/api/v1/settings")) return real(url, options);
  if (options.method === "POST") window.posts.push(JSON.parse(options.body));
  const answer = {revision: "r1", settings: {camera: [DOOR]}, needs_restart: []};
  return Promise.resolve(new Response(JSON.stringify(answer)));
};
"""


def test_zones_and_lines_are_drawn_with_the_keyboard_and_the_mouse(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def saved() -> dict[str, Any]:
        browser.find_element(By.CSS_SELECTOR, "[data-zones] button.main").click()
        wait_until(lambda: "Saved" in browser.find_element(By.CSS_SELECTOR, "[data-said]").text)
        post = browser.execute_script("return window.posts.pop()") or {"changes": []}
        return {change["path"]: change["value"] for change in post["changes"]}

    def corner(name: str) -> Any:
        return browser.find_element(By.CSS_SELECTOR, f"[aria-label='{name}']")

    fake = FAKE_SETTINGS.replace("DOOR", json.dumps(DOOR))
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": fake})
    monitor = FakeMonitor("door")
    with serving(tmp_path, monitor) as running:
        browser.get(f"{running.base}/setup/zones?camera=door")
        wait_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".zones-corner")) == 8)
        assert saved() == {}, "what was not changed is not sent"
        corner("ward, corner 1").send_keys(Keys.ARROW_RIGHT, Keys.SHIFT + Keys.ARROW_DOWN)
        corner("ward, corner 3").send_keys(Keys.DELETE)
        zone = {"name": "ward", "polygon": [[0.11, 0.15], [0.4, 0.1], [0.1, 0.5]], "dwell_s": 5}
        kept = {"alert_on": ["no_mask", "incorrect"], "schedule": []}
        assert saved() == {"camera.door.zone": [zone | kept]}
        corner("ward, corner 1").send_keys(Keys.INSERT)
        assert len(saved()["camera.door.zone"][0]["polygon"]) == 4
        browser.find_element(By.CSS_SELECTOR, "[data-new=line]").click()
        browser.switch_to.active_element.send_keys("main")
        browser.find_element(By.CSS_SELECTOR, "[data-swap]").click()
        browser.find_element(By.CSS_SELECTOR, "[name=limit]").send_keys("7")
        line = {"name": "main", "points": [[0.5, 0.15], [0.5, 0.85]]}
        assert saved() == {"camera.door.line": [line], "camera.door.occupancy.limit": 7}
        hidden = corner("Hidden part, corner 1")
        ActionChains(browser).move_to_element(hidden).click_and_hold().move_by_offset(60, 40).release().perform()
        ((first, *others),) = saved()["camera.door.blackout"]
        assert others == DOOR["blackout"][0][1:], "in the picture as the camera sends it, turned and mirrored back"
        assert first[0] > 0.02
        assert first[1] > 0.02
        for width, scheme in ((360, "light"), (1440, "dark")):
            resize(browser, width, 900, color_scheme=scheme)
            browser.refresh()
            wait_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".zones-corner")) == 8)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            assert not AXE.is_file() or accessibility_errors(browser) == []


def test_a_camera_that_is_added_in_the_page_alerts_within_a_minute(tmp_path: Path, browser: Any) -> None:
    """From a first start without any camera; the password is not shown again, and the file keeps its comments."""
    shutil.copy(ROOT / "assets/demo.mp4", tmp_path)
    text = f"# Our settings\n[alerts]\nstore = {json.dumps(str(tmp_path / 'events.db'))}  # here\n"
    with RtspServer(tmp_path) as server:
        program = Program(tmp_path, text)
        try:
            browser.get(f"{program.base}/setup")
            start_s = time.monotonic()
            browser.find_element(By.ID, "uri").send_keys(server.url("demo.mp4", credentials="viewer:p4ssword"))
            browser.find_element(By.ID, "uri").submit()
            wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "img.tried"))
            assert browser.execute_script("return document.querySelector('img.tried').naturalWidth") == 640
            assert "p4ssword" not in browser.page_source
            browser.find_element(By.ID, "name").clear()
            browser.find_element(By.ID, "name").send_keys("Entrance")
            browser.find_element(By.ID, "name").submit()
            wait_until(lambda: "The settings are saved." in browser.page_source)
            browser.get(program.base)
            wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, ".banner .alert"), 60)
            assert time.monotonic() - start_s < 60
            assert "Entrance" in browser.find_element(By.CSS_SELECTOR, ".banner").text
            wait_until(lambda: live_image(browser))
            browser.get("about:blank")
        finally:
            program.stop()
    written = (tmp_path / "settings.toml").read_text()
    assert written.startswith(text)
    assert 'name = "Entrance"' in written


def test_a_found_camera_a_channel_and_a_sign_in_code_are_set_up(tmp_path: Path, browser: Any) -> None:
    clip = write_clip(tmp_path / "a.mp4", [striped_image(i, 320, 240) for i in range(50)])

    def press(name: str) -> None:
        browser.find_element(By.XPATH, f"//button[starts-with(normalize-space(), '{name}')]").click()

    def check(scheme: str) -> None:
        for width in (1440, 360):
            resize(browser, width, 900, color_scheme=scheme)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, browser.current_url
        assert not AXE.is_file() or accessibility_errors(browser) == [], browser.current_url

    with RtspServer(tmp_path) as server, settings_of(tmp_path / "a.toml", make_source=make_live_or_real) as page:
        base, site = str(page.client.base_url).rstrip("/"), page.session.web.site
        main_uri = f"rtsp://127.0.0.1:{server.port}/main"
        with OnvifCamera(2, "s3cret", uris=[main_uri, server.url(clip.name)]) as device:
            site.setup.find_devices = partial(find_devices, 0.2, device.discovery)
            browser.get(f"{base}/setup")
            press("Search")
            browser.find_element(By.NAME, "username").send_keys("admin")
            browser.find_element(By.NAME, "password").send_keys("s3cret")
            press("Show its streams")
            check("dark")
            browser.find_elements(By.CSS_SELECTOR, "td button")[1].click()
        wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "img.tried"))
        check("light")
        name = browser.find_element(By.ID, "name")
        name.clear()
        name.send_keys("Hall")
        press("Add the camera")
        wait_until(lambda: "The settings are saved." in browser.page_source)
        assert load_settings(page.path).camera[2].main_uri == main_uri
        browser.get(f"{base}/setup/channels")
        browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        browser.find_element(By.ID, "sound-name").submit()
        wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "td a.button"))
        browser.find_element(By.CSS_SELECTOR, "td a.button").click()
        check("dark")
        browser.find_element(By.ID, "cameras").send_keys("Hall")
        browser.find_element(By.ID, "event.resolved").click()
        press("Save")
        wait_until(lambda: EventKind.RESOLVED in load_settings(page.path).alerts.channels[0].events)
        (sound,) = load_settings(page.path).alerts.channels
        assert sound.cameras == ("Hall",)
        wait_until(lambda: "The settings are saved." in browser.page_source)
        press("Send a test alert")
        wait_until(
            lambda: browser.find_element(By.CSS_SELECTOR, "[data-results]").text.startswith(
                ("sound: ", "Failed: sound: ")
            )
        )

        site.people.add("boss", Role.ADMIN, None, Passwords().hash("a long password"))
        browser.get(f"{base}/login")
        browser.find_element(By.ID, "name").send_keys("boss")
        browser.find_element(By.ID, "password").send_keys("a long password", "\n")
        wait_until(lambda: browser.current_url == f"{base}/")
        browser.get(f"{base}/account")
        check("light")
        picture = cv2.imdecode(
            np.frombuffer(browser.find_element(By.CSS_SELECTOR, ".qr").screenshot_as_png, np.uint8), cv2.IMREAD_COLOR
        )
        link = browser.find_element(By.LINK_TEXT, "Open in the app").get_attribute("href")
        assert cv2.QRCodeDetector().detectAndDecode(picture)[0] == link
        browser.get("about:blank")
