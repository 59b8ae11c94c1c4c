"""The main stream of a camera whose sub-stream is analysed: its newest packets are kept, and decoded only for
snapshots and clips. So its large images cost next to nothing while nothing happens."""

import io
import logging
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
from av.error import FFmpegError
from av.packet import Packet

from app.capture.opencv_backend import open_stream
from app.capture.pyav_backend import PyavReader
from app.capture.reader import decode_image, image_stamp_s, released
from app.core.errors import SourceError
from app.core.types import Image
from app.settings.source import SourceSettings

_log = logging.getLogger(__name__)

_MAX_BYTES = 64 * 2**20
"""Memory for the packets of one camera: a minute at 8 Mbit/s."""
_NEAR_S = 0.5
"""An image further than this from the wanted time shows something else."""
_GAP_S = 1.0
"""A stream that lacks more than this at the start or at the end of a time does not have it."""
_SOON_S = 2.0
"""An alert does not wait longer for its image: a 4K stream may have hundreds of images between two key frames."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A packet in memory. ``arrival_s`` is ``time.monotonic()``; ``stamp_s`` its time stamp."""

    arrival_s: float
    stamp_s: float
    packet: "Packet[Any]"


class MainStream:
    """Reads the stream ``settings.main_uri`` in a thread of its own; after a fault it connects again."""

    def __init__(self, settings: SourceSettings, keep_s: float) -> None:
        """``keep_s``: how far back images can be asked for."""
        assert settings.main_uri is not None
        self._settings = settings.with_uri(settings.main_uri)
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._packets: deque[_Kept] = deque()
        self._size_bytes = 0
        self._reader: PyavReader | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"main stream of {settings.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Returns at once: a read of a silent camera lasts until its time limit."""
        self._stop.set()

    def images(
        self, first_s: float, last_s: float, step_s: float = 0.0, limit_s: float = math.inf
    ) -> Iterator[tuple[float, Image]]:
        """The images from ``first_s`` to ``last_s``, at most one in ``step_s``, each with its time; all times are
        ``time.monotonic()``. None of them if the stream does not have them.

        Raises SourceError if they cannot be decoded, or not within ``limit_s``.
        """
        found = self._recording(first_s, last_s)
        if found is None:
            return
        video, start_s = found
        end_s = time.monotonic() + limit_s
        try:
            with released(PyavReader(video, threads=1)) as reader:
                reader.select(step_s, False, max(first_s - start_s, 0.0))
                while True:
                    image, ok = decode_image(reader, self._settings)
                    stamp_s = image_stamp_s(reader)
                    if not ok or (stamp_s is not None and start_s + stamp_s > last_s):
                        return
                    if time.monotonic() > end_s:
                        raise SourceError(f"the main stream of {self._settings.name} is not decoded in {limit_s:.0f} s")
                    if image is not None and stamp_s is not None:
                        yield start_s + stamp_s, image
        except (FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"cannot decode the main stream of {self._settings.name}: {error}") from error

    def image(self, at_s: float) -> tuple[float, Image] | None:
        """The image nearest to ``at_s`` and its time, both ``time.monotonic()``; None if there is none near it."""
        nearest: tuple[float, Image] | None = None
        try:
            for each in self.images(at_s - _NEAR_S, at_s + _NEAR_S, limit_s=_SOON_S):
                if nearest is not None and abs(each[0] - at_s) >= abs(nearest[0] - at_s):
                    break
                nearest = each
        except SourceError as error:
            _log.warning("%s", error)
        return nearest

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt, is_reported = 0, False
        while not self._stop.is_set():
            try:
                with released(open_stream(self._settings)) as reader:
                    if not isinstance(reader, PyavReader):
                        raise SourceError(f"{self._settings.shown} gives no packets; remove backend = 'gstreamer'")
                    if is_reported:
                        _log.info("%s: its main stream is back", self._settings.name)
                    attempt, is_reported = 0, False
                    self._keep(reader)
            except SourceError as error:
                if not is_reported:
                    _log.warning(
                        "%s: snapshots and clips come from the sub-stream: main_uri: %s", self._settings.name, error
                    )
                is_reported = True
            waits_s = self._settings.reconnect_s
            self._stop.wait(waits_s[min(attempt, len(waits_s) - 1)])
            attempt += 1

    def _keep(self, reader: PyavReader) -> None:
        """Keeps the packets of ``reader`` until it ends."""
        with self._lock:
            self._packets.clear()
            self._size_bytes, self._reader = 0, reader
        try:
            for packet in reader.packets():
                if self._stop.is_set():
                    return
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is None or packet.time_base is None or not packet.size:
                    continue
                with self._lock:
                    self._append(_Kept(time.monotonic(), float(stamp * packet.time_base), packet))
        finally:
            with self._lock:
                self._reader = None

    def _append(self, kept: _Kept) -> None:
        packets = self._packets
        if not packets and not kept.packet.is_keyframe:
            return
        packets.append(kept)
        self._size_bytes += kept.packet.size
        if not kept.packet.is_keyframe:
            if self._size_bytes > _MAX_BYTES:  # no key frame for so long
                packets.clear()
                self._size_bytes = 0
            return
        keys = [i for i, each in enumerate(packets) if each.packet.is_keyframe]
        oldest_s = kept.arrival_s - self._keep_s
        while len(keys) > 1 and (packets[keys[1]].arrival_s <= oldest_s or self._size_bytes > _MAX_BYTES):
            count = keys[1]
            for _ in range(count):
                self._size_bytes -= packets.popleft().packet.size
            keys = [i - count for i in keys[1:]]

    def _recording(self, first_s: float, last_s: float) -> tuple[io.BytesIO, float] | None:
        """A video of the packets from the last key frame before ``first_s`` on until about ``last_s``, and the
        ``time.monotonic()`` of its start; None if there are none."""
        with self._lock:
            if self._reader is None or not self._packets:
                return None
            offset_s = statistics.median(each.arrival_s - each.stamp_s for each in self._packets)
            packets = [each for each in self._packets if each.stamp_s + offset_s <= last_s + _GAP_S]
            begins = [i for i, each in enumerate(packets) if each.packet.is_keyframe]
            packets = packets[max((i for i in begins if packets[i].stamp_s + offset_s <= first_s), default=0) :]
            if not packets or packets[-1].stamp_s + offset_s < last_s - _GAP_S:
                return None
            if packets[0].stamp_s + offset_s > first_s + _GAP_S:
                return None
            video = io.BytesIO()
            try:
                with av.open(video, "w", format="matroska") as container:
                    stream = container.add_stream_from_template(self._reader.stream)
                    for each in packets:
                        container.mux(_copy(each, stream))
            except (FFmpegError, ValueError) as error:
                raise SourceError(f"cannot keep the main stream of {self._settings.name}: {error}") from error
        video.seek(0)
        return video, min(each.stamp_s for each in packets) + offset_s


