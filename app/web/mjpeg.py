"""Live streams: each frame is drawn and encoded once for all viewers of a camera, and not at all without viewers."""

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
from app.ui.faces import FaceOptions, canvas, draw_faces, hide_faces
from app.ui.hud import Screen, render

BOUNDARY = b"maskwatch-picture"
RESEND_S = 5.0
"""Interval in which an unchanged frame is sent again, to detect dead connections."""
STALE_STATES = (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED, SourceState.STANDBY)


class ViewSource(Protocol):
    """The part of ``Monitor`` that the web view needs."""

    def views(self) -> list[CameraView]: ...


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One JPEG; ``number`` counts the encoded frames of a camera from 1."""

    jpeg: bytes
    number: int
    view: CameraView | None = None


class _Camera:
    """The latest encoded frame of a camera, and its viewers."""

    def __init__(self) -> None:
        self.frame = EncodedFrame(b"", 0)
        self.lock = asyncio.Lock()
        self.changed = asyncio.Event()
        self.viewers = 0
        self.encoder: asyncio.Task[None] | None = None


def draw(view: CameraView, settings: WebSettings, blur: bool) -> bytes:
    """The JPEG of ``view``: with face boxes if it is current, darkened with a message if it is stale or missing."""
    if blur:
        view = view.private()
    if view.frame is not None and view.status.state not in STALE_STATES:
        board, factor = canvas(view.frame.image, settings.max_width_px)
        if blur and view.analysed is not None:
            hide_faces(board, view.analysed.faces, factor)
        waiting = view.analysed.waiting if view.analysed is not None else {}
        draw_faces(board, view.tracks, factor, FaceOptions(waiting=waiting))
        image = board.image
    else:
        image = render(replace(view, alerts=()), Screen(settings.max_width_px, blur=blur))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])[1].tobytes()


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
    """The streams of all cameras. Runs in the event loop of the server; drawing runs in ``workers``."""

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

    def stats(self) -> dict[int, tuple[int, int]]:
        """(current viewers, encoded frames) by camera index, for cameras whose frames were requested."""
        return {index: (camera.viewers, camera.frame.number) for index, camera in self._cameras.items()}

    def stop(self) -> None:
        self._stopping = True
        for camera in self._cameras.values():
            camera.changed.set()

    async def latest(self, index: int) -> EncodedFrame:
        """The current frame of a camera, encoded. Raises IndexError if the camera does not exist."""
        camera = self._cameras.get(index)
        view = self._monitor.views()[index]
        if camera is None:
            camera = self._cameras[index] = _Camera()
        async with camera.lock:
            view = self._monitor.views()[index]
            if not _is_unchanged(camera.frame.view, view):
                loop = asyncio.get_running_loop()
                jpeg = await loop.run_in_executor(self._workers, draw, view, self._settings, self._blur)
                camera.frame = EncodedFrame(jpeg, camera.frame.number + 1, view)
                self._notify(camera)
            return camera.frame

    @staticmethod
    def _notify(camera: _Camera) -> None:
        camera.changed.set()
        camera.changed = asyncio.Event()

    async def _encode(self, index: int, camera: _Camera) -> None:
        """Encodes frames at no more than ``max_fps`` while the camera has viewers."""
        loop = asyncio.get_running_loop()
        interval_s = 1.0 / self._settings.max_fps
        next_s = loop.time()
        while camera.viewers and not self._stopping:
            await self.latest(index)
            next_s = max(next_s + interval_s, loop.time())
            await asyncio.sleep(next_s - loop.time())

    async def _next(self, index: int, after: int) -> EncodedFrame | None:
        """The latest frame once its number differs from ``after``, or after RESEND_S; None when the server stops."""
        camera = self._cameras[index]
        if camera.frame.number == after and not self._stopping:
            changed = camera.changed
            try:
                async with asyncio.timeout(RESEND_S):
                    await changed.wait()
            except TimeoutError:
                pass
            if camera.encoder is not None and camera.encoder.done():
                camera.encoder.result()  # raises an error of the encoder
        return None if self._stopping else camera.frame

    async def stream(self, index: int, send: Send) -> None:
        """Sends frames until cancelled or the server stops. A slow viewer skips frames and delays nobody."""
        await self.latest(index)
        camera = self._cameras[index]
        camera.viewers += 1
        try:
            if camera.encoder is None or camera.encoder.done():
                camera.encoder = asyncio.create_task(self._encode(index, camera), name=f"encoder {index}")
            # The boundary follows each frame at once: browsers show a frame only when they have seen its end.
            await send({"type": "http.response.body", "body": b"--" + BOUNDARY + b"\r\n", "more_body": True})
            number = 0
            while (frame := await self._next(index, number)) is not None:
                number = frame.number
                head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(frame.jpeg)
                body = head + frame.jpeg + b"\r\n--" + BOUNDARY + b"\r\n"
                await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            camera.viewers -= 1


class MjpegResponse:
    """An ASGI response: MJPEG as ``multipart/x-mixed-replace``."""

    def __init__(self, streams: LiveStreams, index: int) -> None:
        self._streams = streams
        self._index = index

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content_type = b"multipart/x-mixed-replace; boundary=" + BOUNDARY
        headers = [(b"content-type", content_type), (b"x-accel-buffering", b"no")]  # nginx must not buffer it
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            await run_until_disconnect(self._streams.stream(self._index, send), receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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
