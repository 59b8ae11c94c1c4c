"""The thread that reads a source: it forwards frames, reports the source's state and reconnects."""

import contextlib
import logging
import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from app.capture.live_source import throttle_of
from app.capture.process_exit import READER_PREFIX
from app.capture.reader import FALLBACK_FPS
from app.capture.slot import Slot, SlotClosed
from app.capture.source import FrameSource
from app.capture.status import SourceHealth, SourceState, SourceStatus
from app.core.errors import RetryLaterError, SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

__all__ = ["Capture", "SourceState", "SourceStatus"]

_log = logging.getLogger(__name__)

_TICK_S = 0.2
"""How often a capture without frames checks the clock and its stop event."""
_GRACE_S = 1.0
"""How much longer than its own time limit a call may take before its thread is abandoned."""
_LATE_S = 0.01
"""A larger delay of a file's frame shifts all later frames; a smaller one is caught up."""
_MAX_PAUSE_S, _GAP_STEPS, _GAP_S = 5.0, 3.0, 1.0
"""A gap in a file that is longer than ``_MAX_PAUSE_S``, and than ``_GAP_STEPS`` steps, is shortened to ``_GAP_S``."""
_STOP_WAIT_S = 1.0
"""How long a stop waits for a call in the decoder; the whole program must stop within 2 s."""
_MAX_STUCK = 2
"""Maximum number of threads of one source that hang in a driver; above it, no new thread is started."""