class MainStreams:
    """The main streams of all cameras that have one."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._of: dict[str, tuple[SourceSettings, MainStream]] = {}

    def apply(self, cameras: Sequence[SourceSettings]) -> None:
        """Begins and ends streams so that there is one for each of ``cameras`` that has one."""
        wanted = {camera.name: camera for camera in cameras if camera.main_uri is not None}
        for name, (settings, stream) in list(self._of.items()):
            if name not in wanted or _source_of(wanted[name]) != _source_of(settings):
                stream.close()
                del self._of[name]
        for name in wanted.keys() - self._of.keys():
            stream = MainStream(wanted[name], self._keep_s)
            self._of[name] = wanted[name], stream
            stream.start()

    def get(self, camera: str) -> MainStream | None:
        found = self._of.get(camera)
        return found[1] if found is not None else None

    def close(self) -> None:
        self.apply(())


def _source_of(camera: SourceSettings) -> list[object]:
    """What a stream depends on: not the zones and the policy of a camera."""
    return [getattr(camera, name) for name in SourceSettings.model_fields]


def _copy(kept: _Kept, stream: Any) -> "Packet[Any]":
    """A packet for ``stream``; writing changes its time stamps."""
    copy: Packet[Any] = Packet(bytes(kept.packet))
    copy.pts = kept.packet.dts if kept.packet.pts is None else kept.packet.pts
    copy.dts, copy.time_base = kept.packet.dts, kept.packet.time_base
    copy.is_keyframe = kept.packet.is_keyframe
    copy.stream = stream
    return copy
