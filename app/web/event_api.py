"""The routes of the API for events, alerts and collected faces."""

import io
from collections.abc import AsyncIterator, Iterator
from functools import partial
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.alerts.export import total, write_csv
from app.alerts.marks import Verdict
from app.core.types import Box, Event
from app.review.clips import POSTER, RECORD, VIDEO
from app.review.collected import CROP, SCENE
from app.web.access import NO_EVENT, NO_FACE
from app.web.assets import KINDS_WITH_VERDICT
from app.web.handling import (
    ApiRoute,
    actor_of,
    event_filter,
    form_action,
    is_form,
    json_response,
    number_param,
    read,
    site_of,
    user_of,
    validated,
)
from app.web.review_files import clip_file, day_archive
from app.web.schemas import (
    Acknowledged,
    AllAcknowledged,
    Compliance,
    EventIds,
    EventList,
    FaceLabelling,
    Judged,
    Judgement,
    Labelled,
    TestResults,
    hour_record,
)

MAX_EVENTS = 500
CSV_EVENTS = 5000
"""Read and sent at once."""


def routes() -> list[ApiRoute]:
    return [
        ("/events", _events, "GET"),
        ("/events.csv", _events_csv, "GET"),
        # An event id contains the camera name, so it may contain '/'. It ends in a number, as none of these paths does.
        ("/events/{event:path}/picture.jpg", _snapshot, "GET"),
        ("/events/{event:path}/clip.mp4", partial(clip_file, suffix=VIDEO), "GET"),
        ("/events/{event:path}/clip.json", partial(clip_file, suffix=RECORD), "GET"),
        ("/events/{event:path}/clip.jpg", partial(clip_file, suffix=POSTER), "GET"),
        ("/events/{event:path}/verdict", _judge, "POST"),
        ("/events/{event:path}", _event, "GET"),
        ("/faces/{face:path}/picture.jpg", _face_picture, "GET"),
        ("/faces/{face:path}/label", _label_face, "POST"),
        ("/day.zip", day_archive, "GET"),
        ("/alerts", _alerts, "GET"),
        ("/alerts/test", _test_alert, "POST"),
        ("/alerts/acknowledge", _acknowledge_all, "POST"),
        ("/alerts/{event:path}/acknowledge", _acknowledge, "POST"),
        ("/compliance", _compliance, "GET"),
    ]


async def _events(request: Request) -> Response:
    site, query = site_of(request), event_filter(request)
    limit = int(number_param(request, "limit", 1, MAX_EVENTS) or 50)
    records = await site.run_in_worker(lambda: site.event_records(site.history.events(query, limit)))
    return json_response(EventList(events=records))


async def _events_csv(request: Request) -> Response:
    site, query = site_of(request), event_filter(request)
    parts = _csv_parts(site.history.parts(query, CSV_EVENTS))
    first = await site.run_in_worker(lambda: next(parts))  # a file that cannot be read is an error, not half a table

    async def sent() -> AsyncIterator[str]:
        part: str | None = first
        while part is not None:
            yield part
            part = await site.run_in_worker(lambda: next(parts, None))

    headers = {"Content-Disposition": 'attachment; filename="maskwatch-events.csv"'}
    return StreamingResponse(sent(), headers=headers, media_type="text/csv")


def _csv_parts(parts: Iterator[list[Event]]) -> Iterator[str]:
    for i, events in enumerate(parts):
        file = io.StringIO()
        write_csv(events, file)
        yield file.getvalue() if i == 0 else file.getvalue().partition("\n")[2]  # one header


