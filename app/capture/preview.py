"""Live pictures of the cameras that a user can choose from. A camera that hangs delays nothing and nobody."""

import time
from collections.abc import Callable

from app.capture.cameras import CameraDevice
from app.capture.capture import Capture, SourceState
from app.capture.slot import Slot, SlotClosed
from app.capture.source import FrameSource, make_source
from app.core.errors import MaskwatchError
from app.core.types import Frame, Image
from app.settings.source import SourceSettings

_LIMIT_S = 3.0
_WIDTH_PX, _HEIGHT_PX = 640, 480
"""Requested from the cameras: several at full size may exceed the bandwidth of one USB port."""
_PAUSES_S = (2.0, 5.0)
_JOIN_S = 2.0


class CameraPreview:
    """One camera. Its threads are those of a capture, which gives up calls that hang in a driver."""

    def __init__(self, device: CameraDevice, make: Callable[[SourceSettings], FrameSource] = make_source) -> None:
        self.device = device
        settings = SourceSettings(
            uri=device.uri,
            name=device.name[:80],
            width_px=_WIDTH_PX,
            height_px=_HEIGHT_PX,
            open_timeout_s=_LIMIT_S,
            read_timeout_s=_LIMIT_S,
            reconnect_s=_PAUSES_S,
            loop=True,
        )
        self._slot: Slot[Frame] = Slot()
        self._capture = Capture(make(settings), settings, [self._slot])
        self._capture.start()

    @property
    def image(self) -> Image | None:
        """The newest image; None before the first one and while there is an error."""
        frame = self._slot.peek()
        return None if frame is None or self.error else frame.image

    @property
    def error(self) -> str:
        """Why the camera delivers no images; '' if it does, or is still being opened."""
        status = self._capture.status
        is_lost = status.state.name in ("RECONNECTING", "FAILED", "STALE")
        return (status.last_error or "no image arrives") if is_lost else ""

    def stop(self) -> None:
        """Requests the end and returns at once."""
        self._capture.stop()

    def join(self) -> None:
        """Waits until the camera is released, or gives it up after a time limit."""
        self._capture.join(_JOIN_S)


def try_source(settings: SourceSettings, limit_s: float, stopped: Callable[[], bool]) -> tuple[Image | None, str]:
    """The first image of a camera, or None and the reason why there is none within ``limit_s``, without its login."""
    slot: Slot[Frame] = Slot()
    try:
        capture = Capture(make_source(settings), settings, [slot])
    except MaskwatchError as error:
        return None, settings.hide(str(error))
    capture.start()
    end_s = time.monotonic() + limit_s
    try:
        while time.monotonic() < end_s and not stopped():
            try:
                frame = slot.get(0.1)
            except SlotClosed:
                break
            if frame is not None:
                return frame.image, ""
            if capture.status.state in (SourceState.RECONNECTING, SourceState.FAILED):
                break
        return None, capture.status.last_error or f"no image arrives within {limit_s:.0f} s; check the address"
    finally:
        capture.stop()
        capture.join(_JOIN_S)
