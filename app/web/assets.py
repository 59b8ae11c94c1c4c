"""Templates, styles and scripts, read once from the package: no request opens a file."""

import time
from datetime import datetime
from functools import partial
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.responses import Response

from app.alerts.numbers import rate_text
from app.core.secrets import redact
from app.core.text import duration_text, offset_if_ambiguous, translated_reason
from app.core.translation import catalogue, date_text, decimal, direction, gettext, language, languages, name_of
from app.core.types import EventKind
from app.web.words import page_words, script_words

MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "SamsungBrowser": "Samsung Internet", "FxiOS": "Firefox",
             "Firefox": "Firefox", "CriOS": "Chrome", "Chrome": "Chrome", "Safari": "Safari"}  # fmt: skip
_SYSTEMS = {"iPhone": "iPhone", "iPad": "iPad", "Android": "Android", "Windows": "Windows", "Macintosh": "macOS",
            "CrOS": "ChromeOS", "Linux": "Linux"}  # fmt: skip
"""What a User-Agent contains, and what it means; the first one counts."""
RECENT_S = 20 * 3600
KINDS_TO_ACKNOWLEDGE = (
    EventKind.NO_MASK,
    EventKind.INCORRECT,
    EventKind.CAMERA_OFFLINE,
    EventKind.CAMERA_CHANGED,
    EventKind.NODE_OFFLINE,
    EventKind.PART_FAILED,
    EventKind.OCCUPANCY_REACHED,
)
KINDS_WITH_VERDICT = (EventKind.NO_MASK, EventKind.INCORRECT, EventKind.RESOLVED)
"""Those about a face."""


def _read(folder: str) -> dict[str, bytes]:
    directory = resources.files("app.web") / folder
    return {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()}


class Assets:
    """The static files by name, and the page templates."""

    def __init__(self) -> None:
        self._static = _read("static")
        templates = {name: text.decode() for name, text in _read("templates").items()}
        self._environment = Environment(
            loader=DictLoader(templates),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        self._environment.install_gettext_callables(  # type: ignore[attr-defined]  # an extension adds it
            lambda text: catalogue().gettext(text),
            lambda one, many, count: catalogue().ngettext(one, many, count),
            newstyle=True,
            pgettext=lambda context, text: catalogue().pgettext(context, text),
        )
        self._environment.filters.update(
            rate=rate_text,
            decimal=decimal,
            percent=_percent,
            seconds=_seconds,
            duration=duration_text,
            clock=_clock,
            date_time=_date_time,
            iso_time=_iso_time,
            path_segment=partial(quote, safe=""),  # '/' too: a browser must not resolve '..' in an id
            redact=redact,
            browser_name=browser_name,
            reason_text=translated_reason,
        )

    def render(self, name: str, values: dict[str, Any]) -> str:
        """The template in the language of the context."""
        texts = {
            "lang": language(),
            "dir": direction(),
            "languages": [(code, name_of(code)) for code in languages()],
            "words": script_words(),
            **page_words(),
        }
        return self._environment.get_template(name).render({**texts, **values})

    def static(self, name: str) -> Response:
        """``/static/NAME``; 404 for an unknown name."""
        content = self._static.get(name)
        if content is None:
            return Response("not found\n", 404, media_type="text/plain")
        media_type = next(
            (kind for suffix, kind in MEDIA_TYPES.items() if name.endswith(suffix)), "application/octet-stream"
        )
        headers = {"Cache-Control": "max-age=300"}
        if name == "service-worker.js":
            headers["Service-Worker-Allowed"] = "../"  # all pages, also below a path of a proxy
        return Response(content, media_type=media_type, headers=headers)


def _percent(share: float | None) -> str:
    return "–" if share is None else gettext("%(number)s %%", number=decimal(share * 100, 0))


def _seconds(value: float, digits: int = 1) -> str:
    return gettext("%(number)s s", number=decimal(value, digits))


def _clock(wall_s: float) -> str:
    """The time, with the day if it is not the last one."""
    is_recent, at = abs(time.time() - wall_s) < RECENT_S, datetime.fromtimestamp(wall_s)
    return at.strftime("%H:%M:%S") if is_recent else date_text(at, "%d %b, %H:%M", "%m-%d %H:%M")


def _date_time(wall_s: float) -> str:
    at = datetime.fromtimestamp(wall_s)
    return date_text(at, "%d %b %Y, %H:%M:%S", "%Y-%m-%d %H:%M:%S") + offset_if_ambiguous(wall_s)


def browser_name(label: str) -> str:
    """``Chrome, Android`` for the User-Agent of a browser; another label as it is."""
    if not label.startswith("Mozilla/"):
        return label
    known = (next((name for part, name in names.items() if part in label), "") for names in (_BROWSERS, _SYSTEMS))
    return ", ".join(filter(None, known)) or label


def _iso_time(wall_s: float) -> str:
    """ISO 8601 with the time zone, for the time elements of a page."""
    return datetime.fromtimestamp(wall_s).astimezone().isoformat(timespec="seconds")
