"""Templates, styles and scripts, read once from inside the package: no request ever opens a file."""

from datetime import datetime
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from app.capture.capture import SourceState
from app.core.text import reason_text
from app.core.types import EventKind

KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
KIND_WORDS = {
    EventKind.NO_MASK: "No mask",
    EventKind.INCORRECT: "Worn wrong",
    EventKind.RESOLVED: "Resolved",
    EventKind.CAMERA_OFFLINE: "Camera offline",
    EventKind.CAMERA_RECOVERED: "Camera back",
}
STATE_WORDS = {
    SourceState.CONNECTING: "Connecting",
    SourceState.LIVE: "Live",
    SourceState.STALE: "Stale",
    SourceState.RECONNECTING: "Reconnecting",
    SourceState.ENDED: "Ended",
    SourceState.FAILED: "Failed",
}


def _read(folder: str) -> dict[str, bytes]:
    place = resources.files("app.web") / folder
    return {each.name: each.read_bytes() for each in place.iterdir() if each.is_file()}


class Assets:
    """All that is served as it lies in the package, by its name."""

    def __init__(self) -> None:
        self._static = _read("static")
        texts = {name: text.decode() for name, text in _read("templates").items()}
        self._pages = Environment(
            loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._pages.globals.update(kind_words=KIND_WORDS, state_words=STATE_WORDS)
        self._pages.filters.update(clock=_clock, moment=_moment, stamp=_stamp, segment=_segment, why=reason_text)

    def render(self, name: str, values: dict[str, Any]) -> str:
        return self._pages.get_template(name).render(values)

    async def static(self, request: Request) -> Response:
        """``/static/NAME``: a look into a table of names."""
        name = request.path_params["name"]
        found = self._static.get(name)
        if found is None:
            return Response("not found\n", 404, media_type="text/plain")
        kind = next((kind for end, kind in KINDS.items() if name.endswith(end)), "application/octet-stream")
        return Response(found, media_type=kind, headers={"Cache-Control": "max-age=300"})


def _clock(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).strftime("%H:%M:%S")


def _moment(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s).strftime("%d %b %Y, %H:%M:%S")


def _stamp(wall_s: float) -> str:
    """ISO 8601 with the zone, for the page's time elements."""
    return datetime.fromtimestamp(wall_s).astimezone().isoformat(timespec="seconds")


def _segment(text: str) -> str:
    """``text`` as one part of a path: '/' is escaped too, lest a browser make '..' of an event's id go up."""
    return quote(text, safe="")
