"""Many cameras, the wall, lost connections, frames and notifications in a headless Chromium."""

import json
import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import cv2
import pytest
from fakes_browser import (
    AXE,
    DESKTOP,
    By,
    accessibility_errors,
    needs_chromium,
    overflow_px,
    resize,
    wait_until,
    webdriver,
)
from fakes_proxy import framing_page, reverse_proxy
from fakes_web import FakeMonitor, make_event, serving

from app.capture.capture import SourceState

pytestmark = needs_chromium


def test_all_times_are_those_of_the_machine_that_watches(tmp_path: Path, browser: Any) -> None:
    """The tables have them too, and so have the people at the cameras. Midnight is 00, not 24."""
    midnight_s = datetime.combine(date.today(), datetime.min.time()).timestamp()
    browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Pacific/Auckland"})
    with serving(tmp_path) as running:
        event, late = make_event(1), make_event(2, wall_s=midnight_s + 301)
        browser.get(running.base)
        running.monitor.change(alerts=(event, late))
        wait_until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "[data-alert]")) == 2)
        shown = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "[data-alert] time")]
        assert "00:05" in shown[0]
        assert shown[1] == f"{datetime.fromtimestamp(event.wall_s):%H:%M:%S}"
        browser.get("about:blank")


def test_nine_cameras_are_live_over_one_connection(tmp_path: Path, browser: Any) -> None:
    """Regression: four cameras were a slide show of single images."""
    monitor = FakeMonitor(*(f"camera {number}" for number in range(1, 10)))
    resize(browser, *DESKTOP)
    with serving(tmp_path, monitor) as running:
        browser.get(running.base)
        images = browser.find_elements(By.CSS_SELECTOR, "[data-picture]")
        wait_until(lambda: all(image.get_attribute("src").startswith("blob:") for image in images))
        before = [image.get_attribute("src") for image in images]
        for index in range(9):
            monitor.step(1, index)
        wait_until(lambda: all(image.get_attribute("src") != old for image, old in zip(images, before, strict=True)))
        wait_until(lambda: all(image.get_property("naturalWidth") == 160 for image in images))
        browser.execute_script(
            """
            window.setHidden = (hidden) => {
                Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                document.dispatchEvent(new Event("visibilitychange"));
            };
            new MutationObserver((_, observer) => { observer.disconnect(); setHidden(true); })
                .observe(arguments[0], {attributeFilter: ["src"]});
        """,
            images[0],
        )
        monitor.step(1, 0)
        wait_until(lambda: not any(image.get_attribute("src") for image in images))
        browser.execute_script("setHidden(false)")
        wait_until(lambda: all((image.get_attribute("src") or "").startswith("blob:") for image in images), 20)
        browser.find_element(By.CSS_SELECTOR, "[data-pause]").click()
        wait_until(lambda: all("picture.jpg" in image.get_attribute("src") for image in images))
        wait_until(lambda: sum(viewers for viewers, _ in running.server.site.streams.stats().values()) == 0)
        browser.get("about:blank")  # closes the event stream


def test_what_is_said_about_a_picture_covers_nothing_else(tmp_path: Path, browser: Any) -> None:
    monitor = FakeMonitor("door")
    monitor.change(frame=None)
    monitor.state(SourceState.RECONNECTING, "no route to host")
    with serving(tmp_path, monitor) as running:
        for page in ("/", "/wall"):
            browser.get(f"{running.base}{page}")
            browser.execute_script("document.body.classList.add('is-paused')")
            picture, *parts = (
                browser.find_element(By.CSS_SELECTOR, each).rect for each in (".picture", "[data-badge]", ".paused")
            )
            offline, paused = parts
            assert offline["x"] > picture["x"] + picture["width"] / 2, "on the left the picture has the camera's name"
            assert offline["x"] + offline["width"] < picture["x"] + picture["width"]
            assert paused["x"] + paused["width"] < offline["x"]
        browser.get("about:blank")


def shown_tiles(browser: Any) -> list[str]:
    script = "return [...document.querySelectorAll('.tile:not([hidden])')].map(tile => tile.dataset.camera)"
    return list(browser.execute_script(script))


