"""A headless Chromium, and the program whose pages it shows. Without selenium the tests that import it are skipped."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[test]'")
By = pytest.importorskip("selenium.webdriver.common.by").By
ROOT = Path(__file__).parents[1]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules/axe-core/axe.min.js"))
PAGES = ("/", "/wall", "/events", "/review", "/trends", "/health", "/setup")
PHONE, DESKTOP = (390, 844), (1360, 900)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver: apt install chromium-driver"
)
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


@contextmanager
def open_browser(folder: Path) -> Iterator[Any]:
    """A Chromium; asserts that its console has no errors."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1360,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    driver.quit()
    assert errors == [], f"errors in the browser's console: {errors}"


def resize(browser: Any, width: int, height: int, **media: str) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.width_px = width


def overflow_px(browser: Any) -> int:
    """By how much the page is wider than the screen of ``resize``. A phone's ``innerWidth`` grows with the page."""
    return int(browser.execute_script("return document.documentElement.scrollWidth") - browser.width_px)


def live_image(browser: Any) -> str:
    """The first live image, as a data URL."""
    return str(
        browser.execute_script(
            "const i = document.querySelector('[data-picture]'); if (!i.naturalWidth) return '';"
            "const c = document.createElement('canvas'); c.width = 64; c.height = 48;"
            "c.getContext('2d').drawImage(i, 0, 0, 64, 48); return c.toDataURL();"
        )
    )


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
