"""The JSON API under /api/v1. Its POST routes also accept HTML forms and then redirect to the page of the form."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from app.web import camera_api, event_api, openapi, push, setup_api
from app.web.handling import ApiRoute, json_response, site_of
from app.web.schemas import SessionRecord
from app.web.sse import EventStreamResponse

PREFIX = "/api/v1"


def routes() -> list[Route]:
    table: list[ApiRoute] = [
        ("/session", _session, "GET"),
        ("/stream", _event_stream, "GET"),
        ("/openapi.json", _openapi, "GET"),
        *camera_api.routes(),
        *event_api.routes(),
        *push.routes(),
        *setup_api.routes(),
    ]
    return [Route(PREFIX + path, handler, methods=methods.split()) for path, handler, methods in table]


async def _session(request: Request) -> Response:
    return json_response(SessionRecord(csrf=request.scope["caller"].csrf))


async def _event_stream(request: Request) -> ASGIApp:
    feed = site_of(request).feed
    if feed.is_full:
        raise HTTPException(503, "too many open event streams; try again later", {"Retry-After": "10"})
    request.scope["target"] = "live"
    return EventStreamResponse(feed, request.query_params.get("after", ""))


async def _openapi(request: Request) -> Response:
    return JSONResponse(openapi.document(request.scope["root"]))
