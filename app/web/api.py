"""The JSON API under /api/v1. Its POST routes also accept HTML forms and then redirect to the page of the form."""

import io
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from urllib.parse import parse_qs, parse_qsl, urlencode

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.alerts.export import total, write_csv
from app.alerts.marks import Verdict
from app.alerts.push_store import PushStore
from app.alerts.store_types import EventFilter, StoreError
from app.core.types import Box, EventKind
from app.pipeline.camera import CameraView
from app.review.collected import CROP, SCENE
from app.web import openapi, push
from app.web.middleware import CSRF_FIELD, FORM, parse_form
from app.web.mjpeg import TILES_PX, WIDTHS_PX, EncodedFrame, LiveResponse, LiveStreams, MjpegResponse
from app.web.people import LOCAL, TOKEN, User
from app.web.review_files import clip_boxes, clip_poster, clip_video, day_archive
from app.web.schemas import (
    Acknowledged,
    AllAcknowledged,
    CameraList,
    Compliance,
    EventIds,
    EventList,
    FaceLabelling,
    Judged,
    Judgement,
    Labelled,
    Mute,
    Muted,
    Record,
    SessionRecord,
    TestResults,
    Turned,
    camera_record,
    hour_record,
)
from app.web.setup_api import SetupApi
from app.web.site import Site
from app.web.sse import EventStreamResponse

PREFIX = "/api/v1"
MAX_EVENTS = 500
MAX_CSV_EVENTS = 100_000
MAX_TIME_S = 1e10
PAGES = ("/", "/wall", "/events", "/review", "/label", "/trends", "/health", "/setup/channels")

Handler = Callable[[Request], Awaitable[Response]]


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def user_of(request: Request) -> User:
    user: User = request.scope["user"]
    return user


def actor_of(request: Request) -> str:
    """Who sends the request, as far as it is known: nobody has to be a user."""
    user, kind = user_of(request), "program" if request.scope["caller"].by_token else "browser"
    who = kind if user in (LOCAL, TOKEN) else user.name
    return f"{who} at {request.client.host if request.client else 'an unknown address'}"


