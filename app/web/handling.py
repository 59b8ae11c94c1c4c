"""What the handlers read from a request, and how forms and programs are answered."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from app.alerts.store_types import EventFilter
from app.core.types import EventKind
from app.web.middleware import CSRF_FIELD, FORM, parse_form
from app.web.people import LOCAL, TOKEN, User
from app.web.schemas import Record
from app.web.site import Site

MAX_TIME_S = 1e10
PAGES = ("/", "/wall", "/events", "/review", "/label", "/trends", "/health", "/setup/channels")
"""The pages to which a form may return."""

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]
ApiRoute = tuple[str, Callable[[Request], Awaitable[ASGIApp]], str]
"""Path, handler and methods."""


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


def form_action(outcome: str) -> Callable[[Handler], Handler]:
    """Redirects an HTML form back to its page, which shows ``pages.CONFIRMATIONS[outcome]``."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def run(request: Request) -> Response:
            response = await handler(request)
            if not await is_form(request):
                return response
            back = parse_form(await request.body()).get("back", "/")
            page, _, query = back.partition("?")
            kept = [(name, value) for name, value in parse_qsl(query) if name != "said"] if page in PAGES else []
            page = page if page in PAGES else "/"
            return RedirectResponse(f"{request.scope['root']}{page}?{urlencode([*kept, ('said', outcome)])}", 303)

        return run

    return decorate


async def is_form(request: Request) -> bool:
    """Whether the body holds form fields; ``curl -d`` sends JSON with the form content type too."""
    has_form_type = request.headers.get("content-type", "").partition(";")[0].strip() == FORM
    return has_form_type and not (await request.body()).lstrip().startswith(b"{")


async def read(request: Request, model: type[M]) -> M:
    """The fields of a form or of a JSON object; an empty body gives no fields. Raises HTTPException 400."""
    body = await request.body()
    if await is_form(request):
        fields = {key: value for key, value in parse_form(body).items() if key not in (CSRF_FIELD, "back")}
        numbers = {key: int(value) for key, value in fields.items() if value.isdecimal() and len(value) < 10}
        return validated(model, {**fields, **numbers})
    try:
        given = json.loads(body or b"{}")
        json.dumps(given, ensure_ascii=False).encode()  # fails for half a surrogate pair, which nothing can store
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, 'the body is not valid JSON; send an object such as {"minutes": 30}') from error
    if not isinstance(given, dict):
        raise HTTPException(400, 'the body is not a JSON object; send one such as {"minutes": 30}')
    return validated(model, given)


def validated(model: type[M], values: Mapping[str, object]) -> M:
    """Raises HTTPException 400."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        raise HTTPException(400, f"{field}: {problem['msg']}") from error


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
