"""The HTML pages, rendered on the server. They work without JavaScript, which only keeps them up to date."""

import math
import time
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app import __version__
from app.alerts.export import total
from app.alerts.marks import Verdict
from app.alerts.store_types import EventFilter, StoreError
from app.capture.capture import SourceState
from app.core.files import is_folder
from app.core.translation import gettext, marked
from app.core.types import EventKind, Label
from app.review.collected import SCENE, CollectedFace
from app.web.assets import KINDS_TO_ACKNOWLEDGE, Assets
from app.web.fleet_page import FleetPage
from app.web.handling import Handler, site_of, user_of
from app.web.language import FIELD
from app.web.numbers_page import NumbersPage
from app.web.people import NOBODY
from app.web.push import push_channel
from app.web.review_page import ReviewPage
from app.web.scan_page import ScanPage
from app.web.schemas import hour_record
from app.web.setup_page import SetupPages
from app.web.site import Site
from app.web.wall import MAX_STREAMS, WallPage, chosen_group
from app.web.words import LABEL_NAMES, VERDICT_NAMES
from app.web.zones_page import ZonesPage

PAGE_EVENTS, MAX_EVENTS_AT_ONCE = 50, 1000
RECENT_EVENTS = 12
CONFIRMATIONS = {
    "muted": marked("The camera is muted: its events are stored, but no alerts are sent."),
    "unmuted": marked("The camera sends alerts again."),
    "turned": marked(
        "The camera is rotated by 90 degrees clockwise. A settings file with a table of the camera keeps it."
    ),
    "acknowledged": marked("Acknowledged."),
    "judged": marked("The verdict is stored."),
    "labelled": marked("The label is stored."),
    "saved": marked("The settings are saved."),
    "undone": marked("The last change is taken back."),
    "user-added": marked("The user is added."),
    "user-changed": marked("The user is changed, and must sign in again."),
    "user-removed": marked("The user is removed."),
    "password-changed": marked("The password is changed. All other sessions are ended."),
    "sessions-ended": marked("Ended."),
    "code-off": marked("The code is turned off."),
    "tested": marked("The test has ended; see the result of each channel below."),
}
LABEL_CHOICES = (
    ("1", Label.MASK, LABEL_NAMES[Label.MASK]),
    ("2", Label.NO_MASK, LABEL_NAMES[Label.NO_MASK]),
    ("3", Label.INCORRECT, LABEL_NAMES[Label.INCORRECT]),
    ("0", Label.NOT_FACE, VERDICT_NAMES[Verdict.NO_FACE]),
)
"""The keys of the label page with what they say."""


