"""Live pictures: drawn and encoded once for all who watch a camera, and not at all while nobody does."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
from starlette.types import Receive, Scope, Send

from app.capture.capture import SourceState
from app.pipeline.monitor import CameraView
from app.settings.web import WebSettings
from app.ui.canvas import canvas, draw_faces, hide_faces
from app.ui.hud import Screen, render

BOUNDARY = b"maskwatch-picture"
STILL_S = 5.0
"""A picture that does not change is sent again so often: a connection that is dead shows."""
OLD_STATES = (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED)


class ViewSource(Protocol):
    """What is needed of a monitor."""

    def views(self) -> list[CameraView]: ...


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One JPEG. ``number`` counts the pictures of its camera."""

    jpeg: bytes
    number: int
    view: CameraView | None = None


class _Camera:
    """One camera's newest picture and who waits for the next."""

    def __init__(self) -> None:
        self.picture = EncodedFrame(b"", 0)
        self.drawing = asyncio.Lock()
        self.changed = asyncio.Event()
        self.viewers = 0
        self.pump: asyncio.Task[None] | None = None


def draw(view: CameraView, settings: WebSettings, blur: bool) -> bytes:
    """The JPEG of ``view``: faces where it is live, darkened with words over it where it is old or missing."""
    if blur:
        view = view.private()
    if view.frame is not None and view.status.state not in OLD_STATES:
        board, factor = canvas(view.frame.image, settings.max_width_px)
        if blur and view.analysed is not None:
            hide_faces(board, view.analysed.faces, factor)
        draw_faces(board, view.tracks, factor)
        image = board.image
    else:
        image = render(replace(view, alerts=()), Screen(settings.max_width_px, blur=blur))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])[1].tobytes()


def _is_same(old: CameraView | None, new: CameraView) -> bool:
    if old is None:
        return False
    then, now = old.status, new.status
    return (
        old.frame is new.frame
        and old.tracks == new.tracks
        and (then.state, then.last_error) == (now.state, now.last_error)
        and (now.state not in OLD_STATES or round(old.age_s) == round(new.age_s))  # the age is written on it
    )


class LiveStreams:
    """Lives in the server's event loop; drawing runs in ``workers``."""

    def __init__(self, monitor: ViewSource, settings: WebSettings, blur: bool, workers: Executor) -> None:
        self._monitor = monitor
        self._settings = settings
        self._blur = blur
        self._workers = workers
        self._cameras: dict[int, _Camera] = {}
        self._stopping = False

    @property
    def viewers(self) -> int:
        return sum(camera.viewers for camera in self._cameras.values())

    @property
    def is_full(self) -> bool:
        return self.viewers >= self._settings.max_viewers

    def facts(self) -> dict[int, tuple[int, int]]:
        """Of each camera anyone looked at: how many watch now, how many pictures were encoded."""
        return {index: (camera.viewers, camera.picture.number) for index, camera in self._cameras.items()}

    def stop(self) -> None:
        self._stopping = True
        for camera in self._cameras.values():
            camera.changed.set()

    async def newest(self, index: int) -> EncodedFrame:
        """The camera's picture as of now. Raises IndexError where there is no such camera."""
        camera = self._cameras.get(index)
        view = self._monitor.views()[index]
        if camera is None:
            camera = self._cameras[index] = _Camera()
        async with camera.drawing:
            view = self._monitor.views()[index]
            if not _is_same(camera.picture.view, view):
                loop = asyncio.get_running_loop()
                jpeg = await loop.run_in_executor(self._workers, draw, view, self._settings, self._blur)
                camera.picture = EncodedFrame(jpeg, camera.picture.number + 1, view)
                self._wake(camera)
            return camera.picture

    @staticmethod
    def _wake(camera: _Camera) -> None:
        camera.changed.set()
        camera.changed = asyncio.Event()

    async def _run(self, index: int, camera: _Camera) -> None:
        """Draws at the bounded rate while anyone watches."""
        loop = asyncio.get_running_loop()
        pause_s = 1.0 / self._settings.max_fps
        next_s = loop.time()
        while camera.viewers and not self._stopping:
            await self.newest(index)
            next_s = max(next_s + pause_s, loop.time())
            await asyncio.sleep(next_s - loop.time())

    async def _next(self, index: int, after: int) -> EncodedFrame | None:
        """The newest picture, once it is another than number ``after``; None where all stops."""
        camera = self._cameras[index]
        if camera.picture.number == after and not self._stopping:
            changed = camera.changed
            try:
                async with asyncio.timeout(STILL_S):
                    await changed.wait()
            except TimeoutError:
                pass
            if camera.pump is not None and camera.pump.done():
                camera.pump.result()  # a fault of drawing ends the stream, and is told
        return None if self._stopping else camera.picture

    async def stream(self, index: int, send: Send) -> None:
        """Sends pictures until cancelled or all stops. One that cannot keep up skips pictures; nobody waits for it."""
        await self.newest(index)
        camera = self._cameras[index]
        camera.viewers += 1
        try:
            if camera.pump is None or camera.pump.done():
                camera.pump = asyncio.create_task(self._run(index, camera), name=f"pictures {index}")
            # The boundary comes right after each picture: browsers show it only once they know it has ended.
            await send({"type": "http.response.body", "body": b"--" + BOUNDARY + b"\r\n", "more_body": True})
            number = 0
            while (picture := await self._next(index, number)) is not None:
                number = picture.number
                head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture.jpeg)
                body = head + picture.jpeg + b"\r\n--" + BOUNDARY + b"\r\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            camera.viewers -= 1


class MjpegResponse:
    """An ASGI answer: MJPEG, as ``multipart/x-mixed-replace``."""

    def __init__(self, pictures: LiveStreams, index: int) -> None:
        self._pictures = pictures
        self._index = index

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            await until_left(self._pictures.stream(self._index, send), receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_left(sending: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Runs ``sending`` until it ends or the client leaves; raises what it raised."""
    task = asyncio.ensure_future(sending)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, leaving):
            each.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
