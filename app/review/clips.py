"""Stores a short video of each event: the newest images of each camera are kept in memory as JPEG, and written after
the event by a thread of its own. Neither the analysis nor an event ever waits for it."""

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from app.capture.main_stream import MainStream
from app.capture.recorder import VideoWriter
from app.core.cpu import cores_allowed
from app.core.errors import OutputError, SourceError
from app.core.files import write_json
from app.core.images import jpeg_bytes, jpeg_image, resize
from app.core.text import counted
from app.core.types import SAME_FACE_IOU, Box, Event, FrameResult, Image, Track
from app.review.picture_folder import PictureFolder
from app.settings.review import ClipSettings

log = logging.getLogger(__name__)

VIDEO, RECORD, POSTER = ".clip.mp4", ".clip.json", ".clip.jpg"
MAX_QUEUE_BYTES = 40_000_000
"""Memory for the images of clips that wait for the disk; above it, clips are dropped."""
_MAX_QUEUE = 50
_QUALITY, _MIN_QUALITY = 80, 30
_BLUR_SLACK_S = 0.5
"""A face is hidden this long before its first and after its last detection too."""
_LATE_S = 3.0
"""How much longer than ``after_s`` the end of a clip is waited for: the camera may have stopped."""
_WAIT_S = 0.5
_LOAD_PER_CORE = 0.05


@dataclass(frozen=True, slots=True)
class KeptImage:
    """One image in memory. Boxes are in its own pixels; ``faces`` are all boxes that may have to be hidden.
    ``captured_s`` is ``time.monotonic()``."""

    time_s: float
    captured_s: float
    jpeg: bytes
    size: tuple[int, int]
    tracks: tuple[Track, ...]
    faces: tuple[Box, ...]