class Capture:
    """Reads ``source`` in its own threads and puts each frame into all ``sinks``; closes the sinks when it ends.

    A live source is reconnected without limit, after the pauses ``settings.reconnect_s``; a file is read once. The
    capture's thread calls ``on_state`` at each change of state. Frames of a frozen source are not forwarded.
    """

    def __init__(
        self,
        source: FrameSource,
        settings: SourceSettings,
        sinks: Sequence[Slot[Frame]],
        on_state: Callable[[SourceStatus], None] | None = None,
    ) -> None:
        self._source = source
        self._settings = settings
        self._sinks = list(sinks)
        self._on_state = on_state
        self._health = SourceHealth(source.name, lambda: settings if source.is_live else None)
        self.stopping = threading.Event()
        self._error: BaseException | None = None
        self._stuck: list[_Reader] = []
        self._frozen_tries = 0
        self._thread = threading.Thread(target=self._run, name=f"capture:{source.name}", daemon=True)

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def status(self) -> SourceStatus:
        """The current status; it does not wait for the threads."""
        dropped = sum(sink.dropped for sink in self._sinks)
        return self._health.status(time.monotonic(), dropped)

    @property
    def error(self) -> BaseException | None:
        """The error that ended the capture, or the last error of a live source that was never opened."""
        return self._error

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Request the end and return at once."""
        self.stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Whether the capture has ended within ``timeout_s``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._report_state()
            if self._source.is_live:
                self._reconnect_until_stopped()
            else:
                self._run_connection()
            self._health.enter(SourceState.ENDED)
            self._report_state()
        except BaseException as error:  # the thread guard: the owner reads ``error``
            self._error = error
            self._health.enter(SourceState.FAILED, self._settings.hide(str(error)))
            with contextlib.suppress(BaseException):  # the listener may be what failed
                self._report_state()
        finally:
            for sink in self._sinks:
                sink.close()

    def _reconnect_until_stopped(self) -> None:
        attempt, logged = 0, ""
        while not self.stopping.is_set():
            start_s = time.monotonic()
            frames_before = self._health.frames
            try:
                self._run_connection()
                if self.stopping.is_set() or not self._source.is_live:  # its first answer showed that it is a video
                    return
                raise SourceError(f"lost {self._settings.shown}: the stream ended; check the camera")
            except SourceError as error:
                if not self._source.is_live:
                    raise
                message = self._settings.hide(str(error))
                least_wait_s = error.wait_s if isinstance(error, RetryLaterError) else 0.0
                if self._health.frames == 0:
                    self._error = error
            waits_s = self._settings.reconnect_s
            if self._health.frames > frames_before and time.monotonic() - start_s > waits_s[0]:
                attempt, logged = 0, logged if self._frozen_tries > 1 else ""
            # Random, so that many cameras behind one switch do not reconnect at the same moment.
            wait_s = waits_s[min(attempt, len(waits_s) - 1)] * random.uniform(0.75, 1.0)
            wait_s = max(wait_s, least_wait_s)
            attempt += 1
            self._health.enter(SourceState.RECONNECTING, message, least_wait_s)
            # A camera may be offline for weeks, so each reason is a warning only once. The owner may exit with the
            # error of the very first attempt, so that one is a warning only if it is repeated.
            logged_before, logged = logged, message if self._health.frames or attempt > 1 else ""
            level = logging.WARNING if logged != logged_before else logging.DEBUG
            _log.log(level, "%s: %s; next attempt in %.1f s", self.name, message, wait_s)
            self._report_state()
            if self.stopping.wait(wait_s):
                return
            self._health.reconnects += 1

    def _run_connection(self) -> None:
        """Run one connection until it ends. Raises the error that ended it."""
        self._stuck = [reader for reader in self._stuck if reader.is_alive()]
        if len(self._stuck) >= _MAX_STUCK:
            raise SourceError(f"{self._settings.shown} hangs in its driver; unplug the camera or restart the machine")
        reader = _Reader(self._source)
        reader.start()
        try:
            self._forward_frames(reader)
        finally:
            if not reader.stop(_STOP_WAIT_S):
                self._stuck.append(reader)
        error = reader.error
        try:
            if error is not None:
                traceback.clear_frames(error.__traceback__)
                raise error
        finally:
            del error, reader  # the garbage collector may come minutes later, and the last image has megabytes

    def _forward_frames(self, reader: "_Reader") -> None:
        """Put the frames of ``reader`` into the sinks until it ends or is stopped. Raises SourceError if it hangs or
        its image stays the same."""
        silence_limit_s = self._settings.open_timeout_s + self._settings.silence_s + _GRACE_S
        last_frame_s = time.monotonic()
        frozen_end_s: float | None = None
        waits_s = self._settings.reconnect_s
        pace = _Pace(self._source)
        throttle = throttle_of(self._source)
        skipped = 0 if throttle is None else throttle.skipped
        while not self.stopping.is_set():
            try:
                frame = reader.frames.get(_TICK_S)
            except SlotClosed:
                return
            now_s = time.monotonic()
            if throttle is not None and throttle.skipped > skipped:
                self._health.record_skipped(throttle.skipped - skipped, now_s)
                skipped, last_frame_s = throttle.skipped, now_s
            if frame is None:
                waiting = getattr(self._source, "waiting", "")  # only network streams have it
                if waiting and silence_limit_s < self._settings.key_frame_timeout_s:
                    silence_limit_s = self._settings.open_timeout_s + self._settings.key_frame_timeout_s + _GRACE_S
                    self._health.wait(waiting, silence_limit_s)
                    _log.warning("%s: %s", self.name, waiting)
                self._report_state()
                if self._source.is_live and now_s - last_frame_s > silence_limit_s:
                    raise SourceError(
                        f"lost {self._settings.shown}: no answer for {now_s - last_frame_s:.0f} s; check the camera"
                    )
                continue
            last_frame_s = now_s
            silence_limit_s = self._settings.silence_s + _GRACE_S
            if not self._source.is_live and self._settings.pace == "realtime":
                frame = pace.wait_for(frame, self.stopping)
            self._health.record_frame(frame.image, now_s)
            self._error = None
            self._report_state()
            if not self._health.frozen():
                self._frozen_tries, frozen_end_s = 0, None
                self._put(frame)
            elif frozen_end_s is None:
                frozen_end_s = now_s + waits_s[min(self._frozen_tries, len(waits_s) - 1)]
            elif now_s >= frozen_end_s:
                self._frozen_tries += 1
                same_s = self._settings.frozen_after_s
                raise SourceError(f"lost {self._settings.shown}: the same image for {same_s:g} s; check the camera")

    def _put(self, frame: Frame) -> None:
        open_sinks = 0
        for sink in self._sinks:
            try:
                while not sink.put(frame, _TICK_S):
                    if self.stopping.is_set():
                        return
                open_sinks += 1
            except SlotClosed:
                continue
        if not open_sinks:
            self.stopping.set()  # all sinks are closed

    def _report_state(self) -> None:
        """Call ``on_state`` if the state has changed since the last call."""
        if self._on_state is not None and self._health.changed(time.monotonic()):
            self._on_state(self.status)


class _Reader:
    """One connection in its own thread, so that the capture does not wait for a call that hangs in a driver.

    If it is abandoned, it releases the device and ends as soon as the call returns.
    """

    def __init__(self, source: FrameSource) -> None:
        self.frames: Slot[Frame] = Slot(waits=True)
        self.error: BaseException | None = None
        self._source = source
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=READER_PREFIX + source.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Stop, and return whether the thread has ended within ``timeout_s``."""
        self.stopping.set()
        self.frames.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with closing(self._source.frames(self.stopping)) as frames:  # type: ignore[type-var]
                for frame in frames:
                    self.frames.put(frame)
        except SlotClosed:
            pass
        except BaseException as error:  # the thread guard: raised again by the capture
            self.error = error
        finally:
            self.frames.close()


class _Pace:
    """Delays frames until their time. After a long delay all later frames are shifted instead of sent faster; an
    unusually long gap is shortened."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._start_s: float | None = None
        self._time_s = self._step_s = 0.0
        self._gaps = 0

    def wait_for(self, frame: Frame, stop: threading.Event) -> Frame:
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s, self._time_s = now_s - frame.time_s, frame.time_s
            self._step_s = 1.0 / (self._source.fps or FALLBACK_FPS)
        step_s = frame.time_s - self._time_s
        if step_s > max(_MAX_PAUSE_S, _GAP_STEPS * self._step_s):
            self._gaps += 1
            level = logging.WARNING if self._gaps == 1 else logging.DEBUG
            _log.log(
                level, "%s: no frames for %.0f s at %.0f s; shown as %g s", frame.camera, step_s, self._time_s, _GAP_S
            )
            self._start_s -= step_s - _GAP_S
        self._time_s, self._step_s = frame.time_s, step_s or self._step_s
        due_s = self._start_s + frame.time_s
        if now_s < due_s:
            stop.wait(due_s - now_s)
            now_s = time.monotonic()
        if now_s - due_s > _LATE_S:
            self._start_s = now_s - frame.time_s
        return replace(frame, captured_s=now_s)
