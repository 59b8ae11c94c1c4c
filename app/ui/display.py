"""Whether a window can be opened: asked before OpenCV is, whose toolkit ends the whole process where it cannot."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from app.core.errors import DisplayError

_HINT = "use --headless to watch without a window"
_TIMEOUT_S = 2.0
_X11_PORT = 6000


def check_display(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> None:
    """Raises DisplayError where no window can be opened."""
    if platform in ("win32", "darwin"):
        return
    name = environ.get("DISPLAY", "")
    if not name:
        wayland = environ.get("WAYLAND_DISPLAY", "")
        why = f"Wayland display {wayland} without Xwayland (DISPLAY is not set)" if wayland else "DISPLAY is not set"
        raise DisplayError(f"no display: {why}; {_HINT}")
    host, _, number = name.rpartition(":")
    screen = number.partition(".")[0]
    if not screen.isdigit():
        raise DisplayError(f"no display: DISPLAY={name} is malformed; {_HINT}")
    try:
        _reach(host, int(screen))
    except OSError as error:
        raise DisplayError(f"no display: nothing answers at DISPLAY={name} ({error}); {_HINT}") from error


def _reach(host: str, screen: int) -> None:
    if host in ("", "unix"):
        path = Path(f"/tmp/.X11-unix/X{screen}")
        # Linux servers listen on an abstract name too, which needs no file.
        addresses = [f"\0{path}", str(path)] if sys.platform == "linux" else [str(path)]
        failure: OSError | None = None
        for address in addresses:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                    probe.settimeout(_TIMEOUT_S)
                    probe.connect(address)
                    _greet(probe)
                    return
            except OSError as error:
                failure = error
        assert failure is not None
        raise failure
    with socket.create_connection((host.strip("[]"), _X11_PORT + screen), _TIMEOUT_S) as probe:
        _greet(probe)


def _greet(probe: socket.socket) -> None:
    """Begin the X11 connection set-up (protocol 11.0, least significant byte first, no authorisation) and wait for
    the first byte of the answer: a server that hangs takes connections too. A refusal is an answer as well, since the
    toolkit will bring the authorisation that is missing here."""
    probe.sendall(b"l\0" + (11).to_bytes(2, "little") + bytes(8))
    if not probe.recv(1):
        raise ConnectionResetError("it closes the connection")
