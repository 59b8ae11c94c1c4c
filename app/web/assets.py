"""Templates, styles and scripts, read once from the package: no request opens a file."""

import time
from datetime import datetime
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from app.alerts.numbers import rate_text
from app.capture.capture import SourceState
from app.core.secrets import redact
from app.core.text import offset_if_ambiguous, reason_text
from app.core.types import EventKind, Label

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
KIND_NAMES = {
    EventKind.NO_MASK: "No mask",
    EventKind.INCORRECT: "Worn wrong",
    EventKind.RESOLVED: "Resolved",
    EventKind.CAMERA_OFFLINE: "Camera offline",
    EventKind.CAMERA_RECOVERED: "Camera back",
    EventKind.CAMERA_CHANGED: "Camera changed",
    EventKind.NODE_OFFLINE: "Node offline",
    EventKind.NODE_ONLINE: "Node back",
    EventKind.PART_FAILED: "Part failed",
    EventKind.PART_RECOVERED: "Part back",
    EventKind.REPORT: "Report",
    EventKind.OCCUPANCY_REACHED: "Limit reached",
    EventKind.OCCUPANCY_BELOW: "Below limit",
}
KINDS_TO_ACKNOWLEDGE = (
    EventKind.NO_MASK,
    EventKind.INCORRECT,
    EventKind.CAMERA_OFFLINE,
    EventKind.CAMERA_CHANGED,
    EventKind.NODE_OFFLINE,
    EventKind.PART_FAILED,
    EventKind.OCCUPANCY_REACHED,
)
LABEL_NAMES = {Label.MASK: "Mask", Label.NO_MASK: "No mask", Label.INCORRECT: "Worn wrong", Label.UNSURE: "Unsure"}
STATE_NAMES = {
    SourceState.CONNECTING: "Connecting",
    SourceState.LIVE: "Live",
    SourceState.STALE: "Stale",
    SourceState.RECONNECTING: "Reconnecting",
    SourceState.ENDED: "Ended",
    SourceState.FAILED: "Failed",
    SourceState.STANDBY: "Standby",
}


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
        )
        self._environment.globals.update(kind_names=KIND_NAMES, state_names=STATE_NAMES, label_names=LABEL_NAMES)
        self._environment.filters.update(
            rate=rate_text,
            clock=_clock,
            date_time=_date_time,
            iso_time=_iso_time,
            path_segment=_path_segment,
            redact=redact,
            browser_name=browser_name,
            reason_text=reason_text,
        )

    def render(self, name: str, values: dict[str, Any]) -> str:
        return self._environment.get_template(name).render(values)

    async def static(self, request: Request) -> Response:
        """``/static/NAME``; 404 for an unknown name."""
        name = request.path_params["name"]
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


def _clock(wall_s: float) -> str:
    """The time, with the day if it is not the last one."""
    is_recent = abs(time.time() - wall_s) < RECENT_S
    return datetime.fromtimestamp(wall_s).strftime("%H:%M:%S" if is_recent else "%d %b, %H:%M")


def _date_time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).strftime("%d %b %Y, %H:%M:%S") + offset_if_ambiguous(wall_s)


def browser_name(label: str) -> str:
    """``Chrome, Android`` for the User-Agent of a browser; another label as it is."""
    if not label.startswith("Mozilla/"):
        return label
    known = (next((name for part, name in names.items() if part in label), "") for names in (_BROWSERS, _SYSTEMS))
    return ", ".join(filter(None, known)) or label


def _iso_time(wall_s: float) -> str:
    """ISO 8601 with the time zone, for the time elements of a page."""
    return datetime.fromtimestamp(wall_s).astimezone().isoformat(timespec="seconds")


def _path_segment(text: str) -> str:
    """``text`` as one path segment; '/' is escaped so that a browser does not resolve '..' in an id."""
    return quote(text, safe="")
