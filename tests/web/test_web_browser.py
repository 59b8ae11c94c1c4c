"""End-to-end: ``maskwatch watch --web`` on the demo video, in a headless Chromium."""

import base64
import gettext
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import httpx
import numpy as np
import pytest
from fakes_onvif import OnvifCamera
from fakes_proxy import framing_page, reverse_proxy
from fakes_review import FACE, add_face, write_review_clip
from fakes_setup import make_live_or_real
from fakes_setup import running as settings_of
from fakes_video import RtspServer, striped_image, write_clip
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving

from app.alerts.store_types import CameraHour, hour_of
from app.capture.capture import SourceState
from app.capture.onvif import find_devices
from app.capture.recorder import VideoWriter
from app.core.translation import languages
from app.core.types import Event, EventKind, Label
from app.fleet.hub_store import HubStore
from app.fleet.messages import HourTotals, NodeHealth
from app.settings.load import load_settings
from app.web.passwords import Passwords
from app.web.people import Role

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[test]'")
By = pytest.importorskip("selenium.webdriver.common.by").By

ROOT = Path(__file__).parents[2]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules/axe-core/axe.min.js"))
PAGES = ("/", "/wall", "/events", "/review", "/trends", "/health", "/setup")
PHONE, DESKTOP = (390, 844), (1360, 900)

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver: apt install chromium-driver"
    ),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
    "--disable-dev-shm-usage",  # /dev/shm of a container may be too small
)  # fmt: skip


def wait_until(condition: Callable[[], Any], limit_s: float = 90) -> Any:
    end_s = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "the condition did not become true in time"
        time.sleep(0.1)
    return found


def fetch(url: str) -> httpx.Response:
    return httpx.get(url, timeout=60)


class Program:
    """A running ``maskwatch watch --web`` and its log."""

    def __init__(self, folder: Path, text: str = "") -> None:
        """``text``: the settings file; the demo is watched unless it is given."""
        self.received = folder / "received"
        write = "import sys,pathlib; pathlib.Path(sys.argv[1]).open('a').write(sys.stdin.read())"
        settings = folder / "settings.toml"
        settings.write_text(
            f"[alerts]\nstore = {json.dumps(str(folder / 'events.db'))}\nsnapshots = 'blur_all'\nstore_files = true\n"
            "[[alerts.channels]]\nkind = 'command'\nname = 'desk'\n"
            f"argv = {json.dumps([sys.executable, '-c', write, str(self.received)])}\n"
        )
        argv = [sys.executable, "-m", "app", "watch", "--headless", "--config", str(settings), "--web", "127.0.0.1:0"]
        if text:
            settings.write_text(text)
        else:
            argv += ["--source", "demo", "--loop"]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.log: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self.base = wait_until(self._base)
        wait_until(lambda: self._answers("healthz" if text else "readyz"))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def _base(self) -> str:
        assert self.process.poll() is None, self.log
        found = re.search(r"http://127\.0\.0\.1:\d+", "".join(self.log))
        return found.group() if found else ""

    def _answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.log
        with suppress(httpx.TransportError):  # the address is printed before the server answers
            return fetch(f"{self.base}/{path}").status_code == 200
        return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join(60)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    running = Program(tmp_path_factory.mktemp("program"))
    yield running
    running.stop()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1360,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    driver.quit()
    assert errors == [], "the browser console has no errors"


class FromRightToLeft(gettext.NullTranslations):
    def pgettext(self, context: str, message: str) -> str:
        return {"ltr": "rtl"}.get(message, message)


