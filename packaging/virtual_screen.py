"""A virtual screen for Linux, with a window manager and somebody who presses keys."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

TOOLS = ("Xvfb", "openbox", "xdotool")
PRESS_LIMIT_S = 90.0


class InVainError(Exception):
    """Keys were pressed and nothing came of it."""


@contextmanager
def screen() -> Iterator[str]:
    """The name of a virtual X display with a window manager."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x800x24", "-ac", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL) as server:
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            name = f":{pipe.readline().strip()}"
        # Keys go to the window in focus, which only a window manager gives.
        environment = {**os.environ, "DISPLAY": name}
        with subprocess.Popen(
            ["openbox"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as manager:
            try:
                yield name
            finally:
                manager.terminate()
                manager.wait()
                server.terminate()


def windows(display: str) -> list[str]:
    """The program's windows."""
    find = ["xdotool", "search", "--name", "^maskwatch$"]
    environment = {**os.environ, "DISPLAY": display}
    return subprocess.run(find, env=environment, capture_output=True, text=True, check=False).stdout.split()


def press(display: str, keys: Sequence[str], running: "subprocess.Popen[str]", done: Callable[[], bool]) -> bool:
    """Presses ``keys`` again and again until ``done``: the first may come before there is a window. Returns whether
    there ever was one."""
    environment = {**os.environ, "DISPLAY": display}
    end_s, was_there = time.monotonic() + PRESS_LIMIT_S, False
    while not done():
        if time.monotonic() > end_s or (running.poll() is not None and not done()):
            assert running.stderr is not None
            running.kill()
            raise InVainError(f"pressed {', '.join(keys)} in vain: {running.stderr.read()}")
        if shown := windows(display):
            was_there = True
            command = ["xdotool", "windowfocus", shown[-1], "key", *keys]
            subprocess.run(command, env=environment, capture_output=True, check=False)
        time.sleep(0.3)
    return was_there
