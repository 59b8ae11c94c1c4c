"""The audit log as a page with a filter, and as CSV."""

import io
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.core.text import CsvWriter
from app.web.audit import AuditEntry
from app.web.handling import site_of
from app.web.rendering import render
from app.web.site import Site

PAGE_ENTRIES = 100
AUDIT_FIELDS = ("number", "at_s", "who", "address", "what", "target", "digest")


async def audit(request: Request) -> Response:
    query, site = request.query_params, site_of(request)
    given = {name: query.get(name, "") for name in ("who", "what", "since", "until", "before")}

    def read() -> dict[str, Any]:
        entries = list(islice(_entries(site, given), PAGE_ENTRIES + 1))
        older = {**given, "before": entries[PAGE_ENTRIES - 1].number} if len(entries) > PAGE_ENTRIES else {}
        return {
            "entries": entries[:PAGE_ENTRIES],
            "older": urlencode({name: value for name, value in older.items() if value}),
            "fault": site.people.audit.fault(),
            "whos": site.people.audit.choices("who"),
            "whats": site.people.audit.choices("what"),
        }

    values = await site.run_in_worker(read)
    export = urlencode({name: value for name, value in given.items() if value and name != "before"})
    days = site.settings.web.audit_days
    return render(request, "audit", given=given, export=export, days=days, **values)


async def audit_csv(request: Request) -> Response:
    site = site_of(request)
    given = {name: request.query_params.get(name, "") for name in ("who", "what", "since", "until")}
    entries = _entries(site, given)

    def part() -> str:
        file = io.StringIO()
        CsvWriter(file, AUDIT_FIELDS).writerows(
            {name: getattr(entry, name) for name in AUDIT_FIELDS} for entry in islice(entries, 500)
        )
        return file.getvalue()

    async def sent() -> AsyncIterator[str]:
        yield ",".join(AUDIT_FIELDS) + "\n"
        while text := await site.run_in_worker(part):
            yield text

    headers = {"Content-Disposition": 'attachment; filename="maskwatch-audit.csv"'}
    return StreamingResponse(sent(), headers=headers, media_type="text/csv")


def _entries(site: Site, given: dict[str, str]) -> Iterator[AuditEntry]:
    before = int(given["before"]) if given.get("before", "").isdecimal() and len(given["before"]) < 16 else 1 << 62
    since_s, until_s = _day(given["since"], 0, 0.0), _day(given["until"], 1, 1e12)
    return site.people.audit.entries(given["who"], given["what"], since_s, until_s, before)


def _day(text: str, more_days: int, default_s: float) -> float:
    """Unix time of the start of a local day, or of the day after it."""
    try:
        return (datetime.fromisoformat(text) + timedelta(days=more_days)).timestamp()
    except (ValueError, OverflowError, OSError):
        return default_s
