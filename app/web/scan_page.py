"""The page of an archive scan: its report, with a search on the server."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import MaskwatchError
from app.core.translation import gettext
from app.web.handling import site_of
from app.web.rendering import render

if TYPE_CHECKING:
    from app.scan.report import Report

MAX_ROWS = 500
"""The page shows at most this many rows of each table; the search finds the others."""


async def scan(request: Request) -> Response:
    """``/scan``; 404 if the settings name no scan, 503 if it cannot be read."""
    site = site_of(request)
    folder = site.settings.web.scan
    if folder is None:
        message = gettext("Set web.scan to the folder of a scan ('maskwatch scan plan').")
        return render(request, "error", 404, title=gettext("No archive scan"), message=message)
    query = request.query_params.get("q", "").strip()
    try:
        values = await site.run_in_worker(lambda: _values(folder, query))
    except MaskwatchError as error:
        return render(request, "error", 503, title=gettext("Cannot read the archive scan"), detail=str(error))
    return render(request, "scan", query=query, most=MAX_ROWS, **values)


def _values(folder: Path, query: str) -> dict[str, Any]:
    from app.scan.report import event_row, hour_record, not_analysed, summary

    names = ("run.json", "done.jsonl", "failed.jsonl")
    report = _report(
        folder, tuple((folder / name).stat().st_mtime if (folder / name).exists() else 0.0 for name in names)
    )
    words = query.casefold().split()

    def matches(cells: object) -> bool:
        text = str(cells).casefold()
        return all(word in text for word in words)

    hours = [record for row in report.hours if matches(list((record := hour_record(report, row)).values()))]
    events = [row for event in report.events if matches(row := event_row(report, event))]
    missing = [row for row in not_analysed(report) if matches(row)]
    return {"summary": summary(report), "hours": hours, "events": events, "missing": missing}


@lru_cache(maxsize=1)
def _report(folder: Path, version: tuple[float, ...]) -> "Report":  # noqa: ARG001 - a part of the key
    """It is read again only when the scan has new results, and another ``version``."""
    from app.scan.report import make_report
    from app.scan.run_folder import RunFolder

    return replace(make_report(RunFolder(folder)), thumbnails={})
