"""Sign-in, users and layout of the pages in a headless Chromium."""

import gettext
import time
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import pytest
from fakes_browser import (
    DESKTOP,
    PAGES,
    PHONE,
    By,
    accessibility_errors,
    fetch,
    needs_axe,
    needs_chromium,
    overflow_px,
    resize,
    wait_until,
)
from fakes_people import PASSWORD, add_users
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving

from app.alerts.event_store import EventStore
from app.alerts.store_types import WriteBatch
from app.capture.capture import SourceState
from app.core.camera_hours import CameraHour, hour_of
from app.core.translation import languages
from app.core.types import Event, EventKind

pytestmark = needs_chromium


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sign_in_by_keyboard_on_a_phone(locked: Running, browser: Any, scheme: str) -> None:
    resize(browser, *PHONE, color_scheme=scheme)
    browser.get(locked.base)
    assert browser.current_url == f"{locked.base}/login"
    assert accessibility_errors(browser) == []
    browser.switch_to.active_element.send_keys(TOKEN, "\n")
    wait_until(lambda: browser.current_url == f"{locked.base}/")
    tops = [
        browser.find_element(By.CSS_SELECTOR, f".top {part}").rect["y"] for part in (".brand", "nav", "form button")
    ]
    assert abs(tops[0] - tops[2]) < 20 < tops[1] - tops[0], "name and sign-out button in one line, navigation below"
    assert accessibility_errors(browser) == []


@needs_axe
def test_the_pages_of_the_users(tmp_path: Path, browser: Any) -> None:
    """The first user adds another one, without a script."""
    resize(browser, *PHONE)
    with serving(tmp_path, users=True, host="127.0.0.1") as running:
        link = running.server.welcome.rpartition(" ")[2]
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get(link)
        browser.find_element(By.ID, "name").send_keys("boss")
        browser.find_element(By.ID, "password").send_keys("a long password", "\n")
        browser.get(f"{running.base}/users")
        browser.find_element(By.ID, "name").send_keys("anna")
        browser.find_element(By.ID, "password").send_keys("another password", "\n")
        wait_until(lambda: len(running.server.site.people.accounts()) == 2)
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        shapes = [(360, "light"), (360, "dark"), (768, "dark"), (1440, "light")]
        for page, (width, scheme) in product(("/users", "/account", "/audit", "/login"), shapes):
            if page == "/login":
                browser.delete_all_cookies()
            resize(browser, width, 900, color_scheme=scheme)
            browser.get(running.base + page)
            browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
            assert accessibility_errors(browser) == [], page
            assert overflow_px(browser) <= 0, page
        browser.get("about:blank")


class FromRightToLeft(gettext.NullTranslations):
    def pgettext(self, context: str, message: str) -> str:
        return {"ltr": "rtl"}.get(message, message)


