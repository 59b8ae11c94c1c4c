"""Decoders of graphics processors: without one that works, the CPU decodes."""

import logging
from functools import cache

from av.codec import Codec
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.error import FFmpegError

_log = logging.getLogger(__name__)

_IN_ORDER = ("cuda", "videotoolbox", "d3d11va", "vaapi", "qsv")
"""``auto`` uses the first one that works."""


def hardware_decoder(name: str) -> HWAccel | None:
    """The decoder of the setting ``decoder``; None for the CPU. A codec that it does not know is decoded by the CPU."""
    if name == "cpu":
        return None
    usable = next((each for each in (_IN_ORDER if name == "auto" else (name,)) if not _fault(each)), None)
    if usable is None:
        _warn(name)
        return None
    return HWAccel(usable, allow_software_fallback=True)


@cache
def _fault(name: str) -> str:
    """Why the decoder cannot be used; empty if it can. It is tried once, and not with a camera."""
    if name not in hwdevices_available():
        return f"this FFmpeg has only {', '.join(hwdevices_available()) or 'none'}"
    try:
        HWAccel(name).create(Codec("h264", "r"))
    except (FFmpegError, OSError, NotImplementedError) as error:
        return f"its device or driver is missing ({getattr(error, 'strerror', None) or error})"
    return ""


@cache
def _warn(name: str) -> None:
    """Says once why the CPU decodes."""
    why = "none of them works on this machine" if name == "auto" else _fault(name)
    _log.warning("the hardware decoder %s cannot be used: %s; the CPU decodes", name, why)
