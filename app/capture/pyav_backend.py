"""FFmpeg's video reader through PyAV: each image is new, deinterlaced, and upright as its container says.

OpenCV's own FFmpeg reader is not used: since version 4.13 it reports success for frames that it cannot convert
(interlaced ones, rare colour matrices) and returns the memory of an earlier video.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import cv2
import numpy as np
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from app.core.types import Image

_log = logging.getLogger(__name__)

_PATIENCE_S = 0.2
"""A read without a frame, such as before the first key frame, returns an empty image after this time."""
_MAX_READ_ERRORS = 10
"""Unreadable packets in a row after which a video has ended."""
_MAX_FPS = 250.0
_NEGLIGIBLE_FRAMES = 4
"""If at least so many frames lie between two selected ones, frames that no other frame refers to are not decoded."""
_SEEK_LEADS_S = (10.0, 60.0, math.inf)
"""How long before the wanted time decoding starts: videos with intra refresh need some seconds until an image is
complete, and MPEG-TS has no index, so a seek may end too late."""
_ROUNDING = 1e-6
_MOST_KEPT, _MOST_KEPT_BYTES = 250, 4 * 2**20
"""Skipped packets that are kept until an image needs them: about 8 s of a usual stream. To decode more at once (8 ms
each at 4K) would last longer than a read may: cameras with "smart" codecs send up to 30 s without a key frame."""
_ONE_THREAD_PX = 1920 * 1080
"""Up to this size one thread decodes fast enough; more would cost processor time and hold more frames."""
_EMPTY = np.empty((0, 0, 3), np.uint8)

# ITU-T H.273: matrix coefficients. sws_scale rejects the others, so frames get the nearest of these.
_BT709, _FCC, _BT470BG, _SMPTE170M, _SMPTE240M, _YCGCO, _BT2020 = 1, 4, 5, 6, 7, 8, 9
_SUPPORTED_MATRICES = frozenset({0, _BT709, 2, 3, _FCC, _BT470BG, _SMPTE170M, _SMPTE240M, _BT2020})
_NEAREST_MATRIX = {10: _BT2020, 12: _BT709, 13: _BT709, 14: _BT2020}
_MATRIX_NAMES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE 2085", 12: "chromaticity-derived",
                 13: "chromaticity-derived constant luminance", 14: "ICtCp"}  # fmt: skip
_UNSPECIFIED = 2
_FULL_RANGE = 2
_NO_TIMESTAMPS = 0x80
"""libavformat's AVFMT_NOTIMESTAMPS."""
_DURATION_FROM_ZERO = frozenset({"matroska,webm", "nut"})
"""Formats whose duration counts from 0, also if the first stamp is later."""
_side_data: Any = SideDataContainer
"""Instead of ``frame.side_data``, which refers to its frame and back: each frame would stay in memory until the garbage
collector runs (90 MB at 720p)."""
_STILL_CODECS = frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000", "jpegls", "ppm", "targa"})


class NoVideoError(ValueError):
    """The container opens but has no video."""


