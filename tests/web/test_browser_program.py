"""``maskwatch watch --web`` on the demo video, in a headless Chromium."""

import base64
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_browser import (
    DESKTOP,
    PAGES,
    PHONE,
    By,
    Program,
    accessibility_errors,
    fetch,
    live_image,
    needs_axe,
    needs_chromium,
    overflow_px,
    resize,
    wait_until,
)

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    running = Program(tmp_path_factory.mktemp("program"))
    yield running
    running.stop()


def test_the_live_image_changes(program: Program, browser: Any) -> None:
    browser.get(program.base)
    first = wait_until(lambda: live_image(browser))
    second = wait_until(lambda: (now := live_image(browser)) != first and now)
    wait_until(lambda: live_image(browser) not in (first, second))
    browser.find_element(By.CSS_SELECTOR, "[data-pause]").click()
    wait_until(lambda: (now := live_image(browser)) and _is_paused(browser, now))
    browser.find_element(By.CSS_SELECTOR, "[data-pause]").click()
    paused = live_image(browser)
    wait_until(lambda: live_image(browser) not in ("", paused))


def _is_paused(browser: Any, now: str) -> bool:
    """Whether the page still shows ``now`` after some new frames."""

    def frames() -> int:
        return int(fetch(f"{browser.current_url}api/v1/cameras/1").json()["frames"])

    before = frames()
    wait_until(lambda: frames() > before + 8)
    return live_image(browser) == now


def test_a_new_event_appears_without_reload(program: Program, browser: Any) -> None:
    browser.get(program.base)
    browser.execute_script("window.same = true")
    wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-link-text]").text == "Connected")

    def newest() -> str:
        return str(browser.execute_script("return document.querySelector('[data-recent] li')?.dataset.event ?? ''"))

    before = newest()
    after = wait_until(lambda: (now := newest()) != before and now)
    assert browser.execute_script("return window.same") is True
    assert fetch(f"{program.base}/api/v1/events/{after}").json()["camera"] == "demo"
    text = browser.find_element(By.CSS_SELECTOR, "[data-recent] li").text
    assert "demo" in text
    assert re.search(r"\d\d:\d\d:\d\d", text)


def test_an_open_alert_can_be_acknowledged(program: Program, browser: Any) -> None:
    browser.get(program.base)
    browser.execute_script("window.same = true")
    found = wait_until(
        lambda: browser.execute_script(
            "const b = document.querySelector('[data-alert]:not(.is-known) button'); if (!b) return '';"
            "b.click(); return b.closest('[data-alert]').dataset.alert;"
        )
    )
    wait_until(lambda: fetch(f"{program.base}/api/v1/events/{found}").json().get("acknowledged_s"))
    wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-said]").text == "Acknowledged.")
    assert browser.execute_script("return window.same") is True


def test_a_camera_can_be_muted_by_keyboard(program: Program, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(program.base)
    browser.find_element(By.CSS_SELECTOR, "[data-mute] select").send_keys("1 hour", Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-unmute]").is_displayed())

    def until_s() -> float | None:
        found = fetch(f"{program.base}/api/v1/cameras/1").json()["muted_until_s"]
        return None if found is None else float(found)

    assert (until_s() or 0) - time.time() > 3000
    browser.find_element(By.CSS_SELECTOR, "[data-unmute] button").click()
    wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-mute]").is_displayed())
    assert until_s() is None


def test_the_health_page_sends_a_test_alert(program: Program, browser: Any) -> None:
    browser.get(f"{program.base}/health")
    browser.find_element(By.CSS_SELECTOR, "[data-test] button").click()
    wait_until(lambda: "desk: sent" in browser.find_element(By.CSS_SELECTOR, "[data-results]").text)
    assert browser.find_element(By.CSS_SELECTOR, "[data-said]").text == "Every channel has sent the test alert."
    assert "a test of the channel" in program.received.read_text()


def test_events_have_filters_snapshots_and_a_table(program: Program, browser: Any) -> None:
    wait_until(lambda: fetch(f"{program.base}/api/v1/events?kind=no_mask").json()["events"])
    browser.get(f"{program.base}/events?kind=no_mask")
    rows = browser.find_elements(By.CSS_SELECTOR, "table.events tbody tr")
    assert rows
    assert all("No mask" in row.text for row in rows)
    thumb = rows[0].find_element(By.CSS_SELECTOR, "img.thumb")
    wait_until(lambda: browser.execute_script("return arguments[0].naturalWidth", thumb) > 100)
    link = browser.find_element(By.CSS_SELECTOR, "a[download]").get_attribute("href")
    table = fetch(link).text.splitlines()
    assert len(table) >= 1 + len(rows)
    assert all(",no_mask," in line for line in table[1:])


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shape", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_accessibility_errors(program: Program, browser: Any, shape: tuple[int, int], scheme: str) -> None:
    wait_until(lambda: fetch(f"{program.base}/api/v1/events").json()["events"])
    resize(browser, *shape, color_scheme=scheme)
    for page in PAGES:
        browser.get(program.base + page)
        assert accessibility_errors(browser) == [], page


@pytest.mark.parametrize("shape", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_no_page_scrolls_horizontally(program: Program, browser: Any, shape: tuple[int, int], tmp_path: Path) -> None:
    resize(browser, *shape)
    for page in PAGES:
        browser.get(program.base + page)
        assert overflow_px(browser) <= 0, page
        shot = base64.b64decode(browser.get_screenshot_as_base64())
        (tmp_path / f"{page.strip('/').replace('/', '-') or 'live'}.png").write_bytes(shot)  # for inspection by hand
        assert len(shot) > 10_000


def test_reduced_motion_is_respected(program: Program, browser: Any) -> None:
    resize(browser, *DESKTOP, reduced_motion="reduce")
    browser.get(program.base)
    image = browser.find_element(By.CSS_SELECTOR, "[data-picture]")
    wait_until(lambda: "picture.jpg" in image.get_attribute("src"))
    wait_until(lambda: live_image(browser))


def test_the_live_page_works_without_javascript(program: Program, browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(program.base)
    assert browser.find_element(By.CSS_SELECTOR, "[data-picture]").get_attribute("src").endswith("stream.mjpeg")
    browser.find_element(By.CSS_SELECTOR, "[data-mute] button").click()
    wait_until(lambda: browser.current_url.endswith("/?said=muted"))
    assert "is muted" in browser.find_element(By.CSS_SELECTOR, "[data-said]").text
    browser.find_element(By.CSS_SELECTOR, "[data-unmute] button").click()
    wait_until(lambda: browser.current_url.endswith("/?said=unmuted"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_ends_the_program_with_open_pages(tmp_path: Path, browser: Any) -> None:
    program = Program(tmp_path)
    try:
        browser.get(program.base)
        wait_until(lambda: live_image(browser))
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(60) == 0
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-link-text]").text == "No connection")
    finally:
        program.stop()
        browser.get_log("browser")  # discards the expected errors of the lost connection
    assert "Traceback" not in "".join(program.log)
    assert "did not stop" not in "".join(program.log)