def json_response(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")


def _form_action(outcome: str) -> Callable[[Handler], Handler]:
    """Redirects an HTML form back to its page, which shows ``pages.CONFIRMATIONS[outcome]``."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def run(request: Request) -> Response:
            response = await handler(request)
            if not await _is_form(request):
                return response
            back = parse_form(await request.body()).get("back", "/")
            page, _, query = back.partition("?")
            kept = [(name, value) for name, value in parse_qsl(query) if name != "said"] if page in PAGES else []
            page = page if page in PAGES else "/"
            return RedirectResponse(f"{request.scope['root']}{page}?{urlencode([*kept, ('said', outcome)])}", 303)

        return run

    return decorate


async def _is_form(request: Request) -> bool:
    """Whether the body holds form fields; ``curl -d`` sends JSON with the form content type too."""
    has_form_type = request.headers.get("content-type", "").partition(";")[0].strip() == FORM
    return has_form_type and not (await request.body()).lstrip().startswith(b"{")


async def _read_fields(request: Request) -> Mapping[str, object]:
    """The fields of a form or of a JSON object; an empty body gives no fields. Raises HTTPException 400."""
    body = await request.body()
    if await _is_form(request):
        fields = {key: value for key, value in parse_form(body).items() if key not in (CSRF_FIELD, "back")}
        return {key: int(value) if value.isdecimal() and len(value) < 10 else value for key, value in fields.items()}
    if not body:
        return {}
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, 'the body is not valid JSON; send an object such as {"minutes": 30}') from error
    if not isinstance(fields, dict):
        raise HTTPException(400, 'the body is not a JSON object; send one such as {"minutes": 30}')
    return fields


def _validate(model: type[BaseModel], values: Mapping[str, object]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        raise HTTPException(400, f"{field}: {problem['msg']}") from error


async def _read_record(request: Request, model: type[Record]) -> Record:
    record = _validate(model, await _read_fields(request))
    assert isinstance(record, Record)
    return record


def _camera_view(request: Request) -> tuple[int, CameraView]:
    number = int(request.path_params["camera"])
    views = site_of(request).monitor.views()
    if not 1 <= number <= len(views):
        raise HTTPException(404, f"no camera {number}; see /api/v1/cameras")
    return number, views[number - 1]


def number_param(request: Request, name: str, low: float, high: float) -> float | None:
    """A number of the query; None when it is missing. Raises HTTPException 400 outside ``low`` to ``high``."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise HTTPException(400, f"{name}: give a number from {low:g} to {high:g}")
    return value


def event_filter(request: Request) -> EventFilter:
    """The filter of a query: since, until (Unix times), camera and kind (both repeatable), without the cameras that the
    user may not see. Raises HTTPException 400."""
    since_s, until_s = (number_param(request, name, 0, MAX_TIME_S) for name in ("since", "until"))
    kinds = request.query_params.getlist("kind")
    if not set(kinds) <= {kind.value for kind in EventKind}:
        raise HTTPException(400, f"kind: use {', '.join(EventKind)}")
    cameras = request.query_params.getlist("camera")
    if len(cameras) > 100 or len(kinds) > 100 or any("\x00" in name or len(name) > 200 for name in cameras):
        raise HTTPException(400, "camera: give at most 100 names of at most 200 characters")
    return user_of(request).narrow(EventFilter(since_s, until_s, tuple(cameras), tuple(kinds)))


async def _session(request: Request) -> Response:
    return json_response(SessionRecord(csrf=request.scope["caller"].csrf))


async def _status(request: Request) -> Response:
    return json_response(site_of(request).status(user_of(request)))


async def _cameras(request: Request) -> Response:
    return json_response(CameraList(cameras=site_of(request).status(user_of(request)).cameras))


async def _camera(request: Request) -> Response:
    number, view = _camera_view(request)
    return json_response(camera_record(number, view, site_of(request).mutes.until_s(view.camera)))


async def _camera_image(request: Request) -> Response:
    number, view = _camera_view(request)
    try:
        encoded = await site_of(request).streams.latest(number - 1)
    except IndexError:
        encoded = EncodedFrame(b"", 0)
    if encoded.view is None or encoded.view.camera != view.camera:  # cameras were removed meanwhile
        raise HTTPException(404, f"no camera {number}; see /api/v1/cameras")
    name = f"maskwatch-camera{number}.jpg"
    disposition = "attachment" if "download" in request.query_params else "inline"
    return Response(
        encoded.jpeg, headers={"Content-Disposition": f'{disposition}; filename="{name}"'}, media_type="image/jpeg"
    )


async def _camera_stream(request: Request) -> ASGIApp:
    number, view = _camera_view(request)
    return MjpegResponse(_streams(request), {number - 1: view.camera})


async def _live(request: Request) -> ASGIApp:
    """All cameras that the user may see, or those of the query, over one connection."""
    user, views = user_of(request), site_of(request).monitor.views()
    seen = [number for number, view in enumerate(views, 1) if user.sees(view.camera)]
    given = request.query_params.getlist("camera")
    numbers = [int(each) if each.isdecimal() and len(each) < 6 else 0 for each in given] or seen
    if missing := [each for each in numbers if each not in seen]:
        raise HTTPException(404, f"no camera {missing[0]}; there are {len(seen)}")
    request.scope["target"] = ", ".join(views[each - 1].camera for each in dict.fromkeys(numbers))
    usual_px = next(px for most, px in TILES_PX.items() if len(numbers) <= most)
    wanted_px = number_param(request, "width", 1, 10_000) or usual_px
    width_px = next((each for each in WIDTHS_PX if each >= wanted_px), WIDTHS_PX[-1])
    return LiveResponse(_streams(request), {each - 1: views[each - 1].camera for each in numbers}, width_px)


def _streams(request: Request) -> LiveStreams:
    streams = site_of(request).streams
    if streams.is_full:
        raise HTTPException(503, "too many viewers; try again later", {"Retry-After": "10"})
    return streams


@_form_action("muted")
async def _mute(request: Request) -> Response:
    _, view = _camera_view(request)
    mute = _validate(Mute, await _read_fields(request))
    assert isinstance(mute, Mute)
    return json_response(Muted(muted_until_s=site_of(request).mutes.mute(view.camera, mute.minutes * 60.0)))


@_form_action("unmuted")
async def _unmute(request: Request) -> Response:
    _, view = _camera_view(request)
    site_of(request).mutes.unmute(view.camera)
    return json_response(Muted(muted_until_s=None))


@_form_action("turned")
async def _turn(request: Request) -> Response:
    _, view = _camera_view(request)
    site_of(request).turns.append(view.camera)
    return json_response(Turned(camera=view.camera))


async def _events(request: Request) -> Response:
    site, query = site_of(request), event_filter(request)
    limit = int(number_param(request, "limit", 1, MAX_EVENTS) or 50)
    records = await site.run_in_worker(lambda: site.event_records(site.history.events(query, limit)))
    return json_response(EventList(events=records))


async def _events_csv(request: Request) -> Response:
    site, query = site_of(request), event_filter(request)

    def to_csv() -> str:
        file = io.StringIO()
        write_csv(site.history.events(query, MAX_CSV_EVENTS)[::-1], file)
        return file.getvalue()

    headers = {"Content-Disposition": 'attachment; filename="maskwatch-events.csv"'}
    return Response(await site.run_in_worker(to_csv), headers=headers, media_type="text/csv")


async def _event(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    event = await site.run_in_worker(lambda: site.find_event(event_id))
    if event is None:
        raise HTTPException(404, "no such event; see /api/v1/events")
    return json_response((await site.run_in_worker(lambda: site.event_records([event])))[0])


async def _event_snapshot(request: Request) -> Response:
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


@_form_action("acknowledged")
async def _acknowledge(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    if await site.run_in_worker(lambda: site.find_event(event_id)) is None:
        raise HTTPException(404, "no such alert; see /api/v1/alerts")
    actor = actor_of(request)
    wall_s = await site.run_in_worker(lambda: site.history.acknowledge(event_id, actor))
    return json_response(Acknowledged(id=event_id, acknowledged_s=wall_s))


@_form_action("acknowledged")
async def _acknowledge_all(request: Request) -> Response:
    site, actor = site_of(request), actor_of(request)
    fields = await _read_fields(request)
    if await _is_form(request):  # one field for each event
        fields = {"ids": parse_qs((await request.body()).decode("utf-8", "replace")).get("id", [])}
        if not fields["ids"]:
            raise HTTPException(400, "no event is selected; select some in the list")
    ids, user = _validate(EventIds, fields), user_of(request)
    assert isinstance(ids, EventIds)

    def acknowledge() -> list[str]:
        found = [site.find_event(event_id) for event_id in ids.ids]
        known = [event.id for event in found if event is not None and user.sees(event.camera)]
        for event_id in known:
            site.history.acknowledge(event_id, actor)
        return known

    known = await site.run_in_worker(acknowledge)
    request.scope["target"] = " ".join(known)
    return json_response(AllAcknowledged(acknowledged=len(known)))


@_form_action("judged")
async def _judge(request: Request) -> Response:
    site, event_id, actor = site_of(request), request.path_params["event"], actor_of(request)
    judgement = _validate(Judgement, await _read_fields(request))
    assert isinstance(judgement, Judgement)
    if await site.run_in_worker(lambda: site.find_event(event_id)) is None:
        raise HTTPException(404, "no such event; see /api/v1/events")
    verdict, label = judgement.verdict.value, judgement.label if judgement.verdict is Verdict.WRONG_LABEL else ""
    marks = await site.run_in_worker(lambda: site.judge(event_id, verdict, label, actor))
    return json_response(Judged(id=event_id, verdict=verdict, label=label, verdict_s=marks.verdict_s or 0.0))


@_form_action("labelled")
async def _label_face(request: Request) -> Response:
    site, face_id, actor = site_of(request), request.path_params["face"], actor_of(request)
    given = _validate(FaceLabelling, await _read_fields(request))
    assert isinstance(given, FaceLabelling)
    box = None if given.box is None else Box(*given.box)
    try:
        face = await site.run_in_worker(lambda: site.label_face(face_id, given.label, box, actor))
    except OSError as error:
        raise HTTPException(503, f"cannot store the label: {error.strerror}; check the disk") from error
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    if face is None:
        raise HTTPException(404, "no such collected face; it may have been deleted")
    return json_response(Labelled(id=face_id, label=given.label))


async def _face_picture(request: Request) -> Response:
    """The scene of a collected face, or its crop if that is all there is."""
    folder, face_id = site_of(request).collected.folder, request.path_params["face"]
    read = site_of(request).run_in_worker
    jpeg = await read(lambda: folder.read(face_id, SCENE) or folder.read(face_id, CROP))
    if jpeg is None:
        raise HTTPException(404, "no such collected face; it may have been deleted")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


@_form_action("tested")
async def _test_alert(request: Request) -> Response:
    site = site_of(request)
    if not site.settings.alerts.channels:
        raise HTTPException(409, "no alert channel is configured; add [[alerts.channels]] to the settings file")
    results = await site.run_in_worker(site.test_channels)
    if results is None:
        raise HTTPException(409, "a test alert is already being sent; try again later")
    site.last_test = results
    return json_response(TestResults(results=results))


async def _push_key(request: Request) -> Response:
    site = site_of(request)
    channel = push.channel_of(site)
    return json_response(push.PushKey(key=await site.run_in_worker(lambda: push.public_key(channel))))


async def _subscribe(request: Request) -> Response:
    site, given = site_of(request), _validate(push.Subscription, await _read_fields(request))
    assert isinstance(given, push.Subscription)
    channel = push.channel_of(site)
    return json_response(await site.run_in_worker(lambda: push.subscribe(channel, given, request)))


async def _unsubscribe(request: Request) -> Response:
    site, given = site_of(request), _validate(push.Endpoint, await _read_fields(request))
    assert isinstance(given, push.Endpoint)
    store = PushStore(push.channel_of(site).store)
    return json_response(push.Unsubscribed(removed=await site.run_in_worker(lambda: store.remove(given.endpoint))))


async def _compliance(request: Request) -> Response:
    site, query = site_of(request), event_filter(request)
    rows = await site.run_in_worker(lambda: site.history.hours(query))
    return json_response(
        Compliance(hours=[hour_record(row) for row in rows if not row.is_empty], total=hour_record(total(rows)))
    )


async def _event_stream(request: Request) -> ASGIApp:
    feed = site_of(request).feed
    if feed.is_full:
        raise HTTPException(503, "too many open event streams; try again later", {"Retry-After": "10"})
    request.scope["target"] = "live"
    return EventStreamResponse(feed, request.query_params.get("after", ""))


async def _openapi(request: Request) -> Response:
    return JSONResponse(openapi.document(request.scope["root"]))


def routes() -> list[Route]:
    get, post = ["GET"], ["POST"]
    table: list[tuple[str, Callable[[Request], Awaitable[ASGIApp]], list[str]]] = [
        ("/session", _session, get),
        ("/status", _status, get),
        ("/cameras", _cameras, get),
        ("/cameras/{camera:int}", _camera, get),
        ("/cameras/{camera:int}/picture.jpg", _camera_image, get),
        ("/cameras/{camera:int}/stream.mjpeg", _camera_stream, get),
        ("/live", _live, get),
        ("/cameras/{camera:int}/mute", _mute, post),
        ("/cameras/{camera:int}/unmute", _unmute, post),
        ("/cameras/{camera:int}/turn", _turn, post),
        ("/events", _events, get),
        ("/events.csv", _events_csv, get),
        # An event id contains the camera name, so it may contain '/'. It ends in a number, as none of these paths does.
        ("/events/{event:path}/picture.jpg", _event_snapshot, get),
        ("/events/{event:path}/clip.mp4", clip_video, get),
        ("/events/{event:path}/clip.json", clip_boxes, get),
        ("/events/{event:path}/clip.jpg", clip_poster, get),
        ("/events/{event:path}/verdict", _judge, post),
        ("/events/{event:path}", _event, get),
        ("/faces/{face:path}/picture.jpg", _face_picture, get),
        ("/faces/{face:path}/label", _label_face, post),
        ("/day.zip", day_archive, get),
        ("/alerts", _alerts, get),
        ("/alerts/test", _test_alert, post),
        ("/alerts/acknowledge", _acknowledge_all, post),
        ("/alerts/{event:path}/acknowledge", _acknowledge, post),
        ("/push", _push_key, get),
        ("/push/subscribe", _subscribe, post),
        ("/push/unsubscribe", _unsubscribe, post),
        ("/compliance", _compliance, get),
        ("/stream", _event_stream, get),
        ("/openapi.json", _openapi, get),
        *SetupApi(site_of, _read_record).routes(),
    ]
    return [Route(PREFIX + path, _with_store_errors(handler), methods=methods) for path, handler, methods in table]


def _with_store_errors(handler: Callable[[Request], Awaitable[ASGIApp]]) -> Callable[[Request], Awaitable[ASGIApp]]:
    """Answers 503 when the event store raises StoreError."""

    @wraps(handler)
    async def run(request: Request) -> ASGIApp:
        try:
            return await handler(request)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, 503)

    return run