class PyavReader:
    """Reads the video of ``address`` with the methods of ``cv2.VideoCapture``; ``address`` may be a file object.
    ``limits_s`` are the time limits of the opening and of each read. Raises FFmpegError or NoVideoError if it cannot be
    opened."""

    def __init__(
        self,
        address: Any,
        options: Mapping[str, str] | None = None,
        limits_s: tuple[float, float] | None = None,
        threads: int = 0,
        hardware: HWAccel | None = None,
    ) -> None:
        av.logging.set_level(None)
        self._address = address
        given = dict(options or {})
        container_format = given.pop("format", None)  # the name of the format, instead of FFmpeg's guess
        self._container = av.open(address, format=container_format, options=given, timeout=limits_s, hwaccel=hardware)
        try:
            self.stream = video_stream(self._container.streams.video)
        except NoVideoError:
            self._container.close()
            raise
        codec = self.stream.codec_context
        codec.thread_type = "AUTO"
        codec.thread_count = threads or int(codec.width * codec.height <= _ONE_THREAD_PX)
        self.reached_s = 0.0
        """The highest time of a packet that was read, also of a frame that is not selected."""
        self._every_s, self._from_s, self._key_frames = 0.0, 0.0, False
        self._skips = False
        self._kept: list[Packet[VideoStream]] = []
        self._cell = -1
        self._container_sar = self.stream.sample_aspect_ratio
        if self._container_sar == self.stream.codec_context.sample_aspect_ratio:
            self._container_sar = None  # it comes from the codec and may change with it
        self._frames: Iterator[VideoFrame | None] = self._decode()
        self._stamped = False
        self._graph: Graph | None = None
        self._graph_input: tuple[object, ...] = ()
        self._warned: set[int] = set()
        self._converter = VideoReformatter()
        self._time_s = math.nan
        self._pixel_aspect = Fraction(1)
        self._matrix: bytes | None = None

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        """The next image; (True, an empty image) if packets arrive but no frame yet; (False, None) at the end. Raises
        ValueError if the frame cannot be converted."""
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                frame = next(self._frames)
            except StopIteration:
                return False, None
            except FFmpegError as error:
                _log.debug("read error: %s", type(error).__name__)  # its text may contain the password
                return False, None
            if frame is not None:
                self._observe(frame)
                if self._is_selected():
                    return True, self._upright(frame)
            if time.monotonic() >= end_s:
                return True, _EMPTY

    def grab(self) -> bool:
        """Skips a packet; False at the end. The next ``read`` decodes the skipped packets from the last key frame on,
        because its image may refer to them, and converts only that image."""
        self._skips = True
        try:
            next(self._frames)
        except (StopIteration, FFmpegError):
            return False
        finally:
            self._skips = False
        return True

    def packets(self) -> "Iterator[Packet[VideoStream]]":
        """The packets, instead of the images of ``read``; ends with the stream."""
        with suppress(FFmpegError):
            yield from self._container.demux(self.stream)

    @property
    def backlog(self) -> int:
        """How many skipped packets the next ``read`` decodes."""
        return len(self._kept)

    @property
    def container(self) -> Any:
        """The open container, to read its metadata."""
        return self._container

    @property
    def size_px(self) -> tuple[int, int]:
        return self.stream.codec_context.width, self.stream.codec_context.height

    @property
    def has_stamps(self) -> bool:
        """Whether the container stores time stamps, so that reading may start anywhere."""
        return not self._container.format.flags & _NO_TIMESTAMPS

    def select(self, every_s: float, key_frames: bool, from_s: float) -> None:
        """From now on ``read`` returns only the first frame of each period of ``every_s`` (0: all frames), only key
        frames if ``key_frames``, from stream time ``from_s`` on. It must be called before the first ``read``.

        The other frames are not converted and, if nothing refers to them, not decoded. A frame is selected by its own
        time stamp only, so the same frames are selected from every ``from_s``.
        """
        self._every_s, self._from_s, self._key_frames = every_s, from_s, key_frames
        if key_frames:
            self.stream.codec_context.skip_frame = "NONKEY"
        elif every_s * self._fps() >= _NEGLIGIBLE_FRAMES:
            self.stream.codec_context.skip_frame = "NONREF"
        if from_s > 0 and self.has_stamps:
            self._seek(from_s)

    def _seek(self, time_s: float) -> None:
        """Continues with a key frame before ``time_s``; with the first one if the container has no index."""
        assert self.stream.time_base is not None
        start, ticks_per_s = self.stream.start_time or 0, 1 / self.stream.time_base
        for lead_s in _SEEK_LEADS_S:
            self._graph = None
            target = start + int(max(time_s - lead_s, 0.0) * ticks_per_s)
            self._container.seek(target, stream=self.stream, backward=True)
            self._frames = self._decode()
            first = next((frame for frame in self._frames if frame is not None), None)
            if first is None:
                continue
            self._observe(first)
            if self._time_s <= time_s or math.isinf(lead_s):
                self._frames = chain([first], self._frames)
                return

    def _is_selected(self) -> bool:
        """Whether ``read`` returns the last observed frame. Frames without a time stamp are all returned."""
        if math.isnan(self._time_s) or not (self._every_s or self._from_s):
            return True
        cell = math.floor(self._time_s / self._every_s + _ROUNDING) if self._every_s else self._cell + 1
        if self._time_s < self._from_s - _ROUNDING or cell <= self._cell:
            return False
        self._cell = cell
        return True

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        """The frame rate, the number of frames, or the time or pixel shape of the last image; 0 if it is unknown."""
        match propId:
            case cv2.CAP_PROP_POS_MSEC:
                return self._time_s * 1000
            case cv2.CAP_PROP_FPS:
                return self._fps()
            case cv2.CAP_PROP_FRAME_COUNT:
                return float(self._frame_count())
            case cv2.CAP_PROP_SAR_NUM:
                return float(self._pixel_aspect.numerator)
            case cv2.CAP_PROP_SAR_DEN:
                return float(self._pixel_aspect.denominator)
        return 0.0

    def release(self) -> None:
        self._frames = iter(())
        self._graph = None
        self._container.close()
        if not isinstance(self._address, str):
            self._address.close()

    def _fps(self) -> float:
        """The mean rate of the container; the rate that the codec declares if the container has no time stamps (raw
        H.264) or gives its time base as the rate (DV)."""
        container, codec = float(self.stream.average_rate or 0), float(self.stream.codec_context.framerate or 0)
        return container if 0 < container <= _MAX_FPS and (self.has_stamps or not codec) else codec

    def _frame_count(self) -> int:
        """As the container says, but not more than its duration: a video that was cut without encoding it again has
        frames that must not be shown (edit lists of MP4)."""
        of_duration = round(self.duration_s * self._fps())
        return min(self.stream.frames or of_duration, of_duration or self.stream.frames)

    @property
    def duration_s(self) -> float:
        """As the container says; 0 if it does not."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return float(self.stream.duration * self.stream.time_base)
        return container_duration_s(self._container)

    def _decode(self) -> Iterator[VideoFrame | None]:
        """The frames in order; None for each packet that gives none. A damaged packet costs only its frame."""
        errors = 0
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.InvalidDataError:
                errors += 1
                if errors > _MAX_READ_ERRORS:
                    raise
                packets = self._container.demux(self.stream)
                continue
            errors = 0
            stamp = packet.dts if packet.pts is None else packet.pts
            self.reached_s = max(self.reached_s, self._stream_time_s(stamp, packet.time_base))  # NaN: no change
            if self._key_frames and packet.size and not packet.is_keyframe:
                yield None
                continue
            self._stamped |= packet.pts is not None
            if packet.is_keyframe:
                self._kept.clear()
            self._kept.append(packet)
            if self._skips:
                # With B-frames, FFmpeg may not find out when a packet of RTSP or Matroska is decoded
                stamp = packet.pts if packet.dts is None else packet.dts
                self._time_s = self._stream_time_s(stamp, packet.time_base)
                if len(self._kept) < _MOST_KEPT and sum(each.size for each in self._kept) < _MOST_KEPT_BYTES:
                    yield None
                    continue
            kept, self._kept = self._kept, []
            frames: list[VideoFrame] = []
            for each in kept:
                with suppress(FFmpegError):
                    frames = self.stream.decode(each)
            for frame in frames:
                yield from self._progressive(frame)
            if not frames:
                yield None
        yield from self._flush()

    def _progressive(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """``frame``, or deinterlaced frames, which are one frame late."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and self._graph_input != kind:
            yield from self._flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph, self._graph_input = self._deinterlacer(frame), kind
        self._graph.vpush(frame)
        yield from self._pull()

    def _deinterlacer(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
            graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            graph.add("buffersink"),
        ).configure()
        return graph

    def _pull(self) -> Iterator[VideoFrame]:
        while self._graph is not None:
            try:
                yield self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return

    def _flush(self) -> Iterator[VideoFrame]:
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pull()
            self._graph = None

    def _observe(self, frame: VideoFrame) -> None:
        """Keeps the time and the display matrix of ``frame``; H.264 and H.265 send the matrix with key frames only."""
        # PyAV counts frames where a packet has no stamp
        self._time_s = self._stream_time_s(frame.pts if self._stamped else frame.dts, frame.time_base)
        try:
            matrix = _side_data(frame).get("DISPLAYMATRIX")
        except ValueError:  # PyAV 18 does not know all types of FFmpeg 8, for example EXIF data in motion JPEG
            matrix = None
        if matrix is not None or frame.key_frame:
            self._matrix = None if matrix is None else bytes(matrix)

    def _stream_time_s(self, stamp: int | None, unit: Fraction | None) -> float:
        """Seconds since the start of the stream; NaN without a stamp."""
        if stamp is None or unit is None or self.stream.time_base is None:
            return math.nan
        start = self.stream.start_time or 0
        if unit == self.stream.time_base:
            return (stamp - start) * unit.numerator / unit.denominator
        return float(stamp * unit - start * self.stream.time_base)

    def _upright(self, frame: VideoFrame) -> Image:
        """The BGR image of the observed ``frame``, turned by its display matrix; keeps its pixel shape for ``get``."""
        sar = self._container_sar or self.stream.codec_context.sample_aspect_ratio
        self._pixel_aspect = sar or Fraction(1)
        image = self._to_bgr(frame)
        if self._matrix is None:
            return image
        a, b, _, c, d = np.frombuffer(self._matrix, "<i4", 5)  # FFmpeg: (x, y) is shown at (ax + cy, bx + dy)
        if abs(int(b)) + abs(int(c)) > abs(int(a)) + abs(int(d)):
            self._pixel_aspect = 1 / self._pixel_aspect
            image = cv2.transpose(image)  # type: ignore[assignment]
            a, d = c, b
        if a < 0 or d < 0:
            image = cv2.flip(image, 1 if d >= 0 else 0 if a >= 0 else -1)  # type: ignore[assignment]
        return image

    def _to_bgr(self, frame: VideoFrame) -> Image:
        """(H, W, 3) uint8 BGR in memory of its own."""
        matrix = frame.colorspace
        if matrix == _YCGCO:
            return _from_ycgco(frame)
        if matrix not in _SUPPORTED_MATRICES:
            if matrix not in self._warned:
                self._warned.add(matrix)
                name = _MATRIX_NAMES.get(matrix, str(matrix))
                _log.warning(
                    "the video uses the colour matrix %s, which is only approximated; its colours differ", name
                )
            frame.colorspace = _NEAREST_MATRIX.get(matrix, _BT709)
        frame.color_trc = frame.color_primaries = _UNSPECIFIED  # not converted; some values are rejected by PyAV 17
        try:
            bgr = self._converter.reformat(frame, format="bgr24", threads=1)
        except FFmpegError as error:
            raise ValueError(f"its pixel format {frame.format.name} cannot be converted ({error.strerror})") from error
        row_bytes, plane = 3 * bgr.width, bgr.planes[0]
        if bgr is frame or plane.line_size != row_bytes:  # the memory is the decoder's, or its rows have gaps
            return bgr.to_ndarray()  # type: ignore[return-value]
        pixels = np.frombuffer(plane, np.uint8, row_bytes * bgr.height)  # type: ignore[call-overload]
        return pixels.reshape(bgr.height, bgr.width, 3)  # type: ignore[no-any-return]


