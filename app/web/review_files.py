"""The files of the review page: clips with ranges of bytes, and a day as one archive."""

import io
import re
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date, datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.alerts.event_records import RECORD_FIELDS
from app.alerts.event_records import event_record as stored_record
from app.alerts.marks import Marks
from app.alerts.store_types import EventFilter
from app.core.text import CsvWriter
from app.core.types import Event
from app.review.clips import POSTER, RECORD, VIDEO
from app.web.handling import site_of, user_of
from app.web.site import Site

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_MARK_FIELDS = ("acknowledged_s", "acknowledged_by", "verdict", "label", "verdict_s", "verdict_by")
MAX_DAY_EVENTS = 20_000
_MEDIA_TYPES = {VIDEO: "video/mp4", RECORD: "application/json", POSTER: "image/jpeg"}


def day_range(text: str) -> tuple[float, float]:
    """Unix times of the start and the end of a local day such as 2026-11-23; an empty range for a year that no event
    can have. Raises ValueError."""
    day = date.fromisoformat(text)
    if not 1970 < day.year < 2200:
        return 0.0, 0.0
    start, end = (datetime.combine(each, datetime.min.time()) for each in (day, day + timedelta(days=1)))
    return start.timestamp(), end.timestamp()


async def clip_file(request: Request, suffix: str) -> Response:
    """``suffix``: VIDEO, its boxes (RECORD) or POSTER."""
    site, event_id = site_of(request), request.path_params["event"]
    content = await site.run_in_worker(lambda: site.clips.read(event_id, suffix))
    if content is None:
        raise HTTPException(404, "no clip is stored for this event; see [clips] in the settings")
    return content_range(request, content, _MEDIA_TYPES[suffix])


def content_range(request: Request, content: bytes, media_type: str) -> Response:
    """``content``, or the range of it that the request asks for: players need ranges to jump within a video."""
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=300"}
    if "download" in request.query_params:
        name = f"maskwatch-{re.sub(r'[^A-Za-z0-9-]', '_', request.path_params['event'])[:60]}.mp4"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or not any(match.groups()):
        return Response(content, headers=headers, media_type=media_type)
    size = len(content)
    first = int(match[1]) if match[1] else max(size - int(match[2]), 0)
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first > last:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(content[first : last + 1], 206, headers, media_type)


async def day_archive(request: Request) -> Response:
    """All events of a day with their marks, snapshots and clips, as a ZIP that is made while it is sent."""
    site, query = site_of(request), request.query_params
    try:
        since_s, until_s = day_range(query.get("day", ""))
    except (ValueError, OverflowError, OSError):
        raise HTTPException(400, "day: give a date such as 2026-11-23") from None
    cameras = tuple(name for name in query.getlist("camera")[:100] if name and "\x00" not in name)
    wanted = user_of(request).narrow(EventFilter(since_s, until_s, cameras))
    events = (await site.run_in_worker(lambda: site.history.events(wanted, MAX_DAY_EVENTS)))[::-1]
    parts = _archive(site, events)

    async def sent() -> AsyncIterator[bytes]:
        while (part := await site.run_in_worker(lambda: next(parts, None))) is not None:
            yield part

    headers = {"Content-Disposition": f'attachment; filename="maskwatch-{query["day"]}.zip"'}
    return StreamingResponse(sent(), headers=headers, media_type="application/zip")


class _Output(io.RawIOBase):
    """Takes what the archive writes; ``take`` returns what came since the last call."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _archive(site: Site, events: Sequence[Event]) -> Iterator[bytes]:
    """The archive in parts, one file at a time. Pictures and videos are compressed already."""
    output = _Output()
    with zipfile.ZipFile(output, "w") as archive:
        table = _table(events, site.history.marks(events))
        archive.writestr("events.csv", table, zipfile.ZIP_DEFLATED)
        pictured = site.history.ids_with_snapshot(events)  # at once: each look into the file opens it
        for event in events:
            when = datetime.fromtimestamp(event.wall_s).strftime("%H-%M-%S")
            name = re.sub(r"[^\w-]", "_", f"{when}_{event.camera[:60]}_{event.kind.value}_{event.id[-16:]}")
            for suffix, content in (
                (".jpg", site.history.snapshot(event.id) if event.id in pictured else None),
                (".mp4", site.clips.read(event.id, VIDEO)),
                (".json", site.clips.read(event.id, RECORD)),
            ):
                if content is not None:
                    archive.writestr(name + suffix, content)
                    yield output.take()
    yield output.take()


def _table(events: Sequence[Event], marks: dict[str, Marks]) -> str:
    file = io.StringIO()
    writer = CsvWriter(file, [*RECORD_FIELDS, *_MARK_FIELDS])
    writer.writeheader()
    for event in events:
        mark = marks.get(event.id, Marks())
        writer.writerow({**stored_record(event), **{name: getattr(mark, name) for name in _MARK_FIELDS}})
    return file.getvalue()
