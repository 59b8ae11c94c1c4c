"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

from app.capture.opencv_backend import silence_ffmpeg

ROOT = Path(__file__).resolve().parents[1]

silence_ffmpeg()  # FFmpeg reads its log level once a process: no test that opens a video may set it for all others


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's own events store, and no setting of the user's reaches a test."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA"):
        monkeypatch.setenv(name, str(home))
    for name in [name for name in os.environ if name.startswith("MASKWATCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and clips, kept beside the checkout; they are not part of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real images and clips (../shared/data) are absent")
    return folder
