"""The pages, made on the server: they work without script, which then only keeps them up to date."""

import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import wraps
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app import __version__
from app.alerts.export import ALERT_KINDS, total
from app.alerts.store_types import EventFilter, StoreError
from app.capture.capture import SourceState
from app.core.types import EventKind
from app.web.api import Handler, site_of
from app.web.assets import Assets
from app.web.chart import chart
from app.web.middleware import cookie_line, form_of
from app.web.schemas import hour_record
from app.web.site import Site

PAGE_EVENTS, MOST_AT_ONCE = 50, 1000
RECENT_EVENTS = 12
MOST_STREAMS = 3
"""A browser opens six connections to one server: with more cameras than these each picture is asked for on its own."""
SPANS_H = {24: "24 hours", 72: "3 days", 168: "7 days"}
SAID = {
    "muted": "The camera is muted: its events are kept, but nobody is told.",
    "unmuted": "The camera sends alerts again.",
    "acknowledged": "Acknowledged.",
    "tested": "The test alert was sent; see how each channel fared.",
}


class Pages:
    """Handlers of the HTML pages."""

    def __init__(self, site: Site, assets: Assets) -> None:
        self._site = site
        self._assets = assets

    def routes(self) -> list[Route]:
        table: list[tuple[str, Handler, str]] = [
            ("/", self._live, "GET"),
            ("/events", self._events, "GET"),
            ("/trends", self._trends, "GET"),
            ("/health", self._health, "GET"),
            ("/login", self._login, "GET"),
            ("/login", self._enter, "POST"),
            ("/logout", self._leave, "POST"),
            ("/static/{name}", self._assets.static, "GET"),
            ("/healthz", _alive, "GET"),
            ("/readyz", _ready, "GET"),
        ]
        return [Route(path, _told(handler), methods=[method]) for path, handler, method in table]

    def page(self, request: Request, name: str, status: int = 200, **values: object) -> Response:
        """A template with what every page needs."""
        caller = request.scope["caller"]
        common = {
            "page": name,
            "csrf": caller.csrf,
            "signed_in": caller.signed_in,
            "needs_token": self._site.access.needs_token,
            "said": SAID.get(request.query_params.get("said", ""), ""),
            "version": __version__,
            "heard": self._site.feed.number,
        }
        return HTMLResponse(self._assets.render(f"{name}.html", {**common, **values}), status)

    async def _live(self, request: Request) -> Response:
        site, status = self._site, self._site.status()
        only = request.query_params.get("camera", "")
        cameras = [each for each in status.cameras if only in ("", str(each.id))] or status.cameras
        midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        fault = ""
        try:
            recent = await site.work(lambda: site.event_records(site.history.events(EventFilter(), RECENT_EVENTS)))
            today = hour_record(total(await site.work(lambda: site.history.hours(EventFilter(since_s=midnight)))))
        except StoreError as error:  # the live pictures go on
            recent, today, fault = [], hour_record(total([])), str(error)
        return self.page(
            request,
            "live",
            status=200,
            state=status,
            cameras=cameras,
            single=len(cameras) == 1,
            chosen=only if len(cameras) < len(status.cameras) else "",
            recent=recent,
            today=today,
            today_since=midnight,
            fault=fault,
            streams=len(cameras) <= MOST_STREAMS,
        )

    async def _events(self, request: Request) -> Response:
        query, site = request.query_params, self._site
        kinds = tuple(kind for kind in query.getlist("kind") if kind in {each.value for each in EventKind})
        cameras = tuple(name for name in query.getlist("camera")[:100] if name and "\x00" not in name)
        since_s, until_s = _local_time(query.get("since", "")), _local_time(query.get("until", ""))
        before_s = _number(query.get("before", ""))
        ends = [end for end in (until_s, before_s) if end is not None]
        only = EventFilter(since_s, min(ends, default=None), cameras, kinds)
        found = await site.work(lambda: site.event_records(site.history.events(only, PAGE_EVENTS + 1)))
        older = ""
        if len(found) > PAGE_EVENTS:
            edge_s = found[PAGE_EVENTS].wall_s  # events of one moment stay on one page
            next_s = math.nextafter(edge_s, math.inf)
            found = [each for each in found[:PAGE_EVENTS] if each.wall_s > edge_s]
            if not found:  # a crowd left at once: all of that moment, however many
                moment, next_s = replace(only, since_s=edge_s, until_s=next_s), edge_s
                found = await site.work(lambda: site.event_records(site.history.events(moment, MOST_AT_ONCE)))
            kept = [(key, value) for key, value in query.multi_items() if key != "before" and value]
            older = urlencode([*kept, ("before", repr(next_s))])
        times = [(name, value) for name, value in (("since", since_s), ("until", until_s)) if value is not None]
        csv_query = urlencode([*(("camera", name) for name in cameras), *(("kind", kind) for kind in kinds), *times])
        names = [view.camera for view in site.monitor.views()]
        return self.page(
            request,
            "events",
            events=found,
            older=older,
            csv_query=csv_query,
            names=list(dict.fromkeys([*names, *cameras])),
            cameras=cameras,
            kinds=kinds,
            since=query.get("since", "") if since_s is not None else "",
            until=query.get("until", "") if until_s is not None else "",
            alert_kinds=(*ALERT_KINDS, EventKind.CAMERA_OFFLINE),
        )

    async def _trends(self, request: Request) -> Response:
        site, span_h = self._site, int(_number(request.query_params.get("hours", "")) or 24)
        span_h = span_h if span_h in SPANS_H else 24
        names = [view.camera for view in site.monitor.views()]
        camera = request.query_params.get("camera", "")
        camera = camera if camera in names else ""
        until_s = time.time()
        since_s = until_s - (span_h - 1) * 3600
        since_s -= since_s % 3600
        only = EventFilter(since_s, None, (camera,) if camera else ())
        rows = await site.work(lambda: site.history.hours(only))
        return self.page(
            request,
            "trends",
            chart=chart(rows, since_s, until_s),
            hours=[hour_record(row) for row in reversed(rows)],
            total=hour_record(total(rows)),
            span_h=span_h,
            spans=SPANS_H,
            names=names,
            camera=camera,
            since_s=since_s,
            until_s=until_s,
        )

    async def _health(self, request: Request) -> Response:
        settings = self._site.settings.alerts
        return self.page(
            request,
            "health",
            state=self._site.status(),
            results=self._site.last_test,
            channels={each.name: each.kind for each in settings.channels},
            keeps=settings.persist,
            keep_days=settings.keep_days,
            snapshots=settings.snapshots,
        )

    async def _login(self, request: Request) -> Response:
        if request.scope["caller"].signed_in:
            return RedirectResponse("/", 303)
        return self.page(request, "login", wrong="")

    async def _enter(self, request: Request) -> Response:
        access, address = self._site.access, request.client.host if request.client else "?"
        if not access.may_try(address):
            return self.page(request, "login", 429, wrong="Too many tries. Wait a minute.")
        if not access.is_token(form_of(await request.body()).get("token", "").strip()):
            access.note_failure(address)
            return self.page(request, "login", 401, wrong="That is not the token.")
        response = RedirectResponse("/", 303)
        response.headers.append("Set-Cookie", cookie_line(access.open_session(), self._site.settings.web))
        return response

    async def _leave(self, request: Request) -> Response:
        self._site.access.close_session(request.scope["caller"].session)
        return RedirectResponse("/login", 303)