def test_the_wall_turns_its_pages_and_shows_one_camera_alone(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    monitor = FakeMonitor(*(f"camera {number}" for number in range(1, 7)))
    with serving(tmp_path, monitor) as running:
        browser.get(f"{running.base}/wall?per=4&every=3600")
        browser.execute_script("window.same = true")
        pictures = "return [...document.querySelectorAll('.tile img')].map(image => image.src.startsWith('blob:'))"
        wait_until(lambda: browser.execute_script(pictures) == [True] * 4 + [False] * 2)
        webdriver.ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
        assert shown_tiles(browser) == ["5", "6"]
        wait_until(lambda: browser.execute_script(pictures) == [False] * 4 + [True] * 2)
        browser.find_element(By.CSS_SELECTOR, "[data-camera='6']").send_keys(Keys.ENTER)
        assert shown_tiles(browser) == ["6"]
        assert "page=2" in browser.current_url
        assert "camera=6" in browser.current_url
        wait_until(lambda: sum(viewers for viewers, _ in running.server.site.streams.stats().values()) == 1)
        assert browser.execute_script("return window.same") is True, "a page that is loaded leaves full screen"
        browser.get(browser.current_url)  # as a bookmark
        assert shown_tiles(browser) == ["6"]
        browser.find_element(By.CSS_SELECTOR, "[data-camera='6']").click()
        assert shown_tiles(browser) == ["5", "6"]
        assert "camera=" not in browser.current_url
        monitor.state(SourceState.RECONNECTING, "no route to host", 0)
        banner = browser.find_element(By.CSS_SELECTOR, "[data-offline-list]")
        wait_until(lambda: "no route to host" in banner.text)
        assert re.match(r"Cameras offline: 1\ncamera 1 since \d\d:\d\d:\d\d ", banner.text)
        monitor.state(SourceState.LIVE, "", 0)
        wait_until(lambda: not banner.is_displayed())
        for scheme, shape in (("light", (360, 800)), ("dark", DESKTOP)):
            resize(browser, *shape, color_scheme=scheme)
            assert overflow_px(browser) <= 0
            if AXE.is_file():
                assert accessibility_errors(browser) == []
        browser.get("about:blank")


def test_a_page_shows_no_camera_under_the_name_of_a_removed_one(tmp_path: Path, browser: Any) -> None:
    monitor = FakeMonitor("door", "yard")
    with serving(tmp_path, monitor) as running:
        for page, shown in (("/", "article h2"), ("/wall", ".tile-name")):
            browser.get(f"{running.base}{page}")
            names = f"return [...document.querySelectorAll('{shown}')].map(each => each.textContent)"
            wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-link].is-on"), 10)
            assert browser.execute_script(names) == ["door", "yard"]
            view = monitor.views()[0]
            monitor.remove(0)
            wait_until(lambda names=names: browser.execute_script(names) == ["yard"], 10)
            monitor.add(view)
            wait_until(lambda names=names: browser.execute_script(names) == ["door", "yard"], 10)
        browser.get("about:blank")


def test_without_a_connection_no_picture_looks_live(tmp_path: Path, browser: Any) -> None:
    """An image that does not change any more is marked, and there is a page instead of the browser's own error."""
    with serving(tmp_path, FakeMonitor("door", "yard")) as running:
        events = f"{running.base}/events"
        browser.get(running.base)
        wait_until(lambda: browser.execute_script("return Boolean(navigator.serviceWorker.controller)"))
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-link-text]").text == "Connected")
        assert browser.execute_script("return document.querySelector('[data-lost]').hidden")
        assert browser.execute_cdp_cmd("Page.getInstallabilityErrors", {})["installabilityErrors"] == []
    wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-lost]").is_displayed())
    dark = "return getComputedStyle(document.querySelector('[data-picture]')).filter"
    assert "brightness" in browser.execute_script(dark)
    browser.get(events)
    assert browser.find_element(By.CSS_SELECTOR, "h1").text == "No connection"
    assert browser.execute_script("return caches.keys().then(keys => caches.open(keys[0])).then(c => c.keys())"
                                  ".then(found => found.map(each => new URL(each.url).pathname))") == [
        "/static/offline.html", "/static/style.css",
    ]  # fmt: skip
    browser.get_log("browser")  # discards the expected errors of the lost connection


