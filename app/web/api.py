"""The JSON API under /api/v1. Its POSTs also take plain HTML forms, and then answer with the page they came from."""

import io
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.alerts.export import total, write_csv
from app.alerts.store_types import EventFilter, StoreError
from app.core.types import EventKind
from app.pipeline.monitor import CameraView
from app.web import openapi
from app.web.middleware import CSRF_FIELD, FORM, form_of
from app.web.mjpeg import MjpegResponse
from app.web.schemas import (
    Acknowledged,
    CameraList,
    Compliance,
    EventList,
    Mute,
    Muted,
    Record,
    SessionRecord,
    TestResults,
    camera_record,
    hour_record,
)
from app.web.site import Site
from app.web.sse import EventStreamResponse

PREFIX = "/api/v1"
MAX_EVENTS = 500
MAX_CSV_EVENTS = 100_000
MAX_TIME_S = 1e10
PAGES = ("/", "/events", "/trends", "/health")

Handler = Callable[[Request], Awaitable[Response]]


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


def answer(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")


def _action(words: str) -> Callable[[Handler], Handler]:
    """A POST. A form is answered by the page it came from, which says ``words``, a key of ``pages.SAID``."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def run(request: Request) -> Response:
            response = await handler(request)
            if not await _is_form(request):
                return response
            back = form_of(await request.body()).get("back", "/")
            page = back if back in PAGES else "/"
            return RedirectResponse(f"{page}?said={words}", 303)

        return run

    return decorate


async def _is_form(request: Request) -> bool:
    """Whether it holds fields of a form. JSON is called a form too by ``curl -d``, unless told otherwise."""
    is_called = request.headers.get("content-type", "").partition(";")[0].strip() == FORM
    return is_called and not (await request.body()).lstrip().startswith(b"{")


async def _given(request: Request) -> Mapping[str, object]:
    """The fields of a form or a JSON object; an empty body is an empty object."""
    body = await request.body()
    if await _is_form(request):
        fields = {key: value for key, value in form_of(body).items() if key not in (CSRF_FIELD, "back")}
        return {key: int(value) if value.isdecimal() and len(value) < 10 else value for key, value in fields.items()}
    if not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON") from error
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is no JSON object")
    return found


def _checked(model: type[BaseModel], values: Mapping[str, object]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "body"
        raise HTTPException(400, f"{place}: {fault['msg']}") from error


def _view(request: Request) -> tuple[int, CameraView]:
    number = int(request.path_params["camera"])
    views = site_of(request).monitor.views()
    if not 1 <= number <= len(views):
        raise HTTPException(404, "no such camera")
    return number, views[number - 1]


def number_of(request: Request, name: str, low: float, high: float) -> float | None:
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


def wanted(request: Request) -> EventFilter:
    """The filter of a query: since, until (Unix times), camera and kind (both may be repeated)."""
    since_s, until_s = (number_of(request, name, 0, MAX_TIME_S) for name in ("since", "until"))
    kinds = request.query_params.getlist("kind")
    if not set(kinds) <= {kind.value for kind in EventKind}:
        raise HTTPException(400, f"kind: use {', '.join(EventKind)}")
    cameras = request.query_params.getlist("camera")
    if len(cameras) > 100 or len(kinds) > 100 or any("\x00" in name or len(name) > 200 for name in cameras):
        raise HTTPException(400, "camera: no such name")
    return EventFilter(since_s, until_s, tuple(cameras), tuple(kinds))


async def _session(request: Request) -> Response:
    return answer(SessionRecord(csrf=request.scope["caller"].csrf))


async def _status(request: Request) -> Response:
    return answer(site_of(request).status())


async def _cameras(request: Request) -> Response:
    return answer(CameraList(cameras=site_of(request).status().cameras))


async def _camera(request: Request) -> Response:
    number, view = _view(request)
    return answer(camera_record(number, view, site_of(request).mutes.until_s(view.camera)))


async def _camera_picture(request: Request) -> Response:
    number, _ = _view(request)
    picture = await site_of(request).pictures.newest(number - 1)
    name = f"maskwatch-camera{number}.jpg"
    way = "attachment" if "download" in request.query_params else "inline"
    return Response(picture.jpeg, headers={"Content-Disposition": f'{way}; filename="{name}"'}, media_type="image/jpeg")


async def _camera_stream(request: Request) -> ASGIApp:
    number, _ = _view(request)
    pictures = site_of(request).pictures
    if pictures.is_full:
        raise HTTPException(503, "too many viewers; try again later", {"Retry-After": "10"})
    return MjpegResponse(pictures, number - 1)


@_action("muted")
async def _mute(request: Request) -> Response:
    _, view = _view(request)
    mute = _checked(Mute, await _given(request))
    assert isinstance(mute, Mute)
    return answer(Muted(muted_until_s=site_of(request).mutes.mute(view.camera, mute.minutes * 60.0)))


@_action("unmuted")
async def _unmute(request: Request) -> Response:
    _, view = _view(request)
    site_of(request).mutes.unmute(view.camera)
    return answer(Muted(muted_until_s=None))


async def _events(request: Request) -> Response:
    site, only = site_of(request), wanted(request)
    limit = int(number_of(request, "limit", 1, MAX_EVENTS) or 50)
    records = await site.work(lambda: site.event_records(site.history.events(only, limit)))
    return answer(EventList(events=records))


async def _events_csv(request: Request) -> Response:
    site, only = site_of(request), wanted(request)

    def text() -> str:
        file = io.StringIO()
        write_csv(site.history.events(only, MAX_CSV_EVENTS)[::-1], file)
        return file.getvalue()

    headers = {"Content-Disposition": 'attachment; filename="maskwatch-events.csv"'}
    return Response(await site.work(text), headers=headers, media_type="text/csv")


async def _event(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    event = await site.work(lambda: site.find_event(event_id))
    if event is None:
        raise HTTPException(404, "no such event")
    return answer((await site.work(lambda: site.event_records([event])))[0])


async def _event_picture(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    jpeg = await site.work(lambda: site.history.picture(event_id))
    if jpeg is None:
        raise HTTPException(404, "no picture is kept of it")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


async def _alerts(request: Request) -> Response:
    return answer(EventList(events=site_of(request).status().alerts[::-1]))


@_action("acknowledged")
async def _acknowledge(request: Request) -> Response:
    site, event_id = site_of(request), request.path_params["event"]
    if await site.work(lambda: site.find_event(event_id)) is None:
        raise HTTPException(404, "no such alert")
    wall_s = await site.work(lambda: site.history.acknowledge(event_id))
    return answer(Acknowledged(id=event_id, acknowledged_s=wall_s))


@_action("tested")
async def _test(request: Request) -> Response:
    site = site_of(request)
    if not site.settings.alerts.channels:
        raise HTTPException(409, "no alert channel is set up; add [[alerts.channels]] to the settings file")
    results = await site.work(site.test_channels)
    if results is None:
        raise HTTPException(409, "a test is under way")
    site.last_test = results
    return answer(TestResults(results=results))


async def _compliance(request: Request) -> Response:
    site, only = site_of(request), wanted(request)
    rows = await site.work(lambda: site.history.hours(only))
    return answer(Compliance(hours=[hour_record(row) for row in rows], total=hour_record(total(rows))))


async def _feed(request: Request) -> ASGIApp:
    feed = site_of(request).feed
    if feed.is_full:
        raise HTTPException(503, "too many readers; try again later", {"Retry-After": "10"})
    return EventStreamResponse(feed, request.query_params.get("after", ""))


async def _document(request: Request) -> Response:  # noqa: ARG001 - a handler's form
    return JSONResponse(openapi.document())


def routes() -> list[Route]:
    get, post = ["GET"], ["POST"]
    table: list[tuple[str, Callable[[Request], Awaitable[ASGIApp]], list[str]]] = [
        ("/session", _session, get),
        ("/status", _status, get),
        ("/cameras", _cameras, get),
        ("/cameras/{camera:int}", _camera, get),
        ("/cameras/{camera:int}/picture.jpg", _camera_picture, get),
        ("/cameras/{camera:int}/stream.mjpeg", _camera_stream, get),
        ("/cameras/{camera:int}/mute", _mute, post),
        ("/cameras/{camera:int}/unmute", _unmute, post),
        ("/events", _events, get),
        ("/events.csv", _events_csv, get),
        # An event's id holds its camera's name, so '/' too, and ends in a number: no id ends as these addresses do.
        ("/events/{event:path}/picture.jpg", _event_picture, get),
        ("/events/{event:path}", _event, get),
        ("/alerts", _alerts, get),
        ("/alerts/test", _test, post),
        ("/alerts/{event:path}/acknowledge", _acknowledge, post),
        ("/compliance", _compliance, get),
        ("/stream", _feed, get),
        ("/openapi.json", _document, get),
    ]
    return [Route(PREFIX + path, _quietly(handler), methods=methods) for path, handler, methods in table]


def _quietly(handler: Callable[[Request], Awaitable[ASGIApp]]) -> Callable[[Request], Awaitable[ASGIApp]]:
    """A fault of the event file is an answer, not a crash."""

    @wraps(handler)
    async def run(request: Request) -> ASGIApp:
        try:
            return await handler(request)
        except StoreError as error:
            return JSONResponse({"error": str(error)}, 503)

    return run
