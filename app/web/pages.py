"""The HTML pages, rendered on the server. They work without JavaScript, which only keeps them up to date."""

import math
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.alerts.export import total
from app.alerts.marks import Verdict
from app.alerts.store_types import EventFilter, StoreError
from app.capture.capture import SourceState
from app.core.translation import gettext
from app.core.types import EventKind, Label
from app.review.collected import SCENE, CollectedFace
from app.web.assets import KINDS_TO_ACKNOWLEDGE
from app.web.audit_page import audit, audit_csv
from app.web.fleet_page import fleet, fleet_cameras
from app.web.handling import Handler, site_of, user_of
from app.web.numbers_page import trends
from app.web.people_pages import PeoplePages
from app.web.push import push_channel
from app.web.rendering import assets_of, render
from app.web.review_page import review
from app.web.scan_page import scan
from app.web.schemas import hour_record
from app.web.setup_page import SetupPages
from app.web.site import Site
from app.web.wall import MAX_STREAMS, chosen_group, wall
from app.web.words import LABEL_NAMES, VERDICT_NAMES
from app.web.zones_page import zones, zones_picture

PAGE_EVENTS, MAX_EVENTS_AT_ONCE = 50, 1000
RECENT_EVENTS = 12
LABEL_CHOICES = (
    ("1", Label.MASK, LABEL_NAMES[Label.MASK]),
    ("2", Label.NO_MASK, LABEL_NAMES[Label.NO_MASK]),
    ("3", Label.INCORRECT, LABEL_NAMES[Label.INCORRECT]),
    ("0", Label.NOT_FACE, VERDICT_NAMES[Verdict.NO_FACE]),
)
"""The keys of the label page with what they say."""


def routes(site: Site) -> list[Route]:
    table: list[tuple[str, Handler, str]] = [
        ("/", _live, "GET"),
        ("/fleet", fleet, "GET"),
        ("/fleet/cameras", fleet_cameras, "GET"),
        ("/wall", wall, "GET"),
        ("/events", _events, "GET"),
        ("/review", review, "GET"),
        ("/label", _label, "GET"),
        ("/trends", trends, "GET"),
        ("/health", _health, "GET"),
        *SetupPages(site).routes(),
        ("/scan", scan, "GET"),
        ("/setup/zones", zones, "GET"),
        ("/setup/zones.jpg", zones_picture, "GET"),
        *PeoplePages(site).routes(),
        ("/audit", audit, "GET"),
        ("/audit.csv", audit_csv, "GET"),
        ("/static/offline.html", _offline, "GET"),
        ("/static/{name}", _static, "GET"),
        ("/healthz", _liveness, "GET"),
        ("/readyz", _readiness, "GET"),
    ]
    return [Route(path, handler, methods=[method]) for path, handler, method in table]


async def _live(request: Request) -> Response:
    site, user = site_of(request), user_of(request)
    status = site.status(user)
    if site.fleet_store is not None:
        return RedirectResponse(f"{request.scope['root']}/fleet", 303)
    camera = request.query_params.get("camera", "")
    group, groups, of_group = chosen_group(request, status.cameras)
    cameras = [each for each in status.cameras if camera == str(each.id)] or of_group
    midnight = status.day_s
    error_text = ""
    try:
        recent = await site.run_in_worker(
            lambda: site.event_records(site.history.events(user.narrow(EventFilter()), RECENT_EVENTS))
        )
        today = hour_record(
            total(await site.run_in_worker(lambda: site.history.hours(user.narrow(EventFilter(since_s=midnight)))))
        )
    except StoreError as error:  # the live streams continue
        recent, today, error_text = [], hour_record(total([])), str(error)
    return render(
        request,
        "live",
        state=status,
        cameras=cameras,
        is_single=len(cameras) == 1,
        chosen=camera if len(cameras) < len(of_group) else "",
        group=group,
        groups=groups,
        has_push=push_channel(site) is not None,
        counts_files=site.counts(is_live=False),
        recent=recent,
        today=today,
        today_since=midnight,
        error_text=error_text,
        has_streams=len(cameras) <= MAX_STREAMS,
    )


async def _offline(request: Request) -> Response:
    """What the service worker shows when maskwatch cannot be reached; the same for all who read its language."""
    headers = {"Cache-Control": "max-age=300", "Vary": "Accept-Language, Cookie"}
    return HTMLResponse(assets_of(request).render("offline.html", {}), headers=headers)


