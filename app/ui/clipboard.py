"""The text of the clipboard, by the program that this system has for it: OpenCV's windows offer none."""

import os
import shutil
import subprocess
import sys

_LIMIT_S = 2.0
_PROGRAMS = (
    ("wl-paste", "--no-newline"),
    ("xclip", "-selection", "clipboard", "-out"),
    ("xsel", "--clipboard", "--output"),
)


def clipboard_text() -> str:
    """Raises OSError, in words for the user, if it cannot be read."""
    if sys.platform == "win32":
        command: tuple[str, ...] | None = ("powershell", "-NoProfile", "-Command", "Get-Clipboard")
    elif sys.platform == "darwin":
        command = ("pbpaste",)
    else:
        usable = _PROGRAMS if os.environ.get("WAYLAND_DISPLAY") else _PROGRAMS[1:]
        command = next((each for each in usable if shutil.which(each[0])), None)
    if command is None:
        raise OSError("cannot paste: install xclip, xsel or wl-clipboard, or type the address")
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"cannot paste: {command[0]} does not answer") from error
    return done.stdout.decode("utf-8", "replace").strip()
