"""The thread that keeps a source going: it hands frames on, says how the source is, and connects again."""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from app.capture.process_exit import READER_PREFIX
from app.capture.slot import Slot, SlotClosed, WaitingSlot
from app.capture.source import FrameSource
from app.capture.status import SourceHealth, SourceState, SourceStatus
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

__all__ = ["Capture", "SourceState", "SourceStatus"]

_log = logging.getLogger(__name__)

_TICK_S = 0.1
"""How often a capture without pictures looks at the clock and at its stop."""
_GRACE_S = 1.0
"""What a call may take beyond its own time limit before its thread is given up."""
_LATE_S = 0.01
"""A file's frame that is later than that delays those behind it too; less is made up for."""
_STOP_WAIT_S = 1.0
"""How long a stop waits for a call inside the decoder; all must end within 2 s."""
_MAX_STUCK = 2
"""Threads of one source that may hang in a driver at a time; beyond, none is added."""


class Capture:
    """Reads ``source`` on threads of its own and puts each frame into every sink; closes the sinks at its end.

    A live source is connected again for ever, after ``settings.reconnect_s``; a file is read once. ``on_state`` is
    called from the capture's thread at each change of state. While a live source is STALE nothing is handed on.
    One whose picture is frozen is read on, for it may change, and connected again after the same pauses.
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
        self._health = SourceHealth(source.name, settings if source.is_live else None)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._stuck: list[_Reader] = []
        self._frozen_tries = 0
        self._thread = threading.Thread(target=self._run, name=f"capture:{source.name}", daemon=True)

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def status(self) -> SourceStatus:
        """As of now, whatever the threads are doing."""
        dropped = sum(sink.dropped for sink in self._sinks)
        return self._health.status(time.monotonic(), dropped)

    @property
    def error(self) -> BaseException | None:
        """What ended it; for a live source that could never be opened yet, why."""
        return self._error

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; returns at once."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended within ``timeout_s``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._tell()
            if self._source.is_live:
                self._keep_watching()
            else:
                self._connection()
            self._health.enter(SourceState.ENDED)
            self._tell()
        except BaseException as error:  # the thread guard: whatever it is, the owner learns of it
            self._error = error
            self._health.enter(SourceState.FAILED, self._settings.hide(str(error)))
            with contextlib.suppress(BaseException):  # it may be the listener itself that failed
                self._tell()
        finally:
            for sink in self._sinks:
                sink.close()

    def _keep_watching(self) -> None:
        attempt, told = 0, ""
        while not self._stop.is_set():
            began_s = time.monotonic()
            frames_before = self._health.frames
            try:
                self._connection()
                if self._stop.is_set():
                    return
                raise SourceError(f"lost {self._settings.shown}: the stream ended")
            except SourceError as error:
                message = self._settings.hide(str(error))
                if self._health.frames == 0:
                    self._error = error
            waits_s = self._settings.reconnect_s
            if self._health.frames > frames_before and time.monotonic() - began_s > waits_s[0]:
                attempt, told = 0, told if self._frozen_tries > 1 else ""
            # Between 3/4 and all of the tier: many cameras behind one switch shall not return all at once.
            wait_s = waits_s[min(attempt, len(waits_s) - 1)] * random.uniform(0.75, 1.0)
            attempt += 1
            self._health.enter(SourceState.RECONNECTING, message)
            # A camera may be away for weeks: each reason is told once, not at each try. The first try of all is
            # left to the owner, who may well end with this very line.
            told_before, told = told, message if self._health.frames or attempt > 1 else ""
            level = logging.WARNING if told != told_before else logging.DEBUG
            _log.log(level, "%s: %s; next try in %.1f s", self.name, message, wait_s)
            self._tell()
            if self._stop.wait(wait_s):
                return
            self._health.reconnects += 1

    def _connection(self) -> None:
        """One connection, from opening to its end. Raises what ended it."""
        self._stuck = [reader for reader in self._stuck if reader.is_alive()]
        if len(self._stuck) >= _MAX_STUCK:
            raise SourceError(f"{self._settings.shown} hangs in its driver; unplug it or restart the machine")
        reader = _Reader(self._source)
        reader.start()
        try:
            self._pass_on(reader)
        finally:
            if not reader.end(_STOP_WAIT_S):
                self._stuck.append(reader)
        if reader.error is not None:
            raise reader.error

    def _pass_on(self, reader: "_Reader") -> None:
        """Hand on all frames of ``reader`` until it ends or is stopped. Raises SourceError where it hangs, or where its
        picture stays the same."""
        silence_limit_s = self._settings.open_timeout_s + self._settings.read_timeout_s + _GRACE_S
        heard_s = time.monotonic()
        frozen_end_s: float | None = None
        waits_s = self._settings.reconnect_s
        pace = _Pace()
        while not self._stop.is_set():
            try:
                frame = reader.frames.get(_TICK_S)
            except SlotClosed:
                return
            now_s = time.monotonic()
            if frame is None:
                self._tell()
                if self._source.is_live and now_s - heard_s > silence_limit_s:
                    raise SourceError(f"lost {self._settings.shown}: no answer for {now_s - heard_s:.0f} s")
                continue
            heard_s = now_s
            silence_limit_s = self._settings.read_timeout_s + _GRACE_S
            if not self._source.is_live and self._settings.pace == "realtime":
                frame = pace.wait_for(frame, self._stop)
            self._health.saw(frame.image, now_s)
            self._error = None
            self._tell()
            if not self._health.frozen(now_s):
                self._frozen_tries, frozen_end_s = 0, None
                self._put(frame)
            elif frozen_end_s is None:
                frozen_end_s = now_s + waits_s[min(self._frozen_tries, len(waits_s) - 1)]
            elif now_s >= frozen_end_s:
                self._frozen_tries += 1
                same_s = self._settings.frozen_after_s
                raise SourceError(f"lost {self._settings.shown}: the same picture for {same_s:g} s; check the camera")

    def _put(self, frame: Frame) -> None:
        open_sinks = 0
        for sink in self._sinks:
            try:
                while not sink.put(frame, _TICK_S):
                    if self._stop.is_set():
                        return
                open_sinks += 1
            except SlotClosed:
                continue
        if not open_sinks:
            self._stop.set()  # nobody wants more

    def _tell(self) -> None:
        """Call ``on_state`` where the state is not the one last told."""
        if self._on_state is not None and self._health.changed(time.monotonic()):
            self._on_state(self.status)


class _Reader:
    """One connection on a thread of its own, so that nothing has to wait for a call that hangs in a driver.

    When given up, it releases the device and ends as soon as the call comes back.
    """

    def __init__(self, source: FrameSource) -> None:
        self.frames: WaitingSlot[Frame] = WaitingSlot()
        self.error: BaseException | None = None
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=READER_PREFIX + source.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def end(self, timeout_s: float) -> bool:
        """Whether its thread has ended within ``timeout_s``."""
        self._stop.set()
        self.frames.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with closing(self._source.frames(self._stop)) as frames:  # type: ignore[type-var]
                for frame in frames:
                    self.frames.put(frame)
        except SlotClosed:
            pass
        except BaseException as error:  # the thread guard: raised again by the capture
            self.error = error
        finally:
            self.frames.close()


class _Pace:
    """Holds frames back until their time. After a delay it goes on from there, rather than rush to catch up."""

    def __init__(self) -> None:
        self._start_s: float | None = None

    def wait_for(self, frame: Frame, stop: threading.Event) -> Frame:
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s - frame.time_s
        due_s = self._start_s + frame.time_s
        if now_s < due_s:
            stop.wait(due_s - now_s)
            now_s = time.monotonic()
        if now_s - due_s > _LATE_S:
            self._start_s = now_s - frame.time_s
        return replace(frame, captured_s=now_s, wall_s=time.time())
