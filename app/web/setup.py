"""Setting up in the web view: changes of the settings file, and addresses that are tried before they are added."""

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import cv2
import numpy as np
from pydantic import ValidationError

from app.capture.onvif import OnvifDevice, OnvifProfile, find_devices, read_profiles
from app.capture.preview import try_source
from app.core.errors import SettingsError
from app.core.types import Image
from app.settings.change import Change, ConflictError, SettingsFile, changed_text, is_same_host, revision_of
from app.settings.root import Settings
from app.settings.source import SourceSettings

T = TypeVar("T")
_APPLY_S = 20.0
"""How long the main thread may take to use new settings; it reads them several times a second."""
TRY_S = 15.0
_MAX_TRIED = 20
_WIDTH_PX, _BLURRED_PX = 640, 24


@dataclass(frozen=True, slots=True)
class Tried:
    """An address with its login, which pages never show, and what came of it: ``jpeg``, or ``reason`` if it failed;
    neither if it was not tried yet."""

    settings: SourceSettings = field(repr=False)
    camera: str = ""
    """The camera that gets the address; '' for a new one."""
    has_new_login: bool = True
    jpeg: bytes = field(default=b"", repr=False)
    size_px: tuple[int, int] = (0, 0)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    revision: str
    applied: list[str]
    needs_restart: list[str]


class Setup:
    """``file``: the settings file; None if there is none to write. ``restart``: the settings of the file that need a
    restart. Not thread-safe: the handlers of requests use it, and ``reloads`` the main thread."""

    def __init__(self) -> None:
        self.file: SettingsFile | None = None
        self.reloads: deque[tuple[Settings, Future[list[str]]]] = deque()
        """Settings to use, and where the main thread puts the places that need a restart."""
        self.restart: list[str] = []
        self.find_devices: Callable[[], list[OnvifDevice]] = find_devices
        self._tried: OrderedDict[str, Tried] = OrderedDict()
        self._lock = asyncio.Lock()
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="web-setup")
        self._is_closed = False

    async def run(self, task: Callable[[], T]) -> T:
        """Runs what waits for a camera or the disk, beside the workers that draw the live pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, copy_context().run, task)

    async def read(self, used: Settings) -> tuple[str, Settings, str]:
        """The text of the file, the settings of a run with it, and why it cannot be changed. ``used``: the settings if
        it cannot be read."""
        try:
            file = self._writable()
            text = await self.run(file.read)
            return text, await self.run(lambda: file.load(text)), file.fault
        except SettingsError as error:
            return "", used, str(error)

    def _writable(self) -> SettingsFile:
        """Raises ConflictError if there is no file."""
        if self.file is None:
            raise ConflictError(
                "maskwatch was started without a settings file, so nothing can be saved; start it with --config FILE"
            )
        return self.file

    async def save(self, changes: Sequence[Change], revision: str) -> Saved:
        """Writes ``changes`` and uses them. Raises SettingsError."""
        file = self._writable()
        return await self._use(lambda: file.change(revision, changes), [change.path for change in changes])

    async def undo(self, revision: str = "") -> Saved:
        """Takes the last change back. Raises SettingsError."""
        file = self._writable()
        return await self._use(lambda: file.undo(revision or revision_of(file.read())), [])

    async def _use(self, write: Callable[[], Settings], paths: list[str]) -> Saved:
        file = self._writable()
        async with self._lock:
            settings, done = await self.run(write), Future[list[str]]()
            self.reloads.append((settings, done))
            try:
                self.restart = await asyncio.wait_for(asyncio.wrap_future(done), _APPLY_S)
            except TimeoutError:
                self.restart = paths
            revision = await self.run(lambda: revision_of(file.read()))
        return Saved(revision, [path for path in paths if path not in self.restart], self.restart)

    async def try_address(self, tried: Tried, blur: bool) -> tuple[str, Tried]:
        """Opens the address. Returns the outcome and the key that finds it again."""
        image, reason = await self.run(lambda: try_source(tried.settings, TRY_S, lambda: self._is_closed))
        size_px = (0, 0) if image is None else (image.shape[1], image.shape[0])
        jpeg = b"" if image is None else await self.run(lambda: _jpeg(image, blur))
        tried = replace(tried, jpeg=jpeg, size_px=size_px, reason=reason)
        return self.keep(tried), tried

    def keep(self, tried: Tried) -> str:
        """A key that finds ``tried`` again, as long as not too many others follow."""
        key = secrets.token_urlsafe(12)
        self._tried[key] = tried
        while len(self._tried) > _MAX_TRIED:
            self._tried.popitem(last=False)
        return key

    def tried(self, key: str) -> Tried | None:
        return self._tried.get(key)

    async def profiles(self, address: str, username: str, password: str) -> list[tuple[str, OnvifProfile]]:
        """The streams of an ONVIF camera, each with the key of its address. Raises SourceError, SettingsError."""
        if not address.lower().startswith(("http://", "https://")):
            raise SettingsError("give the address of a device service, such as http://10.0.0.7/onvif/device_service")
        found = await self.run(lambda: read_profiles(address, username, password, lambda: self._is_closed))
        sources = [source_of(each.uri, username, password, main_stream_of(each, found)) for each in found]
        return [(self.keep(Tried(source)), each) for source, each in zip(sources, found, strict=True)]

    def close(self, wait: bool) -> None:
        self._is_closed = True
        self._workers.shutdown(wait=wait, cancel_futures=True)


def main_stream_of(profile: OnvifProfile, profiles: Sequence[OnvifProfile]) -> str:
    """The address of the largest stream of the same lens, for snapshots and clips; '' if it is ``profile`` itself or
    cannot be used beside it."""
    main = next(each for each in profiles if each.source == profile.source)  # the largest is the first
    is_usable = main.uri.lower().startswith(("rtsp://", "rtsps://")) and is_same_host(profile.uri, main.uri)
    return main.uri if is_usable and main.width_px > profile.width_px else ""


def source_of(uri: str, username: str, password: str, main_uri: str = "") -> SourceSettings:
    """Raises SettingsError if a page must not use the address or it is invalid."""
    values: dict[str, Any] = {"uri": uri.strip()}
    given = {"username": username, "password": password, "main_uri": main_uri}
    values |= {name: text for name, text in given.items() if text}
    changed_text("", [Change("camera.new", values)])
    try:
        return SourceSettings.model_validate({**values, "open_timeout_s": 6.0, "read_timeout_s": 6.0})
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise SettingsError(f"the address {reason.removeprefix('Value error, ')}") from error


def _jpeg(image: Image, blur: bool) -> bytes:
    """A small picture; one in which nobody can be recognised if ``blur``, as nothing has searched its faces."""
    for width_px in (_BLURRED_PX, _WIDTH_PX) if blur else (min(_WIDTH_PX, image.shape[1]),):
        size_px = width_px, max(1, round(width_px * image.shape[0] / image.shape[1]))
        image = np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
