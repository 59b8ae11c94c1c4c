"""The routes of the API that read and change the settings, and try cameras before they are added."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.core.errors import MaskwatchError
from app.core.secrets import redact
from app.settings.change import Change, ChangedError, editable, revision_of
from app.settings.toml import redacted_tables
from app.web.schemas import (
    Devices,
    OnvifLogin,
    Profiles,
    Record,
    SavedSettings,
    SettingsChanges,
    SettingsRecord,
    TriedAddress,
    TryAddress,
)
from app.web.setup import Saved, Setup, Tried, source_of
from app.web.site import Site

Handler = Callable[[Request], Awaitable[Response]]


class SetupApi:
    """``read``: gives the valid body of a request."""

    def __init__(
        self, site_of: Callable[[Request], Site], read: Callable[[Request, type[Record]], Awaitable[Record]]
    ) -> None:
        self._site_of = site_of
        self._read = read

    def routes(self) -> list[tuple[str, Handler, list[str]]]:
        get, post = ["GET"], ["POST"]
        return [
            ("/settings", _answered(self._settings), get),
            ("/settings", _answered(self._change), post),
            ("/settings/undo", _answered(self._undo), post),
            ("/setup/try", _answered(self._try), post),
            ("/setup/tried/{key}/picture.jpg", self.picture, get),
            ("/setup/discover", _answered(self._discover), post),
            ("/setup/profiles", _answered(self._profiles), post),
        ]

    def _setup(self, request: Request) -> Setup:
        return self._site_of(request).setup

    async def _settings(self, request: Request) -> Record:
        site, file = self._site_of(request), self._setup(request).file
        text = "" if file is None else await site.setup.run(file.read)
        settings = site.settings if file is None else await site.setup.run(lambda: file.load(text))
        return SettingsRecord(
            revision=revision_of(text),
            file=None if file is None else file.path.name,
            settings=redacted_tables(settings),
            editable=editable(),
        )

    async def _change(self, request: Request) -> Record:
        given = await self._read(request, SettingsChanges)
        assert isinstance(given, SettingsChanges)
        changes = [Change(each.path, each.value) for each in given.changes]
        return _saved(await self._setup(request).save(changes, given.revision))

    async def _undo(self, request: Request) -> Record:
        return _saved(await self._setup(request).undo())

    async def _try(self, request: Request) -> Record:
        given = await self._read(request, TryAddress)
        assert isinstance(given, TryAddress)
        setup, blur = self._setup(request), self._site_of(request).settings.view.blur
        key = await setup.try_address(Tried(source_of(given.uri, given.username, given.password)), blur)
        tried = setup.tried(key)
        assert tried is not None
        width_px, height_px = tried.size_px
        return TriedAddress(key=key, ok=bool(tried.jpeg), reason=tried.reason, width_px=width_px, height_px=height_px)

    async def picture(self, request: Request) -> Response:
        tried = self._setup(request).tried(request.path_params["key"])
        if tried is None or not tried.jpeg:
            raise HTTPException(404, "there is no picture of this address; try it again")
        return Response(tried.jpeg, media_type="image/jpeg")

    async def _discover(self, request: Request) -> Record:
        setup = self._setup(request)
        return Devices(devices=[asdict(each) for each in await setup.run(setup.find_devices)])

    async def _profiles(self, request: Request) -> Record:
        given = await self._read(request, OnvifLogin)
        assert isinstance(given, OnvifLogin)
        found = await self._setup(request).profiles(given.address, given.username, given.password)
        return Profiles(profiles=[asdict(each) for _, each in found])


def _saved(saved: Saved) -> SavedSettings:
    return SavedSettings(**asdict(saved))


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
    return 409 if isinstance(error, ChangedError) else 400
