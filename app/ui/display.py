"""Checks that a window can be opened, because the GUI toolkit of OpenCV aborts the process if it cannot."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from app.core.errors import DisplayError

HINT = "use --headless to watch without a window"
_TIMEOUT_S = 2.0
_X11_PORT = 6000


def check_display(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> None:
    """Raises DisplayError if no window can be opened."""
    if platform in ("win32", "darwin"):
        return
    name = environ.get("DISPLAY", "")
    if not name:
        wayland = environ.get("WAYLAND_DISPLAY", "")
        reason = f"Wayland display {wayland} without Xwayland (DISPLAY is not set)" if wayland else "DISPLAY is not set"
        raise DisplayError(f"no display: {reason}; {HINT}")
    host, _, number = name.rpartition(":")
    screen = number.partition(".")[0]
    if not screen.isdigit():
        raise DisplayError(f"no display: DISPLAY={name} is malformed, expected HOST:NUMBER; {HINT}")
    try:
        _connect(host, int(screen))
    except OSError as error:
        raise DisplayError(
            f"no display: cannot connect to DISPLAY={name}: {error.strerror or error}; {HINT}"
        ) from error


def _connect(host: str, screen: int) -> None:
    if host in ("", "unix"):
        path = Path(f"/tmp/.X11-unix/X{screen}")
        # Linux servers listen on an abstract socket too.
        addresses = [f"\0{path}", str(path)] if sys.platform == "linux" else [str(path)]
        last_error: OSError | None = None
        for address in addresses:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                    probe.settimeout(_TIMEOUT_S)
                    probe.connect(address)
                    _handshake(probe)
                    return
            except OSError as error:
                last_error = error
        assert last_error is not None
        raise last_error
    with socket.create_connection((host.strip("[]"), _X11_PORT + screen), _TIMEOUT_S) as probe:
        _handshake(probe)


def _handshake(probe: socket.socket) -> None:
    """Sends an X11 connection setup (protocol 11.0, little-endian, no authorisation) and waits for one byte.

    A hanging server accepts connections too, so connecting is not enough. A refusal counts as an answer:
    the toolkit sends the authorisation. Raises OSError.
    """
    probe.sendall(b"l\0" + (11).to_bytes(2, "little") + bytes(8))
    if not probe.recv(1):
        raise ConnectionResetError("the server closed the connection")
