"""The routes of the API that read and change the settings, and try an address before it is added."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import MaskwatchError, SettingsError
from app.core.secrets import redact
from app.settings.change import Change, ConflictError, editable, revision_of
from app.settings.toml import redacted_tables
from app.web.schemas import Record, SavedSettings, SettingsChanges, SettingsRecord, TriedAddress, TryAddress
from app.web.setup import Tried, source_of
from app.web.site import Site

Handler = Callable[[Request], Awaitable[Response]]


class SetupApi:
    """``read`` gives the valid body of a request."""

    def __init__(
        self, site_of: Callable[[Request], Site], read: Callable[[Request, type[Record]], Awaitable[Record]]
    ) -> None:
        self._site_of = site_of
        self._read = read

    def routes(self) -> list[tuple[str, Handler, list[str]]]:
        return [
            ("/settings", _answered(self._settings), ["GET", "POST"]),
            ("/settings/undo", _answered(self._undo), ["POST"]),
            ("/setup/try", _answered(self._try), ["POST"]),
            ("/setup/tried/{key}/picture.jpg", self._picture, ["GET"]),
        ]

    async def _settings(self, request: Request) -> Record:
        site, setup = self._site_of(request), self._site_of(request).setup
        if request.method == "POST":
            given = await self._read(request, SettingsChanges)
            assert isinstance(given, SettingsChanges)
            changes = [Change(each.path, each.value) for each in given.changes]
            request.scope["target"] = ", ".join(each.path for each in changes)  # for the audit log
            return SavedSettings(**asdict(await setup.save(changes, given.revision)))
        text, settings, _ = await setup.read(site.settings)
        name = None if setup.file is None else setup.file.path.name
        tables = redacted_tables(settings)
        return SettingsRecord(revision=revision_of(text), file=name, settings=tables, editable=sorted(editable()))

    async def _undo(self, request: Request) -> Record:
        return SavedSettings(**asdict(await self._site_of(request).setup.undo()))

    async def _try(self, request: Request) -> Record:
        given = await self._read(request, TryAddress)
        assert isinstance(given, TryAddress)
        site = self._site_of(request)
        try:
            source = source_of(given.uri, given.username, given.password)
        except SettingsError as error:
            return TriedAddress(key="", ok=False, reason=str(error), width_px=0, height_px=0)
        key, tried = await site.setup.try_address(Tried(source), site.settings.view.blur)
        width_px, height_px = tried.size_px
        return TriedAddress(key=key, ok=not tried.reason, reason=tried.reason, width_px=width_px, height_px=height_px)

    async def _picture(self, request: Request) -> Response:
        tried = self._site_of(request).setup.tried(request.path_params["key"])
        if tried is None or not tried.jpeg:
            raise HTTPException(404, "there is no picture of this address; try it again")
        return Response(tried.jpeg, media_type="image/jpeg")


def _answered(handler: Callable[[Request], Awaitable[Record]]) -> Handler:
    @wraps(handler)
    async def run(request: Request) -> Response:
        try:
            record = await handler(request)
        except MaskwatchError as error:
            raise HTTPException(status_of(error), redact(str(error))) from error
        return Response(record.model_dump_json(), media_type="application/json")

    return run


def status_of(error: MaskwatchError) -> int:
    return 409 if isinstance(error, ConflictError) else 400
