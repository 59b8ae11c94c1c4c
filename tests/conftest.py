"""Fixtures for all tests."""

import os
from pathlib import Path

import cv2
import pytest
from hypothesis import HealthCheck, settings

from app.capture.login import LOGINS
from app.capture.opencv_backend import silence_ffmpeg
from app.core import resources
from app.core.types import Image

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # a loaded machine is slow, not wrong
silence_ffmpeg()  # FFmpeg reads its log level once per process, so it is set before any test opens a video


@pytest.fixture(autouse=True)
def _separate_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's event store and settings."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA"):
        monkeypatch.setenv(name, str(home))
    for name in [name for name in os.environ if name.startswith("MASKWATCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_rejected_logins() -> None:
    """Keep a test away from the logins of another one, whose server may have had the same port."""
    vars(LOGINS).update(vars(type(LOGINS)()))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and clips next to the checkout; they are not part of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real images and clips (../shared/data) are not part of the project")
    return folder


@pytest.fixture(scope="module")
def demo_frame() -> Image:
    """One bare and one masked face."""
    video = cv2.VideoCapture(str(resources.asset("demo.mp4")))
    video.set(cv2.CAP_PROP_POS_FRAMES, 120)
    ok, image = video.read()
    video.release()
    assert ok
    return image  # type: ignore[return-value]
