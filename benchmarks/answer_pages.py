"""Answers the review and the label page in a headless Chromium, as a person does who knows what the faces show.

Needs chromium, chromedriver and ``pip install selenium``.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode
from urllib.request import urlopen

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.core.types import Event, Label  # noqa: E402
from app.review.picture_folder import day_of  # noqa: E402
from app.web.assets import LABEL_NAMES  # noqa: E402
from app.web.pages import LABEL_CHOICES  # noqa: E402

LIMIT_S = 120.0
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


def answer(config: Path, events: Iterable[Event], truths: Mapping[str, Label]) -> dict[str, int]:
    """Gives verdicts on ``events`` and labels the other collected faces, all with the keys of the pages. ``truths``:
    what they show, by id; others are skipped. Returns how many were answered on each page."""
    with _web_view(config) as base, _chromium() as browser:
        judged = [each for each in events if each.id in truths]
        for event in judged:
            _judge(browser, base, event, truths[event.id])
        return {"verdicts on the review page": len(judged), "labels on the label page": _label(browser, base, truths)}


def _judge(browser: Any, base: str, event: Event, truth: Label) -> None:
    """One event on the page of its day."""
    browser.get(f"{base}/review?{urlencode({'day': day_of(event.wall_s), 'event': event.id})}")
    focused = "return document.activeElement.closest('[data-item]')?.dataset.item"
    _wait_until(lambda: browser.execute_script(focused) == event.id)
    if truth in (event.kind, Label.NOT_FACE):
        browser.switch_to.active_element.send_keys("1" if truth == event.kind else "2")
        marks = f"[data-item='{event.id}'] [data-marks]"
        _wait_until(lambda: browser.find_element(By.CSS_SELECTOR, marks).text in ("Right", "No face"))
        return
    browser.switch_to.active_element.send_keys("3")
    _wait_until(lambda: browser.switch_to.active_element.get_attribute("id") == "r-label")
    browser.switch_to.active_element.send_keys(LABEL_NAMES[truth], Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    _wait_until(lambda: browser.current_url.endswith("said=judged"))


def _label(browser: Any, base: str, truths: Mapping[str, Label]) -> int:
    """All faces that nobody has labelled, in the order of the page."""
    keys = {label: key for key, label, _ in LABEL_CHOICES}
    labelled, skipped = 0, set[str]()
    browser.get(f"{base}/label")
    while forms := browser.find_elements(By.CSS_SELECTOR, "[data-labelling]"):
        _wait_until(lambda: browser.find_element(By.CSS_SELECTOR, "[data-labelling] [data-keys]").is_displayed())
        face, before = unquote(forms[0].get_attribute("action").split("/")[-2]), browser.current_url
        if face in skipped:
            break
        if face in truths:
            labelled += 1
        else:
            skipped.add(face)
        webdriver.ActionChains(browser).send_keys(keys[truths[face]] if face in truths else "s").perform()
        _wait_until(lambda old=before: browser.current_url != old)
        _wait_until(lambda: browser.execute_script("return document.readyState") == "complete")
    return labelled


@contextmanager
def _web_view(config: Path) -> Iterator[str]:
    """The address of a running ``maskwatch watch --web`` on the demo."""
    argv = [sys.executable, "-m", "app", "watch", "--headless", "--source", "demo", "--loop"]
    argv += ["--config", str(config), "--web", "127.0.0.1:0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(argv, stderr=log, cwd=ROOT)

        def address() -> str:
            log.seek(0)
            base = next((line.split()[-1].rstrip("/") for line in log if line.startswith("web view: ")), "")
            with suppress(OSError):
                return base if base and urlopen(f"{base}/healthz").status == 200 else ""
            return ""

        try:
            yield _wait_until(address)
        finally:
            process.terminate()
            process.wait(LIMIT_S)


@contextmanager
def _chromium() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            yield browser
        finally:
            browser.quit()


def _wait_until(condition: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + LIMIT_S
    while not (found := condition()):
        if time.monotonic() > end_s:
            raise TimeoutError(f"a page did not answer within {LIMIT_S:g} s")
        time.sleep(0.02)
    return found
