"""The status of a source: its state, its frame rate, and whether it still delivers new images."""

import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from app.core.types import Image
from app.settings.source import SourceSettings

_FINGERPRINT_ROWS, _SAMPLE_ROWS = 128, 8
_RATE_FRAMES = 30
_RATE_MIN_S = 0.5


class SourceState(StrEnum):
    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"
    STANDBY = "standby"  # another node of a fleet watches the camera


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The status of a source. ``since_s`` and ``last_frame_s`` are ``time.monotonic()``; ``fps`` is measured;
    ``dropped`` counts frames that were replaced before they were read; ``last_error`` contains no credentials.
    ``wait_s``: how long the source waits by intention, longer than its time limits (a key frame, a rejected login)."""

    name: str
    state: SourceState
    since_s: float
    fps: float = 0.0
    frames: int = 0
    dropped: int = 0
    reconnects: int = 0
    last_error: str = ""
    last_frame_s: float | None = None
    wait_s: float = 0.0


def image_fingerprint(image: Image, rows: int = _FINGERPRINT_ROWS) -> int:
    """A fast checksum of about so many full rows; 128 are dense enough to change with the digits of a clock in the
    image."""
    sampled = image[:: max(1, image.shape[0] // rows)]
    return zlib.crc32(sampled.tobytes(), image.shape[1])


class SourceHealth:
    """The state of a source. STALE is computed when the status is read, so that a stuck thread cannot hide it."""

    def __init__(self, name: str, live: Callable[[], SourceSettings | None]) -> None:
        """``live`` returns the settings of a live source; None for a video, also if it turns out later to be one."""
        self.frames = 0
        self.reconnects = 0
        self._name = name
        self._live = live
        self._lock = threading.Lock()
        self._state = SourceState.CONNECTING
        self._since_s = time.monotonic()
        self._last_error = ""
        self._last_frame_s: float | None = None
        self._image_s = self._changed_s = 0.0
        self._sample: int | None = None
        """The fingerprint of a few rows of the last image; that of more rows is needed only if it stays the same."""
        self._hash: int | None = None
        self._arrivals: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._reported: SourceState | None = None
        self._wait_s = 0.0

    def wait(self, reason: str, wait_s: float) -> None:
        """Packets arrive, but for up to ``wait_s`` no frame."""
        with self._lock:
            self._last_error, self._wait_s = reason, wait_s
            self._state, self._since_s = SourceState.CONNECTING, time.monotonic()

    def enter(self, state: SourceState, error: str = "", wait_s: float = 0.0) -> None:
        now_s = time.monotonic()
        with self._lock:
            if self._frozen_since() is None:  # a frozen source is live again only with a new image
                self._hash = None
            self._state, self._since_s = state, now_s
            self._last_error = error or self._last_error
            self._wait_s = wait_s

    def record_frame(self, image: Image, now_s: float) -> None:
        live = self._live()
        sample = fingerprint = None
        if live and live.frozen_after_s:
            sample = image_fingerprint(image, _SAMPLE_ROWS)
            fingerprint = image_fingerprint(image) if sample == self._sample else None
        with self._lock:
            if self._stale_s(now_s) is not None or self._state is not SourceState.LIVE:
                self._since_s = now_s
            self._state, self._wait_s = SourceState.LIVE, 0.0
            self.frames += 1
            self._last_frame_s = now_s
            self._arrivals.append(now_s)
            self._image_s = now_s
            if fingerprint is None or fingerprint != self._hash:
                self._changed_s = now_s
            self._sample, self._hash = sample, fingerprint

    def record_skipped(self, count: int, now_s: float) -> None:
        """``count`` images have arrived that were not decoded."""
        with self._lock:
            self.frames += count
            self._last_frame_s = now_s
            self._arrivals.extend([now_s] * count)

    def frozen(self) -> bool:
        with self._lock:
            return self._frozen_since() is not None

    def changed(self, now_s: float) -> bool:
        """Whether the state differs from the one at the last call."""
        with self._lock:
            state = self._state if self._stale_s(now_s) is None else SourceState.STALE
        if state is self._reported:
            return False
        self._reported = state
        return True

    def status(self, now_s: float, dropped: int) -> SourceStatus:
        with self._lock:
            stale_s = self._stale_s(now_s)
            return SourceStatus(
                name=self._name,
                state=self._state if stale_s is None else SourceState.STALE,
                since_s=self._since_s if stale_s is None else stale_s,
                fps=self._rate(now_s),
                frames=self.frames,
                dropped=dropped,
                reconnects=self.reconnects,
                last_error=self._last_error,
                last_frame_s=self._last_frame_s,
                wait_s=self._wait_s,
            )

    def _rate(self, now_s: float) -> float:
        if self._state is not SourceState.LIVE or len(self._arrivals) < 2:
            return 0.0
        span_s = now_s - self._arrivals[0]
        # A stream starts with a burst of frames from its probing, so its rate can only be measured later.
        return (len(self._arrivals) - 1) / span_s if span_s >= _RATE_MIN_S else 0.0

    def _stale_s(self, now_s: float) -> float | None:
        """The time at which the source became stale, or None; the caller holds the lock."""
        live = self._live()
        if live is None or self._state is not SourceState.LIVE or self._last_frame_s is None:
            return None
        silent_s = self._last_frame_s + live.stale_after_s
        return silent_s if now_s > silent_s else self._frozen_since()

    def _frozen_since(self) -> float | None:
        live = self._live()
        if live is None or not live.frozen_after_s or self._state is not SourceState.LIVE:
            return None
        frozen_s = self._changed_s + live.frozen_after_s
        return frozen_s if self._image_s > frozen_s else None
