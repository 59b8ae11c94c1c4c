"""Cameras and network streams as a source."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from app.capture.opencv_backend import Opener, VideoReader
from app.capture.paced_reader import PacedReader
from app.capture.pyav_backend import PyavReader
from app.capture.reader import (
    ATTEMPTS,
    decode_image,
    image_stamp_s,
    nominal_step_s,
    plausible_fps,
    released,
    stamp_fault,
)
from app.capture.stream_time import Hold, LiveTimes
from app.core.errors import SourceError
from app.core.types import Frame, Image
from app.settings.source import SourceSettings
from app.settings.source_uri import SourceKind

_log = logging.getLogger(__name__)


_PAUSED_S, _STILL_S, _SHOWN_S = 1.0, 0.2, 0.1
"""Longest time from one read image to the next: while paused, of a still scene, and of one whose live video is viewed.
A newcomer is seen that late; a camera that sends only a few images has none to skip."""
_ROUNDING_S = 0.002


@dataclass(slots=True)
class Throttle:
    """When a live source may skip images: while the analysis is paused, and while nothing moves and nobody is in view.
    Each field is written by one thread. Until ``shown_until_s`` (``time.monotonic()``) its live video is viewed.
    ``skipped`` images have arrived, but were not converted."""

    is_paused: bool = False
    is_still: bool = False
    shown_until_s: float = -math.inf
    skipped: int = 0

    @property
    def skip_s(self) -> float:
        """An image is not needed if the one after it comes within this time after the last one that was read."""
        if self.is_paused or not self.is_still:
            return _PAUSED_S if self.is_paused else 0.0
        return _SHOWN_S if time.monotonic() < self.shown_until_s else _STILL_S


def throttle_of(source: object) -> Throttle | None:
    """None if ``source`` skips nothing, as files."""
    return getattr(source, "throttle", None)


class LiveSource:
    """A camera or a stream. Stream time starts with the first connection and continues over later ones."""

    is_live = True
    frame_count = None

    def __init__(self, settings: SourceSettings, opener: Opener) -> None:
        self.name = settings.name
        self.fps = settings.fps
        self._settings = settings
        self._open = opener
        self._start_s: float | None = None
        self._time_s = -math.inf
        self._index = 0
        self._image_s = -math.inf
        """Stream time of the last image that was not skipped."""
        self._step_s = 0.0
        self.throttle = Throttle()
        self.waiting = ""
        """What the source waits for while packets arrive, but no frame; '' otherwise."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError if the source cannot be opened or is lost."""
        if self._start_s is None:
            self._start_s = time.monotonic()
        self.waiting = ""
        with released(self._open(self._settings)) as reader:
            if self.fps is None:
                self.fps = plausible_fps(reader)
            first = True
            times = LiveTimes(self._time_s, nominal_step_s(reader), stamp_fault(reader, self._settings))
            hold = Hold(self._settings.is_segmented)
            fault = times.fault
            while not stop.is_set():
                skips = not first and self.may_skip(reader) and reader.grab()
                image = None if skips else self._next_image(reader, stop, first)
                if image is None and not skips:
                    return  # stopped
                first, self.waiting = False, ""
                arrival_s, last_s = time.monotonic() - self._start_s, self._time_s
                self._time_s = times.next(image_stamp_s(reader), arrival_s)
                self._step_s = self._time_s - last_s
                if times.fault != fault:
                    fault = times.fault
                    # The drivers of many webcams give no stamps, which is no fault.
                    level = logging.WARNING if self._settings.kind is SourceKind.STREAM else logging.DEBUG
                    _log.log(level, "%s: its time stamps %s; the times of arrival are used instead", self.name, fault)
                if not fault and (wait_s := hold.wait_s(self._time_s, arrival_s)) > 0:
                    stop.wait(wait_s)
                if image is None:
                    self.throttle.skipped += 1
                    continue
                self._index += 1
                self._image_s = self._time_s
                yield Frame(image, self._index - 1, self._time_s, time.monotonic(), time.time(), self.name)

    def may_skip(self, reader: VideoReader) -> bool:
        """Whether the next image is not needed. While paused, an image that needs many skipped ones never is."""
        skip_s = self.throttle.skip_s
        is_soon = skip_s > 0 and self._time_s + 2 * self._step_s <= self._image_s + skip_s + _ROUNDING_S
        return is_soon or (self.throttle.is_paused and getattr(reader, "backlog", 0) > 1)

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings.with_uri(self._settings.uri)

    def _next_image(self, reader: VideoReader, stop: threading.Event, first: bool) -> Image | None:
        """The next usable image; None if stopped. Raises SourceError if none arrives within the time limit, which is
        longer for the ``first`` image: packets arrive, but a stream can be decoded only from a key frame on."""
        start_s = time.monotonic()
        end_s = start_s + self._settings.silence_s
        failed = 0
        while not stop.is_set():
            image, ok = decode_image(reader, self._settings)
            now_s = time.monotonic()
            if first and ok and image is None and now_s >= end_s and isinstance(reader, PyavReader | PacedReader):
                self.waiting = "waiting for a key frame; set a shorter key frame (I-frame) interval in the camera"
                end_s = start_s + self._settings.key_frame_timeout_s
            late = now_s >= end_s  # after its time limit, FFmpeg still returns an old image
            if image is not None and not late:
                return image
            failed += not ok  # an empty image is a short fault, a failed read may be the end
            if failed >= ATTEMPTS or late:
                raise SourceError(f"lost {self._settings.shown}: {self._loss_reason(late)}; check camera and network")
            stop.wait(0.01)  # some drivers fail immediately, so this loop would be busy
        return None

    def _loss_reason(self, late: bool) -> str:
        if late and self.waiting:
            return f"packets arrive, but no key frame within {self._settings.key_frame_timeout_s:g} s"
        return f"no frame for {self._settings.silence_s:g} s" if late else "it ended or was interrupted"
