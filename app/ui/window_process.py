"""The window in a process of its own: Qt aborts the process that opened a window when the X server refuses or ends.

Images pass through shared memory, commands and the user's input through a pipe.
"""

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from app.capture.opencv_packages import missing_library_advice
from app.core.errors import DisplayError
from app.core.own_command import SHOW_WINDOW, own_command
from app.core.types import Image
from app.ui import toolkit
from app.ui.display import HINT, check_display
from app.ui.image_window import Closed, ImageWindow, OpenCvWindow, WindowInput

_LOAD_S, _OPEN_S, _CLOSE_S = 60.0, 10.0, 2.0
"""Time limits: to load OpenCV, to open the window after that, to end."""
_WAIT_S, _IDLE_WAIT_S, _IDLE_S = 0.04, 0.1, 0.5
"""Longest time between two runs of the toolkit; the same when at most one image came within ``_IDLE_S``, as while the
window is paused."""
_LOADED, _OPEN = "loaded", "open"
_MAX_ERROR_BYTES = 65_536
_REASONS = ("uthoriz", "protocol", "could not", "broke")
"""Parts of the lines that name the reason among all that Xlib and Qt write."""
_NO_PLUGIN = "Available platform plugins"
"""Qt's last line if it cannot load its plugin for X11."""


class Waker:
    """Ends the wait of another thread for several descriptors; only on Linux. Its own one is closed with the last
    reference, so that ``set`` may be called at any time."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        os.close(self.fd)

    def set(self) -> None:
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with suppress(BlockingIOError):  # it was not set
            os.eventfd_read(self.fd)


class WindowProcess:
    """The window of another process, which ends with this one, even if this one is killed."""

    cpu_s = 0.0
    """Processor time of the other process."""

    def __init__(self) -> None:
        """Starts the process. ``wait_until_open`` or the first other call waits until the window is open."""
        self._pipe, theirs = Pipe()
        self._waker = Waker()
        self._memory_fd = os.memfd_create("maskwatch-window")
        self._errors_fd = os.memfd_create("maskwatch-window-errors")
        self._memory: mmap.mmap | None = None
        self._is_open = self._is_busy = False
        descriptors = theirs.fileno(), self._memory_fd
        with theirs:
            self.process = subprocess.Popen(
                [*own_command(), SHOW_WINDOW, *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors_fd,
                start_new_session=True,  # Ctrl-C is for this process
                env={**os.environ, "QT_QPA_PLATFORM": "xcb"},  # the only platform in OpenCV's wheel
            )

    def wait_until_open(self) -> None:
        """Raises DisplayError if the window cannot be opened."""
        for step, limit_s in () if self._is_open else ((_LOADED, _LOAD_S), (_OPEN, _OPEN_S)):
            answer = ""
            with suppress(EOFError, OSError):
                answer = self._pipe.recv() if self._pipe.poll(limit_s) else "no answer"
            if answer != step:
                raise DisplayError(answer if answer.startswith("no window") else self._refusal(answer))
        self._is_open = True

    def _refusal(self, answer: str) -> str:
        reason = answer or self._reason()
        advice = HINT
        if _NO_PLUGIN in reason:
            reason = toolkit.plugin_fault() or reason
            advice = "; ".join(filter(None, (missing_library_advice(reason), HINT)))
        elif "uthoriz" in reason or "No protocol" in reason:
            advice = f"run maskwatch as the user of this desktop, set XAUTHORITY to that user's file, or {HINT}"
        return f"no display: DISPLAY={os.environ.get('DISPLAY', '')} opens no window: {reason}; {advice}"

    def _reason(self) -> str:
        """What Xlib and Qt wrote before they ended the process, or its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_CLOSE_S)
        written = os.pread(self._errors_fd, _MAX_ERROR_BYTES, 0).decode(errors="replace").splitlines()
        lines = [line.strip().rstrip(".") for line in written if line.strip()]
        named = [line for line in lines if any(part in line for part in _REASONS)]
        return next(iter([*named, *lines[-1:]]), f"its process ended with code {self.process.returncode}")

    @property
    def is_ready(self) -> bool:
        return not self._is_busy

    def show(self, image: Image, size_px: tuple[int, int] | None = None) -> None:
        self.wait_until_open()
        if self._memory is None or len(self._memory) < image.nbytes:
            os.ftruncate(self._memory_fd, image.nbytes)
            self._memory = mmap.mmap(self._memory_fd, image.nbytes)
        np.copyto(_pixels(self._memory, image.shape), image)
        self._is_busy = True
        self._send(("show", image.shape, size_px))

    def set_fullscreen(self, fullscreen: bool) -> None:
        self.wait_until_open()
        self._send(("fullscreen", fullscreen))

    def hide_pointer(self) -> None:
        self.wait_until_open()
        self._send(("hide pointer",))

    @property
    def wake(self) -> Callable[[], None]:
        return self._waker.set

    def inputs(self, timeout_s: float, until_woken: bool = False) -> list[WindowInput]:
        self.wait_until_open()
        found: list[WindowInput] = []
        until_s = time.monotonic() + timeout_s
        awaited: list[Connection | int] = [self._pipe, self._waker.fd] if until_woken else [self._pipe]
        try:
            while ready := wait(awaited, 0 if found else max(0.0, until_s - time.monotonic())):
                if self._waker.fd in ready:
                    self._waker.clear()
                    until_s = 0.0
                if self._pipe not in ready:
                    continue
                message = self._pipe.recv()
                if isinstance(message, float):
                    self.cpu_s, self._is_busy = message, False
                    continue
                found.append(message)
                if isinstance(message, Closed):  # the process ends
                    break
        except (EOFError, OSError) as error:
            raise DisplayError(f"the window is lost: {self._reason()}") from error
        return found

    def _send(self, command: tuple[Any, ...]) -> None:
        with suppress(OSError):  # ``inputs`` says whether the user has closed the window or it is lost
            self._pipe.send(command)

    def close(self) -> None:
        """Ends the process; kills it if it does not end in time."""
        if self._pipe.closed:
            return
        self._pipe.close()
        try:
            self.process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._memory_fd)
        os.close(self._errors_fd)


