"""A virtual screen for Linux, with a window manager and simulated key presses."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

TOOLS = ("Xvfb", "openbox", "xdotool")
PRESS_LIMIT_S = 90.0


class NoReactionError(Exception):
    """The program did not react to the keys."""


@contextmanager
def screen(size: str = "1280x800") -> Iterator[str]:
    """Starts a virtual X display of that size, in px, with a window manager; yields its name."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{size}x24", "-ac", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL) as server:
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            name = f":{pipe.readline().strip()}"
        # Keys go to the focused window, and only a window manager sets the focus.
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
    """The ids of the program's windows."""
    find = ["xdotool", "search", "--name", "^maskwatch$"]
    environment = {**os.environ, "DISPLAY": display}
    return subprocess.run(find, env=environment, capture_output=True, text=True, check=False).stdout.split()


def press(display: str, keys: Sequence[str], running: "subprocess.Popen[str]", done: Callable[[], bool]) -> bool:
    """Presses ``keys`` repeatedly until ``done``, because the window may not exist yet. Returns whether there was a
    window. Raises NoReactionError on a timeout or if the program ends."""
    environment = {**os.environ, "DISPLAY": display}
    end_s, had_window = time.monotonic() + PRESS_LIMIT_S, False
    while not done():
        if time.monotonic() > end_s or (running.poll() is not None and not done()):
            assert running.stderr is not None
            running.kill()
            raise NoReactionError(f"no reaction to the keys {', '.join(keys)}: {running.stderr.read()}")
        if window_ids := windows(display):
            had_window = True
            # OpenCV keeps only the last of several keys that come at the same time.
            command = ["xdotool", "windowfocus", window_ids[-1], "key", "--delay", "150", *keys]
            subprocess.run(command, env=environment, capture_output=True, check=False)
        time.sleep(0.3)
    return had_window