async def _event(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    event = await site.run_in_worker(lambda: site.find_event(event_id))
    if event is None:
        raise HTTPException(404, NO_EVENT)
    return json_response((await site.run_in_worker(lambda: site.event_records([event])))[0])


async def _snapshot(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    is_blurred = "blurred" in request.query_params
    jpeg = await site.run_in_worker(
        lambda: site.blurred_snapshot(event_id) if is_blurred else site.history.snapshot(event_id)
    )
    if jpeg is None:
        raise HTTPException(404, "no snapshot is stored for this event; see alerts.snapshots in the settings")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


async def _alerts(request: Request) -> Response:
    return json_response(EventList(events=site_of(request).status(user_of(request)).alerts[::-1]))


@form_action("acknowledged")
async def _acknowledge(request: Request) -> Response:
    site, event_id, actor = site_of(request), request.path_params["event"], actor_of(request)
    if await site.run_in_worker(lambda: site.find_event(event_id)) is None:
        raise HTTPException(404, "no such alert; see /api/v1/alerts")
    wall_s = await site.run_in_worker(lambda: site.history.acknowledge(event_id, actor))
    return json_response(Acknowledged(id=event_id, acknowledged_s=wall_s))


@form_action("acknowledged")
async def _acknowledge_all(request: Request) -> Response:
    site, user, actor = site_of(request), user_of(request), actor_of(request)
    if await is_form(request):  # one field for each event
        selected = parse_qs((await request.body()).decode("utf-8", "replace")).get("id", [])
        if not selected:
            raise HTTPException(400, "no event is selected; select some in the list")
        ids = validated(EventIds, {"ids": selected}).ids
    else:
        ids = (await read(request, EventIds)).ids

    def acknowledge() -> list[str]:
        found = [site.find_event(event_id) for event_id in ids]
        known = [event.id for event in found if event is not None and user.sees(event.camera)]
        for event_id in known:
            site.history.acknowledge(event_id, actor)
        return known

    known = await site.run_in_worker(acknowledge)
    request.scope["target"] = " ".join(known)
    return json_response(AllAcknowledged(acknowledged=len(known)))


@form_action("judged")
async def _judge(request: Request) -> Response:
    site, event_id, actor = site_of(request), request.path_params["event"], actor_of(request)
    judgement = await read(request, Judgement)
    event = await site.run_in_worker(lambda: site.find_event(event_id))
    if event is None:
        raise HTTPException(404, NO_EVENT)
    if event.kind not in KINDS_WITH_VERDICT:
        raise HTTPException(409, f"an event of the kind {event.kind} is not about a face, so it gets no verdict")
    verdict, label = judgement.verdict.value, judgement.label if judgement.verdict is Verdict.WRONG_LABEL else ""
    marks = await site.run_in_worker(lambda: site.judge(event_id, verdict, label, actor))
    return json_response(Judged(id=event_id, verdict=verdict, label=label, verdict_s=marks.verdict_s or 0.0))


@form_action("labelled")
async def _label_face(request: Request) -> Response:
    site, face_id, actor = site_of(request), request.path_params["face"], actor_of(request)
    given = await read(request, FaceLabelling)
    box = None if given.box is None else Box(*given.box)
    try:
        is_known = await site.run_in_worker(lambda: site.label_face(face_id, given.label, box, actor))
    except OSError as error:
        raise HTTPException(503, f"cannot store the label: {error.strerror or error}; check the disk") from error
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    if not is_known:
        raise HTTPException(404, NO_FACE)
    return json_response(Labelled(id=face_id, label=given.label))


async def _face_picture(request: Request) -> Response:
    """The scene of a collected face, or its crop if that is all there is."""
    site, face_id = site_of(request), request.path_params["face"]
    folder = site.collected.folder
    jpeg = await site.run_in_worker(lambda: folder.read(face_id, SCENE) or folder.read(face_id, CROP))
    if jpeg is None:
        raise HTTPException(404, NO_FACE)
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


@form_action("tested")
async def _test_alert(request: Request) -> Response:
    site = site_of(request)
    if not site.settings.alerts.channels:
        raise HTTPException(409, "no alert channel is configured; add [[alerts.channels]] to the settings file")
    results = await site.run_in_worker(site.test_channels)
    if results is None:
        raise HTTPException(409, "a test alert is already being sent; try again later")
    site.last_test = results
    return json_response(TestResults(results=results))


async def _compliance(request: Request) -> Response:
    site, query = site_of(request), event_filter(request)
    rows = await site.run_in_worker(lambda: site.history.hours(query))
    return json_response(
        Compliance(hours=[hour_record(row) for row in rows if not row.is_empty], total=hour_record(total(rows)))
    )