def test_no_language_makes_a_page_wider_than_the_screen(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(languages(), "he", FromRightToLeft())
    monitor = FakeMonitor("door", "yard")
    monitor.state(SourceState.RECONNECTING, "no route", 1)
    with serving(tmp_path, monitor) as running:
        running.add_event(make_event(1))
        for width, language, paths in (360, "de", PAGES), (360, "he", PAGES), (1440, "he", ("/", "/review", "/trends")):
            resize(browser, width, 900)
            for path in paths:
                browser.get(f"{running.base}{path}?language={language}")
                assert browser.execute_script("return document.documentElement.lang") == language
                wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, (path, language, width)
        logo = browser.find_element(By.CSS_SELECTOR, ".brand img")
        assert logo.rect["x"] > 720, "the pages are mirrored"
        assert browser.execute_script("return getComputedStyle(document.querySelector('.chart')).direction") == "ltr"


def resize(browser: Any, width: int, height: int, **media: str) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


DOOR: dict[str, Any] = {
    "name": "door", "rotate": 90, "flip": "horizontal",
    "zone": [{"name": "ward", "polygon": [[0.1, 0.1], [0.4, 0.1], [0.4, 0.5], [0.1, 0.5]], "dwell_s": 5}],
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
        corner("ward Corner 1").send_keys(Keys.ARROW_RIGHT, Keys.SHIFT + Keys.ARROW_DOWN)
        corner("ward Corner 3").send_keys(Keys.DELETE)
        zone = {"name": "ward", "polygon": [[0.11, 0.15], [0.4, 0.1], [0.1, 0.5]], "dwell_s": 5}
        assert saved() == {"camera.door.zone": [zone]}
        corner("ward Corner 1").send_keys(Keys.INSERT)
        assert len(saved()["camera.door.zone"][0]["polygon"]) == 4
        browser.find_element(By.CSS_SELECTOR, "[data-new=line]").click()
        browser.switch_to.active_element.send_keys("main")
        browser.find_element(By.CSS_SELECTOR, "[data-swap]").click()
        browser.find_element(By.CSS_SELECTOR, "[name=limit]").send_keys("7")
        line = {"name": "main", "points": [[0.5, 0.15], [0.5, 0.85]]}
        assert saved() == {"camera.door.line": [line], "camera.door.occupancy.limit": 7}
        hidden = corner("Hidden part Corner 1")
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


def live_image(browser: Any) -> str:
    """The first live image, as a data URL."""
    return str(
        browser.execute_script(
            "const i = document.querySelector('[data-picture]'); if (!i.naturalWidth) return '';"
            "const c = document.createElement('canvas'); c.width = 64; c.height = 48;"
            "c.getContext('2d').drawImage(i, 0, 0, 64, 48); return c.toDataURL();"
        )
    )


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


def accessibility_errors(browser: Any) -> list[tuple[str, list[str]]]:
    """Violations that axe-core finds on the open page, moderate or worse."""
    browser.execute_script(AXE.read_text())
    found = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        ".then(r => done(r.violations), e => done([{id: String(e), impact: 'critical', nodes: []}]));"
    )
    return [
        (each["id"], [node["html"][:160] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical", "moderate")
    ]


needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm install --no-save axe-core@4")


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shape", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_no_accessibility_errors(program: Program, browser: Any, shape: tuple[int, int], scheme: str) -> None:
    wait_until(lambda: fetch(f"{program.base}/api/v1/events").json()["events"])
    resize(browser, *shape, color_scheme=scheme)
    for page in PAGES:
        browser.get(program.base + page)
        assert accessibility_errors(browser) == [], page


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
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), page
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


@pytest.mark.parametrize("shape", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_no_page_scrolls_horizontally(program: Program, browser: Any, shape: tuple[int, int], tmp_path: Path) -> None:
    resize(browser, *shape)
    for page in PAGES:
        browser.get(program.base + page)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), page
        shot = base64.b64decode(browser.get_screenshot_as_base64())
        (tmp_path / f"{page.strip('/').replace('/', '-') or 'live'}.png").write_bytes(shot)  # for inspection by hand
        assert len(shot) > 10_000


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
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let left = 0, right = 0;"
        "for (let i = 3; i < d.length; i += 4) if (d[i]) ((i >> 2) % c.width < c.width / 2) ? left++ : right++;"
        "return c.width && left > 50 && right < left / 20;"
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
        wait_until(lambda: found() == "500 of 500 cameras, 50 sites")
        assert shown()[:2] == ["shop-0 10 of 10 live 40 30 0 10 75 % 10 min", "door 0 live 4 3 0 1 75 % 1 min"]
        assert len(shown()) < 60  # only what is in view
        browser.execute_script("document.querySelector('[data-scroll]').scrollTop = 1e9")
        wait_until(lambda: shown()[-1].startswith("door 9 live"))
        search = browser.find_element(By.CSS_SELECTOR, "#q")
        search.send_keys("SHOP-7 offline")
        wait_until(lambda: found() == "10 of 500 cameras, 1 site")
        assert shown()[1].startswith("door 0 node offline")
        browser.find_element(By.CSS_SELECTOR, "[data-site=shop-7]").click()
        wait_until(lambda: len(shown()) == 1)
        browser.execute_script("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", search)
        browser.find_element(By.CSS_SELECTOR, "[data-close-all]").click()
        wait_until(lambda: all("live" in row and row.startswith("shop-") for row in shown()))
        for size in (PHONE, DESKTOP):
            resize(browser, *size)
            width = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert browser.execute_script(width)


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
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    if AXE.is_file():
        assert accessibility_errors(browser) == []
    browser.get("about:blank")


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
        assert "The settings are saved." in browser.page_source
        assert load_settings(page.path).camera[2].main_uri == main_uri
        browser.get(f"{base}/setup/channels")
        browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        browser.find_element(By.ID, "sound-name").submit()
        browser.find_element(By.CSS_SELECTOR, "td a.button").click()
        check("dark")
        browser.find_element(By.ID, "cameras").send_keys("Hall")
        browser.find_element(By.ID, "event.resolved").click()
        press("Save")
        (sound,) = load_settings(page.path).alerts.channels
        assert (sound.cameras, EventKind.RESOLVED in sound.events) == (("Hall",), True)
        press("Send a test alert")
        wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-results]").text.startswith("sound: "))

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
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
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
        for number in range(3):  # the service worker of the page is one of the first; others do not exist
            push = {"origin": running.base, "registrationId": str(number), "data": message.decode()}
            browser.execute_cdp_cmd("ServiceWorker.deliverPushMessage", push)
        shown = (
            "return navigator.serviceWorker.ready.then(r => r.getNotifications())"
            ".then(all => all.map(n => [n.title, n.body.replace(/^\\S+( [AP]M)? /, ''), n.tag, n.data, n.image]))"
        )
        assert wait_until(lambda: browser.execute_script(shown)) == [
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