def container_duration_s(container: Any) -> float:
    """0 if it is unknown."""
    duration = container.duration or 0
    if container.format.name in _DURATION_FROM_ZERO:
        duration -= container.start_time or 0
    return float(max(duration, 0) / av.time_base)


def video_stream(streams: "tuple[VideoStream, ...]") -> VideoStream:
    """The first video that is not a cover image. Raises NoVideoError if there is none."""
    videos = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    videos = [stream for stream in videos if stream.codec_context is not None]
    if not videos:
        what = "only a cover image" if streams else "no video"
        raise NoVideoError(f"it contains {what}")
    return min(videos, key=lambda stream: (stream.frames == 1, stream.codec_context.name in _STILL_CODECS))


def _from_ycgco(frame: VideoFrame) -> Image:
    """The BGR image of a YCgCo frame (ITU-T H.273, matrix coefficients 8)."""
    full = frame.color_range == _FULL_RANGE
    frame.colorspace = _BT709  # only resampled here, not converted
    planes = frame.reformat(format="yuv444p").to_ndarray()  # (3, H, W): Y, Cg, Co
    luma, chroma = (1.0, 1.0) if full else (255 / 219, 255 / 224)
    black = 0 if full else 16
    to_bgr = np.array([[1, -1, -1], [1, 1, 0], [1, -1, 1]], np.float64) * (luma, chroma, chroma)
    offset = to_bgr @ (-black, -128, -128)
    return cv2.transform(np.dstack(list(planes)), np.column_stack([to_bgr, offset]))  # type: ignore[return-value]
