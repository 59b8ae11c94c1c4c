"""Live streams: each frame is drawn and encoded once for all viewers of a camera, and not at all without viewers."""

import asyncio
import math
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
from starlette.types import Receive, Scope, Send

from app.capture.capture import SourceState
from app.pipeline.camera import CameraView
from app.settings.web import WebSettings
from app.ui.faces import FaceOptions, canvas, draw_faces, hide_faces
from app.ui.hud import Screen, render
from app.ui.zones import draw_zones

BOUNDARY = b"maskwatch-picture"
RESEND_S = 5.0
"""Interval in which an unchanged frame is sent again, to detect dead connections."""
TILES_PX = {4: 480, math.inf: 320}
"""Width of each of so many cameras, if the viewer does not ask for another: it must not slow the analysis."""
WIDTHS_PX = (320, 480, 640, 960, 1280, 1920)
"""Widths that are encoded: few, so that viewers share them."""
STALE_STATES = (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED, SourceState.STANDBY)


class ViewSource(Protocol):
    """The part of ``Monitor`` that the web view needs."""

    def views(self) -> list[CameraView]: ...

    def show(self, indices: Iterable[int]) -> None: ...


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One JPEG; ``number`` counts the encoded frames of a camera from 1."""

    jpeg: bytes
    number: int
    view: CameraView | None = None
    blur: bool = False


class _Camera:
    """The latest encoded frame of a camera in one width, and how many watch it."""

    def __init__(self) -> None:
        self.frame = EncodedFrame(b"", 0)
        self.viewers = 0


def draw(view: CameraView, width_px: int, quality: int, blur: bool) -> bytes:
    """The JPEG of ``view``, at most ``width_px`` wide: with face boxes if it is current, darkened with a
    message if it is stale or missing."""
    if blur:
        view = view.private()
    if view.frame is not None and view.status.state not in STALE_STATES:
        board, factor = canvas(view.frame.image, width_px)
        if blur and view.analysed is not None:
            hide_faces(board, view.analysed.faces, factor)
        waiting = view.analysed.waiting if view.analysed is not None else {}
        draw_zones(board, view)
        draw_faces(board, view.tracks, factor, FaceOptions(waiting=waiting))
        image = board.image
    else:
        image = render(replace(view, alerts=()), Screen(width_px, blur=blur))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _is_unchanged(old: CameraView | None, new: CameraView) -> bool:
    if old is None:
        return False
    before, now = old.status, new.status
    return (
        old.frame is new.frame
        and old.tracks == new.tracks
        and (before.state, before.last_error) == (now.state, now.last_error)
        and (now.state not in STALE_STATES or round(old.age_s) == round(new.age_s))  # the image shows the age
    )


class LiveStreams:
    """The streams of all cameras. Runs in the event loop of the server; drawing runs in ``workers``: all new frames
    of a moment in one job, since many small ones would cost more than the drawing itself."""

    def __init__(self, monitor: ViewSource, settings: WebSettings, blur: bool, workers: Executor) -> None:
        self._monitor = monitor
        self._settings = settings
        self.blur = blur
        self._workers = workers
        self._cameras: dict[tuple[int, int], _Camera] = {}
        self._encoder: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._open = 0
        self._stopping = False

    @property
    def is_full(self) -> bool:
        return self._open >= self._settings.max_viewers

    def stats(self) -> dict[int, tuple[int, int]]:
        """(current viewers, encoded frames) by camera index, for cameras whose frames were requested."""
        totals: dict[int, tuple[int, int]] = {}
        for (index, _), camera in list(self._cameras.items()):  # another thread asks
            viewers, frames = totals.get(index, (0, 0))
            totals[index] = viewers + camera.viewers, frames + camera.frame.number
        return totals

    def stop(self) -> None:
        self._stopping = True
        self._changed.set()

    async def latest(self, index: int, width_px: int = 0) -> EncodedFrame:
        """The current frame of a camera, encoded. ``width_px``: 0 for that of the settings. Raises IndexError if the
        camera does not exist."""
        (camera,) = await self._update([self._key(index, width_px)])
        return camera.frame

    def _key(self, index: int, width_px: int) -> tuple[int, int]:
        return index, min(width_px or self._settings.max_width_px, self._settings.max_width_px)

    async def _update(self, keys: Sequence[tuple[int, int]], forgets: bool = False) -> list[_Camera]:
        """The cameras and widths of ``keys``, with their current frames. ``forgets`` the frames that nobody watches,
        which need megabytes. Raises IndexError."""
        async with self._lock:
            for camera in self._cameras.values() if forgets else ():
                if not camera.viewers:
                    camera.frame = EncodedFrame(b"", camera.frame.number)
            views, blur = self._monitor.views(), self.blur
            wanted = [(self._cameras.setdefault(key, _Camera()), views[key[0]], key[1]) for key in keys]
            new = [
                each
                for each in wanted
                if each[0].frame.blur is not blur or not _is_unchanged(each[0].frame.view, each[1])
            ]
            if new:
                quality, loop = self._settings.jpeg_quality, asyncio.get_running_loop()
                jpegs = await loop.run_in_executor(
                    self._workers, lambda: [draw(view, width_px, quality, blur) for _, view, width_px in new]
                )
                for (camera, view, _), jpeg in zip(new, jpegs, strict=True):
                    camera.frame = EncodedFrame(jpeg, camera.frame.number + 1, view, blur)
                self._changed.set()
                if not self._stopping:
                    self._changed = asyncio.Event()
        return [camera for camera, _, _ in wanted]

    async def _encode(self) -> None:
        """Encodes what is watched, at most ``max_fps`` times a second, until nobody watches."""
        loop = asyncio.get_running_loop()
        interval_s = 1.0 / self._settings.max_fps
        next_s = loop.time()
        while not self._stopping:
            keys = [key for key, camera in self._cameras.items() if camera.viewers]
            try:
                self._monitor.show({index for index, _ in keys})
                await self._update(keys, forgets=True)
            except IndexError:  # a camera was removed: no viewer waits for images that do not come
                self._changed.set()
                raise
            if not any(camera.viewers for camera in self._cameras.values()):
                return
            next_s = max(next_s, loop.time() - interval_s) + interval_s  # a late image does not lower the rate
            await asyncio.sleep(next_s - loop.time())

    @asynccontextmanager
    async def _watched(self, keys: Sequence[tuple[int, int]]) -> AsyncIterator[list[_Camera]]:
        """The cameras, whose frames are encoded meanwhile."""
        self._open += 1
        cameras: list[_Camera] = []
        try:
            for camera in await self._update(keys):
                camera.viewers += 1
                cameras.append(camera)
            if self._encoder is None or self._encoder.done():
                self._encoder = asyncio.create_task(self._encode(), name="encoder")
            yield cameras
        finally:
            self._open -= 1
            for camera in cameras:
                camera.viewers -= 1

    async def frames(self, indices: Sequence[int], width_px: int = 0) -> AsyncGenerator[list[tuple[int, EncodedFrame]]]:
        """The new frames with their camera indices until the server stops; unchanged ones again after RESEND_S. What a
        slow viewer misses is skipped, and it delays nobody. Raises IndexError if a camera does not exist."""
        async with self._watched([self._key(index, width_px) for index in indices]) as cameras:
            sent = [0] * len(cameras)
            while not self._stopping:
                changed, numbers = self._changed, [camera.frame.number for camera in cameras]
                if numbers != sent:
                    pairs = zip(indices, cameras, sent, strict=True)
                    new = [(index, camera.frame) for index, camera, old in pairs if camera.frame.number != old]
                    sent = numbers
                    yield new
                    continue
                if self._encoder is not None and self._encoder.done():
                    self._encoder.result()  # raises an error of the encoder
                try:
                    async with asyncio.timeout(RESEND_S):
                        await changed.wait()
                except TimeoutError:
                    sent = [0] * len(cameras)


class LiveResponse:
    """An ASGI response that sends the frames of cameras until the viewer disconnects.

    ``cameras``: their names by index. It ends when another camera gets the index of one of them, since others are added
    or removed: a viewer may not be allowed to see it.
    """

    content_type = b"application/octet-stream"
    opening = b""

    def __init__(self, streams: LiveStreams, cameras: Mapping[int, str], width_px: int = 0) -> None:
        self._streams = streams
        self._cameras = cameras
        self._width_px = width_px

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", self.content_type), (b"x-accel-buffering", b"no")]  # nginx must not buffer it
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            await run_until_disconnect(self._send(send), receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self.opening, "more_body": True})
        with suppress(IndexError):  # a camera was removed
            async with aclosing(self._streams.frames(list(self._cameras), self._width_px)) as frames:
                async for new in frames:
                    if any(frame.view is None or frame.view.camera != self._cameras[index] for index, frame in new):
                        return
                    body = b"".join(self.part(index, frame) for index, frame in new)
                    await send({"type": "http.response.body", "body": body, "more_body": True})

    def part(self, index: int, frame: EncodedFrame) -> bytes:
        """One JPEG after the number of its camera and its length, both as 32 bits, big-endian."""
        return struct.pack(">II", index + 1, len(frame.jpeg)) + frame.jpeg


class MjpegResponse(LiveResponse):
    """The frames of one camera as ``multipart/x-mixed-replace``."""

    content_type = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
    opening = b"--" + BOUNDARY + b"\r\n"

    def part(self, index: int, frame: EncodedFrame) -> bytes:  # noqa: ARG002 - there is one camera
        head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(frame.jpeg)
        # The boundary follows each frame at once: browsers show a frame only when they have seen its end.
        return head + frame.jpeg + b"\r\n--" + BOUNDARY + b"\r\n"


async def run_until_disconnect(coroutine: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Runs ``coroutine`` until it ends or the client disconnects; re-raises its error."""
    task = asyncio.ensure_future(coroutine)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, disconnect):
            each.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