def _told(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A fault of the event file is told on the page in place of a crash."""

    @wraps(handler)
    async def run(request: Request) -> Response:
        try:
            return await handler(request)
        except StoreError as error:
            pages: Pages = request.app.state.pages
            return pages.page(request, "error", 503, title="The event file cannot be read", words=str(error))

    return run


async def _alive(request: Request) -> Response:
    """Whether it is worth keeping the process: not where a thread of it has crashed."""
    crashed = site_of(request).center.failure is not None
    return JSONResponse({"status": "crashed" if crashed else "ok"}, 503 if crashed else 200)


async def _ready(request: Request) -> Response:
    """Whether anything is seen: at least one camera gives pictures that are analysed."""
    views = site_of(request).monitor.views()
    good = (SourceState.LIVE, SourceState.ENDED)
    ready = any(view.counts is not None and view.status.state in good for view in views)
    return JSONResponse({"status": "ready" if ready else "no camera gives pictures"}, 200 if ready else 503)


def _local_time(text: str) -> float | None:
    """Unix time of a ``datetime-local`` field; None where it is empty or none."""
    try:
        at_s = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return at_s if 0 <= at_s <= 1e10 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1e10 else None


def error_page(request: Request, status: int, words: str) -> Response:
    """What is answered where no page is: JSON for the API, a page for people."""
    if request.url.path.startswith("/api/"):
        return Response(json.dumps({"error": words}), status, media_type="application/json")
    pages: Pages = request.app.state.pages
    return pages.page(request, "error", status, title="Not here" if status == 404 else "That did not work", words=words)
