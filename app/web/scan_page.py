"""The page of an archive scan: its report, with a search on the server."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import MaskwatchError
from app.core.translation import gettext
from app.web.site import Site

if TYPE_CHECKING:
    from app.scan.report import Report

MAX_ROWS = 500
"""The page shows at most this many rows of each table; the search finds the others."""


class ScanPage:
    """``render`` renders a template of the web view. The report is read again only when the scan has new results."""

    def __init__(self, site: Site, render: Callable[..., Response]) -> None:
        self._site = site
        self._render = render
        self._read: tuple[tuple[float, ...], Report] | None = None

    async def page(self, request: Request) -> Response:
        """``/scan``; 404 if the settings name no scan, 503 if it cannot be read."""
        folder = self._site.settings.web.scan
        if folder is None:
            message = gettext("Set web.scan to the folder of a scan ('maskwatch scan plan').")
            return self._render(request, "error", 404, title=gettext("No archive scan"), message=message)
        query = request.query_params.get("q", "").strip()
        try:
            values = await self._site.run_in_worker(lambda: self._values(folder, query))
        except MaskwatchError as error:
            return self._render(request, "error", 503, title=gettext("Cannot read the archive scan"), detail=str(error))
        return self._render(request, "scan", query=query, most=MAX_ROWS, **values)

    def _values(self, folder: Path, query: str) -> dict[str, object]:
        from app.scan.report import event_row, hour_record, not_analysed, summary

        report = self._report(folder)
        words = query.casefold().split()

        def matches(cells: object) -> bool:
            text = str(cells).casefold()
            return all(word in text for word in words)

        hours = [record for row in report.hours if matches(list((record := hour_record(report, row)).values()))]
        events = [row for event in report.events if matches(row := event_row(report, event))]
        missing = [row for row in not_analysed(report) if matches(row)]
        return {"summary": summary(report), "hours": hours, "events": events, "missing": missing}

    def _report(self, folder: Path) -> "Report":
        from app.scan.report import make_report
        from app.scan.run_folder import RunFolder

        names = ("run.json", "done.jsonl", "failed.jsonl")
        version = tuple((folder / name).stat().st_mtime if (folder / name).exists() else 0.0 for name in names)
        if self._read is None or self._read[0] != version:
            self._read = version, replace(make_report(RunFolder(folder)), thumbnails={})
        return self._read[1]