class Pages:
    """Handlers of the HTML pages."""

    def __init__(self, site: Site, assets: Assets) -> None:
        self._site = site
        self._assets = assets

    def routes(self) -> list[Route]:
        fleet, zones = FleetPage(self._site, self.page), ZonesPage(self._site, self.page)
        table: list[tuple[str, Handler, str]] = [
            ("/", self._live, "GET"),
            ("/fleet", fleet.page, "GET"),
            ("/fleet/cameras", fleet.cameras, "GET"),
            ("/wall", WallPage(self._site, self.page).page, "GET"),
            ("/events", self._events, "GET"),
            ("/review", ReviewPage(self._site, self.page).page, "GET"),
            ("/label", self._label, "GET"),
            ("/trends", NumbersPage(self._site, self.page).page, "GET"),
            ("/health", self._health, "GET"),
            *SetupPages(self._site, self.page).routes(),
            ("/scan", ScanPage(self._site, self.page).page, "GET"),
            ("/setup/zones", zones.page, "GET"),
            ("/setup/zones.jpg", zones.picture, "GET"),
            ("/static/offline.html", self._offline, "GET"),
            ("/static/{name}", self._assets.static, "GET"),
            ("/healthz", _liveness, "GET"),
            ("/readyz", _readiness, "GET"),
        ]
        return [Route(path, handler, methods=[method]) for path, handler, method in table]

    def page(self, request: Request, name: str, status: int = 200, **values: object) -> Response:
        """Renders a template with the values that every page needs."""
        caller, user = request.scope["caller"], request.scope["user"]
        # In another language; not an error, or the answer to a form or a provider.
        again = status < 400 and request.method == "GET" and not request.scope["path"].startswith("/login/")
        here, kept = (request.scope["path"], _kept(request)) if again else ("/", [])
        common = {
            "page": name,
            "root": request.scope["root"],
            "csrf": caller.csrf,
            "signed_in": caller.signed_in,
            "user": user or NOBODY,
            "can_sign_out": self._site.authenticator.needs_login and not caller.by_proxy,
            "confirmation": _confirmation(request.query_params.get("said", "")),
            "version": __version__,
            "offset_s": time.localtime().tm_gmtoff,
            "here": here,
            "kept": kept,
            "back": f"{here}?{urlencode(kept)}" if kept else here,  # where a form returns to
            "last_event": self._site.feed.last_id(user or NOBODY),
            "is_hub": self._site.fleet_store is not None,
            "has_scan": self._site.settings.web.scan is not None and (user or NOBODY).cameras is None,
            "has_faces": self._site.settings.collect.enabled or is_folder(self._site.collected.folder.path),
        }
        return HTMLResponse(self._assets.render(f"{name}.html", {**common, **values}), status)

    async def _live(self, request: Request) -> Response:
        site, user, status = self._site, user_of(request), self._site.status(user_of(request))
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
        return self.page(
            request,
            "live",
            status=200,
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

    async def _offline(self, request: Request) -> Response:  # noqa: ARG002 - a handler
        """What the service worker shows when maskwatch cannot be reached; the same for all who read its language."""
        headers = {"Cache-Control": "max-age=300", "Vary": "Accept-Language, Cookie"}
        return HTMLResponse(self._assets.render("offline.html", {}), headers=headers)

    async def _events(self, request: Request) -> Response:
        query, site = request.query_params, self._site
        kinds = tuple(kind for kind in query.getlist("kind") if kind in {each.value for each in EventKind})
        cameras = tuple(name for name in query.getlist("camera")[:100] if name and "\x00" not in name)
        since_s, until_s = _local_time(query.get("since", "")), _local_time(query.get("until", ""))
        before_s = _number(query.get("before", ""))
        limits_s = [end for end in (until_s, before_s) if end is not None]
        user = user_of(request)
        event_filter = user.narrow(EventFilter(since_s, min(limits_s, default=None), cameras, kinds))
        records = await site.run_in_worker(
            lambda: site.event_records(site.history.events(event_filter, PAGE_EVENTS + 1))
        )
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
        return self.page(
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

    async def _label(self, request: Request) -> Response:
        """One collected face without a verdict, the most useful first, or the one whose label is taken back."""
        query, collected, user = request.query_params, self._site.collected, user_of(request)
        skipped = int(_number(query.get("skip", "")) or 0)

        def read() -> tuple[CollectedFace | None, int, bool, bool]:
            found = [face for face in collected.to_label() if user.sees(face.camera)]
            chosen = collected.find(query["face"]) if query.get("face") else None
            if chosen is not None and not user.sees(chosen.camera):
                chosen = None
            face = chosen or (found[skipped % len(found)] if found else None)
            has_any = face is not None or any(user.sees(each.camera) for each in collected.faces())
            return face, len(found), face is not None and collected.folder.has(face.id, SCENE), has_any

        face, count, has_scene, has_any = await self._site.run_in_worker(read)
        box, size = (None, (1, 1)) if face is None else (face.box, face.size)
        if face is not None and not has_scene:
            box, size = face.crop_box, face.crop_size
        return self.page(
            request, "label", face=face, count=count, box=box, size=size, has_scene=has_scene, skipped=skipped,
            last=query.get("last", ""), has_any=has_any,
            choices=[(key, label, gettext(text)) for key, label, text in LABEL_CHOICES],
        )  # fmt: skip

    async def _health(self, request: Request) -> Response:
        settings = self._site.settings.alerts
        return self.page(
            request,
            "health",
            state=self._site.status(user_of(request)),
            sees_channels=user_of(request).cameras is None,
            results=self._site.last_test,
            channels={each.name: each.kind for each in settings.channels},
            is_persistent=settings.persist,
            keep_days=settings.keep_days,
            snapshots=settings.snapshots,
        )


def _confirmation(outcome: str) -> str:
    return gettext(CONFIRMATIONS[outcome]) if outcome in CONFIRMATIONS else ""


def _kept(request: Request) -> list[tuple[str, str]]:
    """The query of the page without its language."""
    return [(name, value) for name, value in request.query_params.multi_items()[:50] if name not in (FIELD, "said")]


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
    pages: Pages = request.app.state.pages
    return pages.page(request, "error", status, title=title, detail=message)