@dataclass(slots=True)
class _Camera:
    """The images of one camera in memory, and the events whose clip is not complete yet: (event, stream time around
    which the clip lies, monotonic time at which it is complete at the latest)."""

    images: deque[KeptImage] = field(default_factory=deque)
    waiting: FrameResult | None = None
    due_s: float = -1e9
    quality: int = _QUALITY
    since_s: float = -math.inf
    """Images that were captured before are not kept."""
    events: list[tuple[Event, float, float]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return sum(len(image.jpeg) for image in self.images)


@dataclass(frozen=True, slots=True)
class _Clip:
    event: Event
    centre_s: float
    images: tuple[KeptImage, ...]


class ClipRecorder:
    """``on_result`` and ``on_event`` return at once; they may be called from any thread. Two threads do the work: one
    encodes images, one writes videos."""

    def __init__(
        self,
        settings: ClipSettings,
        folder: PictureFolder,
        blur_all: bool,
        max_load: float | None = None,
        main_stream: Callable[[str], MainStream | None] = lambda _: None,
    ) -> None:
        """``main_stream`` of a camera, if it has one: its clips are made of it.

        ``max_load``: the share of the time of one core, 0 to 1, in which images are encoded; by default, a twentieth
        of all cores. On a busy machine encoding takes longer, so a clip has fewer images."""
        self._settings = settings
        self._folder = folder
        self._main_stream = main_stream
        self._blur_all = blur_all or settings.faces == "blur_all"
        self._max_load = min(_LOAD_PER_CORE * cores_allowed(), 0.5) if max_load is None else max_load
        self._changed = threading.Condition()
        self._cameras: dict[str, _Camera] = {}
        self._clips: deque[_Clip] = deque()
        self._stopping = self._complete = self._is_encoding = False
        self._is_slow = False
        self._late: list[Event] = []
        self.written = self.dropped = 0
        self.largest_bytes = 0
        """The most memory that the images of one camera needed."""
        self._threads = [
            threading.Thread(target=self._guarded, args=(body,), name=name, daemon=True)
            for name, body in (("clip-ring", self._run_ring), ("clip-writer", self._run_writer))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def on_result(self, result: FrameResult) -> None:
        """Takes the image of ``result``, unless the last one is too recent. A slow machine skips images."""
        time_s = result.frame.time_s
        with self._changed:
            camera = self._cameras.setdefault(result.frame.camera, _Camera())
            step_s = 1.0 / self._settings.max_fps
            if camera.due_s - 2 * step_s < time_s < camera.due_s:
                return
            camera.due_s = max(camera.due_s + step_s, time_s + step_s / 2) if time_s >= camera.due_s else time_s
            camera.waiting = result
            self._changed.notify_all()

    def on_event(self, event: Event) -> None:
        """Keeps a clip of ``event``."""
        with self._changed:
            if self._stopping:
                self._late.append(event)
                return
            camera = self._cameras.setdefault(event.camera, _Camera())
            end_s = time.monotonic() + self._settings.after_s + _LATE_S
            newest = camera.waiting.frame.time_s if camera.waiting else None
            if newest is None and camera.images:
                newest = camera.images[-1].time_s
            # The time of an event without a frame (a camera is offline) lies after the last image.
            centre_s = event.time_s if newest is None else min(event.time_s, newest)
            camera.events.append((event, centre_s, end_s))
            self._changed.notify_all()

    def late_events(self) -> list[Event]:
        """The events since ``close``, for the recorder that follows."""
        with self._changed:
            return self._late

    def forget(self, camera: str, until_s: float) -> None:
        """Drops the images of ``camera`` that were captured before ``until_s`` (``time.monotonic()``)."""
        with self._changed:
            known = self._cameras.setdefault(camera, _Camera())
            known.since_s = until_s
            while known.images and known.images[0].captured_s < until_s:
                known.images.popleft()

    @property
    def is_idle(self) -> bool:
        """Whether all images so far are encoded."""
        with self._changed:
            return not self._is_encoding and not any(each.waiting for each in self._cameras.values())

    def close(self, timeout_s: float = 3.0) -> list[str]:
        """Writes the clips that are not complete with what there is, within ``timeout_s``. Returns what was lost."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(end_s - time.monotonic(), 0.0))
        with self._changed:
            writing = self._threads[1].is_alive()
            self.dropped += len(self._clips) + writing
            self._clips.clear()
        if not self.dropped:
            return []
        return [f"{counted(self.dropped, 'clip')} of events could not be written to {self._folder.path}"]

    def _guarded(self, body: Callable[[], None]) -> None:
        """The body of each thread: a fault ends the clips, never the watching."""
        lower_priority()
        try:
            body()
        except Exception:  # the thread guard
            log.exception("clips are no longer recorded; please report it")
            with self._changed:
                self._stopping = self._complete = True
                self._changed.notify_all()

    # -- images in memory ------------------------------------------------------------------------------------------

    def _run_ring(self) -> None:
        while True:
            with self._changed:
                if not self._stopping and not any(each.waiting for each in self._cameras.values()):
                    self._changed.wait(_WAIT_S)
                is_last = self._stopping
                work = [(camera, camera.waiting) for camera in self._cameras.values()]
                for camera, _ in work:
                    camera.waiting = None
                self._is_encoding = True
            start_s = time.monotonic()
            for camera, result in work:
                image = None if result is None else self._encoded(result, camera.quality)
                with self._changed:
                    if image is not None:
                        self._keep(camera, image)
                    self._finish_due(camera, is_last)
            pause_s = (time.monotonic() - start_s) * (1 / self._max_load - 1)
            with self._changed:
                self._is_encoding = False
                if is_last:
                    break
                self._changed.wait_for(lambda: self._stopping, pause_s)
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def _encoded(self, result: FrameResult, quality: int) -> KeptImage:
        image, factor = _shrunk(result.frame.image, self._settings)
        tracks = tuple(_scaled(track, factor) for track in result.tracks)
        faces = tuple(box.scaled(factor) for box in result.faces)
        size = image.shape[1], image.shape[0]
        return KeptImage(result.frame.time_s, result.frame.captured_s, jpeg_bytes(image, quality), size, tracks, faces)

    def _keep(self, camera: _Camera, image: KeptImage) -> None:
        settings, images = self._settings, camera.images
        if image.captured_s < camera.since_s:
            return
        if images and image.time_s <= images[-1].time_s:  # a source that began again
            self._finish_due(camera, True)  # these images are of none of its events
            images.clear()
        images.append(image)
        first_s = min([image.time_s, *(centre_s for _, centre_s, _ in camera.events)]) - settings.before_s
        limit_bytes, total = settings.ring_mb * 1e6, camera.size_bytes
        while images and (images[0].time_s < first_s or total > limit_bytes):
            total -= len(images.popleft().jpeg)
        self.largest_bytes = max(self.largest_bytes, total)
        share = len(image.jpeg) * settings.max_fps * (settings.before_s + settings.after_s) / limit_bytes
        step = -10 if share > 1 else 5 if share < 0.6 else 0
        camera.quality = min(max(camera.quality + step, _MIN_QUALITY), _QUALITY)

    def _finish_due(self, camera: _Camera, is_last: bool) -> None:
        newest_s = camera.images[-1].time_s if camera.images else -1e9
        now_s, left = time.monotonic(), []
        for event, centre_s, end_s in camera.events:
            if newest_s < centre_s + self._settings.after_s and now_s < end_s and not is_last:
                left.append((event, centre_s, end_s))
                continue
            first_s, last_s = centre_s - self._settings.before_s, centre_s + self._settings.after_s
            images = tuple(image for image in camera.images if first_s <= image.time_s <= last_s)
            if images:
                self._queue(_Clip(event, centre_s, images))
        camera.events = left

    def _queue(self, clip: _Clip) -> None:
        jpegs = {id(each.jpeg): len(each.jpeg) for one in (*self._clips, clip) for each in one.images}
        if len(self._clips) >= _MAX_QUEUE or (self._clips and sum(jpegs.values()) > MAX_QUEUE_BYTES):
            self._drop(f"the disk is too slow; free it or choose another clips.folder than {self._folder.path}")
            return
        self._clips.append(clip)
        self._changed.notify_all()

    def _drop(self, reason: str) -> None:
        """Called with the lock held. Says so once, until a clip is written again."""
        self.dropped += 1
        if not self._is_slow:
            log.warning("clips of events are dropped: %s; events and alerts are not affected", reason)
        self._is_slow = True

    # -- videos on the disk ----------------------------------------------------------------------------------------

    def _run_writer(self) -> None:
        self._folder.delete_incomplete()
        while True:
            with self._changed:
                while not self._clips and not self._complete:
                    self._changed.wait(_WAIT_S)
                if not self._clips:
                    return
                clip = self._clips.popleft()
            try:
                main_stream = self._main_stream(clip.event.camera)
                write_clip(
                    clip.event, clip.centre_s, clip.images, self._folder, self._settings, self._blur_all, main_stream
                )
            except (OutputError, OSError) as error:
                self._folder.delete_item(clip.event.id)
                reason = str(error) if isinstance(error, OutputError) else f"{self._folder.path}: {error.strerror}"
                with self._changed:
                    self._drop(reason)
            else:
                with self._changed:
                    self.written += 1
                    self._is_slow = False


def write_clip(
    event: Event,
    centre_s: float,
    images: Sequence[KeptImage],
    folder: PictureFolder,
    settings: ClipSettings,
    blur_all: bool,
    main_stream: MainStream | None = None,
) -> None:
    """Writes the video of ``event``, its poster and the boxes of its faces. Raises OutputError or OSError."""
    from app.ui.canvas import Canvas, blur_faces  # imported late: most runs have no clips
    from app.ui.faces import draw_faces, text_unit

    folder.create()
    middle = min(images, key=lambda image: abs(image.time_s - centre_s))
    images = [image for image in images if image.size == middle.size]  # others are from before or after a rotation
    start_s = images[0].time_s
    steps_s = sorted(b.time_s - a.time_s for a, b in pairwise(images))
    fps = min(1.0 / steps_s[len(steps_s) // 2], settings.max_fps) if steps_s else 1.0
    pictures = _of_main_stream(main_stream, images, settings) if main_stream is not None else iter(())
    first = next(pictures, None)
    if first is None:
        pictures = ((each.time_s, i, jpeg_image(each.jpeg)) for i, each in enumerate(images))
    else:
        pictures, fps = chain([first], pictures), settings.max_fps
        start_s = first[0]
    frames: list[dict[str, object]] = []
    poster: Image | None = None
    poster_off_s = math.inf
    with ExitStack() as stack:
        video: VideoWriter | None = None
        for time_s, i, image in pictures:
            height, width = image.shape[:2]
            horizontal, vertical = width / images[i].size[0], height / images[i].size[1]
            if video is None:
                video = stack.enter_context(VideoWriter(folder.file(event.id, VIDEO), fps, (width, height)))
            if blur_all or settings.faces != "show":
                hidden = _hidden(images, i, 0 if blur_all else event.track_id)
                blur_faces(image, [box.stretched(horizontal, vertical) for box in hidden])
            if settings.annotated:
                tracks = [replace(t, box=t.box.stretched(horizontal, vertical)) for t in images[i].tracks]
                draw_faces(Canvas(image, text_unit(width, height)), tracks, 1.0)
            if abs(time_s - centre_s) < poster_off_s:
                poster, poster_off_s = image, abs(time_s - centre_s)
            video.write(image, time_s - start_s)
            frames.append(
                {"t": round(time_s - start_s, 3), "faces": [_face(t, images[i].size) for t in images[i].tracks]}
            )
        assert poster is not None  # there is at least one image
        folder.file(event.id, POSTER).write_bytes(jpeg_bytes(poster, _QUALITY))
        record = {
            "event": event.id,
            "camera": event.camera,
            "kind": event.kind.value,
            "at_s": round(centre_s - start_s, 3),
            "annotated": settings.annotated,
            "frames": frames,
        }
        write_json(folder.file(event.id, RECORD), record)


def _of_main_stream(
    stream: MainStream, images: Sequence[KeptImage], settings: ClipSettings
) -> Iterator[tuple[float, int, Image]]:
    """The images of the main stream in the time of ``images``: stream time, the number of the nearest of ``images``,
    image. None if the main stream has nothing of that time."""
    size: tuple[int, ...] = ()
    try:
        for captured_s, image in stream.images(images[0].captured_s, images[-1].captured_s, 1 / settings.max_fps):
            if size in ((), image.shape):  # others are from before or after a rotation
                size = image.shape
                i = min(range(len(images)), key=lambda k: abs(images[k].captured_s - captured_s))
                yield captured_s - images[i].captured_s + images[i].time_s, i, _shrunk(image, settings)[0]
    except SourceError as error:
        log.warning("the clip is made of the sub-stream: %s", error)


def _shrunk(image: Image, settings: ClipSettings) -> tuple[Image, float]:
    """``image`` with the largest width of a clip, and by which factor it was shrunk."""
    height, width = image.shape[:2]
    factor = min(1.0, settings.max_width_px / width)
    if factor < 1:
        image = resize(image, round(width * factor), max(2, round(height * factor)))
    return image, factor


def _hidden(images: Sequence[KeptImage], number: int, track_id: int) -> list[Box]:
    """The boxes to blur in image ``number``: all faces detected at about its time or in the images beside it, but not
    those of the track ``track_id`` (0: of none)."""
    now_s = images[number].time_s
    hidden: list[Box] = []
    for i, each in enumerate(images):
        if abs(each.time_s - now_s) <= _BLUR_SLACK_S or abs(i - number) == 1:
            own = [track.box for track in each.tracks if track.id == track_id]
            hidden += [box for box in each.faces if not any(box.iou(shown) >= SAME_FACE_IOU for shown in own)]
    shown = [track.box for track in images[number].tracks if track.id == track_id]
    return [box for box in hidden if not any(box.iou(each) >= SAME_FACE_IOU for each in shown)]


def _scaled(track: Track, factor: float) -> Track:
    return replace(track, box=track.box.scaled(factor)) if factor != 1 else track


def _face(track: Track, size: tuple[int, int]) -> list[object]:
    """x, y, width and height as fractions of the image, label, confidence and number."""
    box = track.box.stretched(1 / size[0], 1 / size[1])
    shape = [round(value, 4) for value in (box.x, box.y, box.width, box.height)]
    return [*shape, track.label.label.value, round(track.label.confidence, 3), track.id]


def lower_priority() -> None:
    """Lets the calling thread run only when others leave processor time. Only Linux has this for single threads."""
    with suppress(AttributeError, OSError):
        if os.uname().sysname == "Linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
