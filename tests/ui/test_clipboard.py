"""The clipboard is read by the program that the system has for it."""

import os
import sys
from pathlib import Path

import pytest

from app.ui.clipboard import clipboard_text

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="programs are scripts here")


def test_first_program_that_fits_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("xclip", "wl-paste"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho 'rtsp://{name}/家 '\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert clipboard_text() == "rtsp://xclip/家"
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert clipboard_text() == "rtsp://wl-paste/家"


def test_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="install xclip"):
        clipboard_text()