def test_no_language_makes_a_page_wider_than_the_screen(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(languages(), "he", FromRightToLeft())
    monitor = FakeMonitor("door", "a yard with a rather long name at the back of the house")
    monitor.state(SourceState.RECONNECTING, "no route", 1)
    with serving(tmp_path, monitor) as running:
        running.add_event(make_event(1))
        narrow = (*PAGES, "/setup/zones", "/users", "/audit", "/account")
        for width, language, paths in (
            (360, "de", narrow),
            (360, "he", narrow),
            (1440, "he", ("/", "/review", "/trends")),
        ):
            resize(browser, width, 900)
            for path in paths:
                browser.get(f"{running.base}{path}?language={language}")
                assert browser.execute_script("return document.documentElement.lang") == language
                assert overflow_px(browser) <= 0, (path, language, width)
        logo = browser.find_element(By.CSS_SELECTOR, ".brand img")
        assert logo.rect["x"] > 720, "the pages are mirrored"
        assert browser.execute_script("return getComputedStyle(document.querySelector('.chart')).direction") == "ltr"


def test_long_words_are_broken(tmp_path: Path, browser: Any) -> None:
    name = "the entrance of the northern building beside the stand for bicycles"
    with serving(tmp_path, FakeMonitor(name, "yard")) as running:
        hour_s = hour_of(time.time())
        hours = tuple(CameraHour(each, hour_s, masked=9, bare=99, watched_s=9.0) for each in (name, "yard"))
        with EventStore(running.settings.alerts.store) as store:
            store.write(WriteBatch(hours=hours), time.time())
        fetch(f"{running.base}/events?camera={40 * '%E5%85%A5'}")  # the audit log records the query
        resize(browser, 360, 740)
        browser.get(f"{running.base}/audit")
        assert overflow_px(browser) <= 0
        resize(browser, *DESKTOP)
        browser.get(f"{running.base}/trends")
        hidden_px = (
            "return [...document.querySelectorAll('.scroll')].map((each) => each.scrollWidth - each.clientWidth)"
        )
        assert max(browser.execute_script(hidden_px)) <= 0, "no column is out of sight"
        browser.get("about:blank")


def test_sign_in_through_a_provider_of_another_site(tmp_path: Path, browser: Any) -> None:
    """The browser sends the strict session cookie although it comes from another site."""
    pytest.importorskip("joserfc", reason="needs joserfc: pip install '.[oidc]'")
    from fakes_oidc import CLIENT, SECRET, running_provider

    (tmp_path / "secret").write_text(SECRET)
    with running_provider() as provider:
        oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret_file": tmp_path / "secret"}
        with serving(tmp_path, oidc=oidc, roles={"guards": "operator"}) as running:
            browser.get(running.base)
            browser.find_element(By.LINK_TEXT, "Sign in with your organisation").click()
            wait_until(lambda: browser.current_url == f"{running.base}/")
            browser.get(f"{running.base}/account")
            assert "eva" in browser.page_source
            browser.get("about:blank")


def test_an_event_without_a_snapshot_is_aligned_on_a_phone(running: Running, browser: Any) -> None:
    running.add_event(make_event(1))
    running.add_event(make_event(2, EventKind.CAMERA_OFFLINE, track_id=0, reason="no answer " * 4))
    resize(browser, *PHONE)
    browser.get(f"{running.base}/events")
    left = {
        browser.find_element(By.CSS_SELECTOR, f"tbody tr [data-name={name}]").rect["x"]
        for name in ("Kind", "Time", "Camera", "Acknowledged")
    }
    assert len(left) == 1
    heights = [row.rect["height"] for row in browser.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert max(heights) < 0.35 * PHONE[1], "three events fit on a screen"


def test_special_characters_in_a_camera_name_do_not_break_urls(tmp_path: Path, browser: Any) -> None:
    name = "a/../b #1?%41"
    monitor = FakeMonitor(name)
    jpeg = cv2.imencode(".jpg", monitor.image(1))[1].tobytes()
    with serving(tmp_path, monitor, {"snapshots": "blur_all"}) as running:
        in_banner, in_table = (
            running.add_event(make_event(1, camera=name), jpeg),
            running.add_event(make_event(2, camera=name)),
        )

        def is_acknowledged(event: Event) -> bool:
            return bool(fetch(f"{running.base}/api/v1/events/{quote(event.id, safe='')}").json()["acknowledged_s"])

        browser.get(running.base)
        monitor.change(alerts=(in_banner,))  # shown by the script, not rendered with the page
        wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, "[data-alert] button"))[0].click()
        wait_until(lambda: is_acknowledged(in_banner))
        browser.get(f"{running.base}/events")
        thumb = browser.find_element(By.CSS_SELECTOR, "img.thumb")
        wait_until(lambda: browser.execute_script("return arguments[0].naturalWidth", thumb) > 100)
        browser.find_element(By.CSS_SELECTOR, "td form button").click()
        wait_until(lambda: is_acknowledged(in_table))
        browser.get("about:blank")  # closes the event stream


def test_the_head_and_the_setup_fit_every_screen(tmp_path: Path, browser: Any) -> None:
    """An admin has the most pages, and channels the longest words."""
    long = "channel-of-" + 49 * "n"
    channels = [{"kind": "webhook", "name": long, "url": "http://10.0.0.8/"}]
    with serving(tmp_path, alerts={"channels": channels}) as running:
        add_users(running.server.site.people)
        browser.get(f"{running.base}/login?language=de")
        browser.find_element(By.ID, "name").send_keys("boss")
        browser.find_element(By.ID, "password").send_keys(PASSWORD, "\n")
        wait_until(lambda: browser.current_url == f"{running.base}/")
        for width, path in product((340, 500, 740, 820, 1075, 1200), ("/setup/channels", "/health")):
            resize(browser, width, 900)
            browser.get(running.base + path)
            browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
            assert overflow_px(browser) <= 0, (path, width)
        browser.get("about:blank")  # closes the event stream


@pytest.mark.parametrize("shape", [(360, 800), (768, 1024), (1075, 768), DESKTOP], ids=str)
def test_the_longest_camera_name_does_not_overflow(tmp_path: Path, browser: Any, shape: tuple[int, int]) -> None:
    name = "camera-of-" + 70 * "n"
    monitor = FakeMonitor(name, "door")
    monitor.change(alerts=(make_event(1, camera=name),))
    resize(browser, *shape)
    with serving(tmp_path, monitor) as running:
        running.add_event(make_event(1, camera=name))
        for page in PAGES:
            browser.get(running.base + page)
            widths = browser.execute_script(
                "const parts = document.querySelectorAll('.banner, .card:not(:has(.scroll)), .camera');"
                "return [document.documentElement, ...parts]"
                ".map((part) => [part.className, part.scrollWidth, part.clientWidth])"
            )
            assert [part for part in widths if part[1] > part[2]] == [], page
        browser.get("about:blank")  # closes the event stream