def _pixels(memory: mmap.mmap, shape: Sequence[int]) -> Image:
    """The image (H, W, 3) uint8 BGR in ``memory``, not copied."""
    return np.frombuffer(memory, np.uint8, shape[0] * shape[1] * shape[2]).reshape(shape)


def open_image_window() -> ImageWindow:
    """A new window: on Linux in a process of its own. Raises DisplayError if there is no display."""
    check_display()
    return WindowProcess() if sys.platform == "linux" else OpenCvWindow()


def show_window(arguments: Sequence[str]) -> int:
    """Body of the other process; its arguments are the file descriptors of the pipe and of the shared memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort of Qt is expected
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_ERROR_BYTES, _MAX_ERROR_BYTES))  # limits what it writes to stderr
    pipe, memory_fd = Connection(int(arguments[0])), int(arguments[1])
    with suppress(EOFError, OSError):  # the other end was closed
        pipe.send(_LOADED)
        try:
            window = OpenCvWindow()
        except DisplayError as error:
            pipe.send(str(error))
            return error.exit_code
        pipe.send(_OPEN)
        _serve(window, pipe, memory_fd)
    return 0


def _serve(window: OpenCvWindow, pipe: Connection, memory_fd: int) -> None:
    """Shows what comes and sends what the user does, until the user closes the window."""
    memory = mmap.mmap(-1, 1)
    shown_s = before_s = 0.0
    while True:
        is_idle = time.monotonic() - before_s > _IDLE_S
        if pipe.poll(_IDLE_WAIT_S if is_idle else _WAIT_S):
            match pipe.recv():
                case ("show", shape, size_px):
                    if len(memory) < shape[0] * shape[1] * shape[2]:
                        memory = mmap.mmap(memory_fd, 0)
                    window.show(_pixels(memory, shape), size_px)
                    before_s, shown_s = shown_s, time.monotonic()
                    pipe.send(time.process_time())
                case ("fullscreen", fullscreen):
                    window.set_fullscreen(fullscreen)
                case ("hide pointer",):
                    window.hide_pointer()
        for each in window.inputs(0.001):
            pipe.send(each)
            if isinstance(each, Closed):
                return