async def _events(request: Request) -> Response:
    query, site = request.query_params, site_of(request)
    kinds = tuple(kind for kind in query.getlist("kind") if kind in {each.value for each in EventKind})
    cameras = tuple(name for name in query.getlist("camera")[:100] if name and "\x00" not in name)
    since_s, until_s = _local_time(query.get("since", "")), _local_time(query.get("until", ""))
    before_s = _number(query.get("before", ""))
    limits_s = [end for end in (until_s, before_s) if end is not None]
    user = user_of(request)
    event_filter = user.narrow(EventFilter(since_s, min(limits_s, default=None), cameras, kinds))
    records = await site.run_in_worker(lambda: site.event_records(site.history.events(event_filter, PAGE_EVENTS + 1)))
    older = ""
    if len(records) > PAGE_EVENTS:
        edge_s = records[PAGE_EVENTS].wall_s  # events of the same time stay on one page
        next_s = math.nextafter(edge_s, math.inf)
        records = [each for each in records[:PAGE_EVENTS] if each.wall_s > edge_s]
        if not records:  # one page is not enough for this time: show all of its events
            same_time, next_s = replace(event_filter, since_s=edge_s, until_s=next_s), edge_s
            records = await site.run_in_worker(
                lambda: site.event_records(site.history.events(same_time, MAX_EVENTS_AT_ONCE))
            )
        query_items = [(key, value) for key, value in query.multi_items() if key != "before" and value]
        older = urlencode([*query_items, ("before", repr(next_s))])
    times = [(name, value) for name, value in (("since", since_s), ("until", until_s)) if value is not None]
    csv_query = urlencode([*(("camera", name) for name in cameras), *(("kind", kind) for kind in kinds), *times])
    names = await site.run_in_worker(lambda: site.camera_names(user))
    return render(
        request,
        "events",
        events=records,
        older=older,
        csv_query=csv_query,
        names=list(dict.fromkeys([*names, *cameras])),
        cameras=cameras,
        kinds=kinds,
        since=query.get("since", "") if since_s is not None else "",
        until=query.get("until", "") if until_s is not None else "",
        alert_kinds=KINDS_TO_ACKNOWLEDGE,
    )


async def _label(request: Request) -> Response:
    """One collected face without a verdict, the most useful first, or the one whose label is taken back."""
    query, site, user = request.query_params, site_of(request), user_of(request)
    collected = site.collected
    skipped = int(_number(query.get("skip", "")) or 0)

    def read() -> tuple[CollectedFace | None, int, bool, bool]:
        found = [face for face in collected.to_label() if user.sees(face.camera)]
        chosen = collected.find(query["face"]) if query.get("face") else None
        if chosen is not None and not user.sees(chosen.camera):
            chosen = None
        face = chosen or (found[skipped % len(found)] if found else None)
        has_any = face is not None or any(user.sees(each.camera) for each in collected.faces())
        return face, len(found), face is not None and collected.folder.has(face.id, SCENE), has_any

    face, count, has_scene, has_any = await site.run_in_worker(read)
    box, size = (None, (1, 1)) if face is None else (face.box, face.size)
    if face is not None and not has_scene:
        box, size = face.crop_box, face.crop_size
    return render(
        request, "label", face=face, count=count, box=box, size=size, has_scene=has_scene, skipped=skipped,
        last=query.get("last", ""), has_any=has_any,
        choices=[(key, label, gettext(text)) for key, label, text in LABEL_CHOICES],
    )  # fmt: skip


async def _health(request: Request) -> Response:
    site, user = site_of(request), user_of(request)
    settings = site.settings.alerts
    return render(
        request,
        "health",
        state=site.status(user),
        sees_channels=user.cameras is None,
        results=site.last_test,
        channels={each.name: each.kind for each in settings.channels},
        is_persistent=settings.persist,
        keep_days=settings.keep_days,
        snapshots=settings.snapshots,
    )


async def _static(request: Request) -> Response:
    return assets_of(request).static(request.path_params["name"])


async def _liveness(request: Request) -> Response:
    """Liveness probe: 503 when a thread has crashed."""
    crashed = site_of(request).center.failure is not None
    return JSONResponse({"status": "crashed" if crashed else "ok"}, 503 if crashed else 200)


async def _readiness(request: Request) -> Response:
    """Readiness probe: 200 when at least one camera delivers analysed frames; a hub needs none."""
    site = site_of(request)
    views = site.monitor.views()
    working = (SourceState.LIVE, SourceState.ENDED)
    ready = site.fleet_store is not None or any(
        view.times is not None and view.status.state in working for view in views
    )
    return JSONResponse({"status": "ready" if ready else "no camera delivers frames"}, 200 if ready else 503)


def _local_time(text: str) -> float | None:
    """Unix time of a ``datetime-local`` field; None if it is empty or invalid."""
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


def error_page(request: Request, status: int, message: str) -> Response:
    """The response to a failed request: a page for a browser, also if it calls the API, else JSON."""
    if not request.scope["is_page"]:
        return JSONResponse({"error": message}, status)
    title = gettext("Page not found") if status == 404 else gettext("Request failed")
    return render(request, "error", status, title=title, detail=message)
