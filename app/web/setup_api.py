"""The routes of the API that read and change the settings, and try an address before it is added."""

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import MaskwatchError, SettingsError
from app.core.secrets import redact
from app.settings.change import Change, ConflictError, editable, revision_of
from app.settings.toml import redacted_tables
from app.web.handling import ApiRoute, Handler, json_response, read, site_of
from app.web.schemas import Record, SavedSettings, SettingsChanges, SettingsRecord, TriedAddress, TryAddress
from app.web.setup import Tried, source_of


def routes() -> list[ApiRoute]:
    return [
        ("/settings", _answered(_settings), "GET POST"),
        ("/settings/undo", _answered(_undo), "POST"),
        ("/setup/try", _answered(_try), "POST"),
        ("/setup/tried/{key}/picture.jpg", _picture, "GET"),
    ]


def _answered(handler: Callable[[Request], Awaitable[Record]]) -> Handler:
    @wraps(handler)
    async def run(request: Request) -> Response:
        try:
            return json_response(await handler(request))
        except MaskwatchError as error:
            raise HTTPException(status_of(error), redact(str(error))) from error

    return run


def status_of(error: MaskwatchError) -> int:
    return 409 if isinstance(error, ConflictError) else 400


async def _settings(request: Request) -> Record:
    if request.method == "POST":
        return await _change(request)
    site, setup = site_of(request), site_of(request).setup
    text, settings, _ = await setup.read(site.settings)
    name = None if setup.file is None else setup.file.path.name
    tables = redacted_tables(settings)
    return SettingsRecord(revision=revision_of(text), file=name, settings=tables, editable=sorted(editable()))


async def _change(request: Request) -> Record:
    given = await read(request, SettingsChanges)
    changes = [Change(each.path, each.value) for each in given.changes]
    request.scope["target"] = ", ".join(each.path for each in changes)  # for the audit log
    return SavedSettings.of(await site_of(request).setup.save(changes, given.revision))


async def _undo(request: Request) -> Record:
    return SavedSettings.of(await site_of(request).setup.undo())


async def _try(request: Request) -> Record:
    given, site = await read(request, TryAddress), site_of(request)
    try:
        source = source_of(given.uri, given.username, given.password)
    except SettingsError as error:
        return TriedAddress(key="", ok=False, reason=str(error), width_px=0, height_px=0)
    key, tried = await site.setup.try_address(Tried(source), site.settings.view.blur)
    width_px, height_px = tried.size_px
    return TriedAddress(key=key, ok=not tried.reason, reason=tried.reason, width_px=width_px, height_px=height_px)


async def _picture(request: Request) -> Response:
    tried = site_of(request).setup.tried(request.path_params["key"])
    if tried is None or not tried.jpeg:
        raise HTTPException(404, "there is no picture of this address; try it again")
    return Response(tried.jpeg, media_type="image/jpeg")