def test_an_alert_is_shown_as_a_notification_with_its_picture(tmp_path: Path, browser: Any) -> None:
    pytest.importorskip("cryptography", reason="needs cryptography: pip install 'maskwatch[push]'")
    from fakes_push import Browser

    from app.alerts.hook import Alert, idempotency_key
    from app.alerts.hooks.push_hook import PushHook
    from app.alerts.push_store import PushStore
    from app.settings.alerts import PushChannel

    channel = {"kind": "push", "name": "phones", "contact": "mailto:a@b.example", "allow_private": True}
    alerts = {"channels": [{**channel, "snapshot": True}], "snapshots": "blur_all"}
    with serving(tmp_path, FakeMonitor("door"), alerts) as running:
        permission = {"origin": running.base, "permissions": ["notifications"]}
        browser.execute_cdp_cmd("Browser.grantPermissions", permission)
        browser.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument",
            {
                "source": f"""
            const made = {{endpoint: "http://127.0.0.1:9/device", toJSON: () => ({{endpoint: made.endpoint,
              keys: {json.dumps(Browser().keys)}}}), unsubscribe: async () => true}};
            PushManager.prototype.subscribe = async (options) => {{ window.asked = options; return made; }};
            PushManager.prototype.getSubscription = async () => window.asked ? made : null;"""
            },
        )
        browser.get(running.base)
        found = running.settings.alerts.channels[0]
        assert isinstance(found, PushChannel)
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-device]").is_displayed())
        browser.execute_script(
            "const {from, to, urgent} = document.querySelector('[data-device] form').elements;"
            "from.value = '22:00'; to.value = '06:00'; urgent.checked = true;"
        )
        browser.find_element(By.CSS_SELECTOR, "[data-device] [data-when=off]").click()
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-outcome=on]").is_displayed())
        assert browser.execute_script("return window.asked.userVisibleOnly") is True
        (device,) = PushStore(found.store).devices()
        assert (device.quiet, device.urgent, bool(device.timezone)) == (("22:00-06:00",), True, True)

        event = running.add_event(make_event(1), cv2.imencode(".jpg", FakeMonitor.image(1))[1].tobytes())
        message = PushHook(found).message(Alert(event, "phones", idempotency_key(event, "phones"), 1, b"jpeg"))
        browser.execute_cdp_cmd("ServiceWorker.enable", {})

        def shown() -> Any:
            for number in range(3):  # the service worker of the page is one of the first; others do not exist
                push = {"origin": running.base, "registrationId": str(number), "data": message.decode()}
                browser.execute_cdp_cmd("ServiceWorker.deliverPushMessage", push)  # lost before the worker has started
            return browser.execute_script(
                "return navigator.serviceWorker.ready.then(r => r.getNotifications())"
                ".then(all => all.map(n => [n.title, n.body.replace(/^\\S+( [AP]M)? /, ''), n.tag, n.data, n.image]))"
            )

        assert wait_until(shown) == [
            [
                "No mask",
                "No mask at door (person 3, 90% sure, for 2 s)",
                event.id,
                f"{running.base}/review?event={event.id}",
                f"{running.base}/api/v1/events/{event.id}/picture.jpg",
            ]
        ]
        browser.find_element(By.CSS_SELECTOR, "[data-device] [data-off]").click()
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-outcome=off]").is_displayed())
        assert PushStore(found.store).devices() == []
        browser.get("about:blank")


def test_the_page_is_live_in_a_frame_below_a_prefix(tmp_path: Path, browser: Any) -> None:
    """As a dashboard shows it: a page of another origin, and a proxy that removes the prefix."""
    with (
        serving(tmp_path, root_path="/masks", frame_ancestors=("http://127.0.0.1:*",)) as running,
        reverse_proxy(running.port, "/masks", True) as proxy,
        framing_page(f"http://{proxy}/masks/") as page,
    ):
        browser.get(f"http://{page}/")
        browser.switch_to.frame(0)
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-link-text]").text == "Connected")
        image = "return document.querySelector('[data-picture]').naturalWidth"
        wait_until(lambda: browser.execute_script(image) == 160)
        browser.find_element(By.CSS_SELECTOR, "[data-mute] button").click()
        wait_until(lambda: "muted" in browser.find_element(By.CSS_SELECTOR, "[data-said]").text.lower())
        assert running.mutes.until_s("door") is not None
        browser.get("about:blank")


def test_the_page_is_not_shown_in_a_frame_that_is_not_named(tmp_path: Path, browser: Any) -> None:
    with serving(tmp_path) as running, framing_page(f"{running.base}/") as page:
        browser.get(f"http://{page}/")
        browser.switch_to.frame(0)
        assert browser.find_elements(By.CSS_SELECTOR, "[data-link-text]") == []
        (error,) = browser.get_log("browser")
        assert "frame-ancestors 'none'" in error["message"]
        browser.get("about:blank")
