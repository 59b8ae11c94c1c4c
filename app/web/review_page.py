"""The review page: the events of a day, with their clips, and the verdicts of people on them."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from app.alerts.export import ALERT_KINDS
from app.alerts.marks import RIGHT_LABELS, Marks
from app.alerts.store_types import EventFilter
from app.core.translation import gettext, marked
from app.core.types import Event, EventKind
from app.review.picture_folder import day_of
from app.web.assets import KINDS_TO_ACKNOWLEDGE, KINDS_WITH_VERDICT
from app.web.handling import site_of, user_of
from app.web.people import User
from app.web.rendering import render
from app.web.review_files import MAX_DAY_EVENTS, day_range
from app.web.schemas import EventRecord
from app.web.site import Site
from app.web.timeline import timeline
from app.web.words import VERDICT_NAMES

PAGE_EVENTS = 40
"""A form holds at most 50 fields: the selected events, the secret and the page to return to."""
STATES = {"open": marked("Not acknowledged"), "acknowledged": marked("Acknowledged")}
NO_VERDICT = "none"


async def review(request: Request) -> Response:
    query, site = request.query_params, site_of(request)
    day, span = query.get("day", ""), (0.0, 0.0)
    with suppress(ValueError, OverflowError, OSError):
        span = day_range(day)
    user = user_of(request)
    if span == (0.0, 0.0):  # no date, or one that no event can have
        wanted_id = query.get("event", "")  # the link of a notification names only the event
        named = await site.run_in_worker(lambda: _record(site, wanted_id, user)) if wanted_id else None
        day = day_of(time.time() if named is None else named.wall_s)
        span = day_range(day)
    names = await site.run_in_worker(lambda: site.camera_names(user))
    watched = [view.camera for view in site.monitor.views()]  # a hub has none: its day needs a chosen camera
    camera = query.get("camera", "") if "\x00" not in query.get("camera", "") else ""
    kind = query.get("kind", "") if query.get("kind", "") in list(EventKind) else ""
    state = query.get("state", "") if query.get("state", "") in STATES else ""
    verdict = query.get("verdict", "") if query.get("verdict", "") in (*VERDICT_NAMES, NO_VERDICT) else ""
    start = int(query["from"]) if re.fullmatch(r"\d{1,6}", query.get("from", "")) else 0
    given = {"day": day, "camera": camera, "kind": kind, "state": state, "verdict": verdict}
    given = {name: value for name, value in given.items() if value}
    wanted = user.narrow(EventFilter(*span, (camera,) if camera else (), (kind,) if kind else ()))

    def link(event_id: str) -> str:
        page = {**given, "from": start} if start else given
        return f"{request.scope['root']}/review?{urlencode({**page, 'event': event_id})}#player"

    def read() -> tuple[list[EventRecord], list[tuple[str, Markup]], bool]:
        nonlocal start
        events = site.history.events(wanted, MAX_DAY_EVENTS)
        marks = site.history.marks(events)
        shown = [event for event in events if _matches(marks.get(event.id, Marks()), state, verdict)]
        if start >= len(shown):  # those of the last page match no more, once they are acknowledged
            start = max(len(shown) - 1, 0) // PAGE_EVENTS * PAGE_EVENTS
        records = site.event_records(shown[start : start + PAGE_EVENTS + 1])
        shown_cameras = [name for name in ([camera] if camera else watched) if user.sees(name)]
        timelines = _timelines(site, shown_cameras, span, events, lambda each: link(each.id))
        return records, timelines, len(events) == MAX_DAY_EVENTS

    records, timelines, is_cut = await site.run_in_worker(read)
    more = len(records) > PAGE_EVENTS
    records = records[:PAGE_EVENTS]
    chosen = next((each for each in records if each.id == query.get("event")), records[0] if records else None)
    if chosen is not None and query.get("event") not in ("", None, chosen.id):
        found = await site.run_in_worker(lambda: _record(site, query["event"], user))
        chosen = found or chosen
    here = urlencode({**given, **({"from": start} if start else {}), **({"event": chosen.id} if chosen else {})})
    days = (span[0] - 3600, span[1] + 3600)
    return render(
        request,
        "review",
        day=day,
        camera=camera,
        kind=kind,
        state=state,
        verdict=verdict,
        names=list(dict.fromkeys([*names, *([camera] if camera else [])])),
        events=records,
        chosen=chosen,
        links={each.id: link(each.id) for each in records},
        timelines=timelines,
        most=MAX_DAY_EVENTS if is_cut else 0,
        back=f"/review?{here}",
        archive=urlencode({"day": day, **({"camera": camera} if camera else {})}),
        earlier=urlencode({**given, "day": day_of(days[0])}),
        later=urlencode({**given, "day": day_of(days[1])}),
        newer=urlencode({**given, "from": max(start - PAGE_EVENTS, 0)}) if start else "",
        older=urlencode({**given, "from": start + PAGE_EVENTS}) if more else "",
        states={name: gettext(text) for name, text in STATES.items()},
        right_labels=RIGHT_LABELS,
        alert_kinds=KINDS_TO_ACKNOWLEDGE,
        has_verdict=chosen is not None and chosen.kind in KINDS_WITH_VERDICT,
    )


def _record(site: Site, event_id: str, user: User) -> EventRecord | None:
    event = site.history.event(event_id)
    return None if event is None or not user.sees(event.camera) else site.event_records([event])[0]


def _timelines(
    site: Site, cameras: list[str], span: tuple[float, float], events: list[Event], link: Callable[[Event], str]
) -> list[tuple[str, Markup]]:
    """(camera, SVG) of each camera."""
    rows = []
    for name in dict.fromkeys(cameras):
        hours = site.history.hours(EventFilter(*span, (name,)))
        alerts = [event for event in reversed(events) if event.camera == name and event.kind in ALERT_KINDS]
        rows.append((name, timeline(name, hours, alerts, span, link)))
    return rows


def _matches(marks: Marks, state: str, verdict: str) -> bool:
    has_state = not state or (marks.acknowledged_s is not None) == (state == "acknowledged")
    return has_state and (not verdict or marks.verdict == ("" if verdict == NO_VERDICT else verdict))
