"""What ``watch`` keeps of its images, each if the settings ask for it: snapshots, clips, collected faces, the usual
view."""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.capture.main_stream import MainStreams
from app.core.files import is_folder
from app.core.images import jpeg_bytes
from app.core.types import SAME_FACE_IOU, Box, Event, FrameResult, Track
from app.review.picture_folder import PictureFolder
from app.review.retention import PictureRetention, RetentionRule
from app.settings.root import Settings

if TYPE_CHECKING:  # imported late, so that the start is fast
    from app.review.clips import ClipRecorder
    from app.review.collector import Collector
    from app.review.drift import DriftWatch

log = logging.getLogger(__name__)

_KEEP_MORE_S = 10.0
"""For how much longer than a clip the packets of a main stream are kept: clips may have to wait for the disk."""
_OLD_IMAGES_S = 1.0
"""How long images that were decoded before a new blackout may still arrive."""
_SEEN, _SEEN_S = 60, 0.5
"""An image of the main stream may show another moment than the result, so all faces of so many results within so many
seconds of it are hidden."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The faces of a result. ``captured_s`` is ``time.monotonic()``."""

    captured_s: float
    tracks: tuple[Track, ...]
    faces: tuple[Box, ...]

    @classmethod
    def of(cls, result: FrameResult) -> "_Seen":
        return cls(result.frame.captured_s, result.tracks, result.faces)

    def is_near(self, at_s: float) -> bool:
        return abs(self.captured_s - at_s) <= _SEEN_S

    def hidden(self, event: Event | None) -> list[Box]:
        """The faces to hide in a snapshot of ``event``: not its own face. None: all."""
        own = [] if event is None else [track.box for track in self.tracks if track.id == event.track_id]
        own += [] if event is None or event.box is None else [event.box]
        return [box for box in self.faces if all(box.iou(each) < SAME_FACE_IOU for each in own)]


class Evidence:
    """Clips, collected faces and drift belong to the event file: without one, nothing is kept."""

    def __init__(
        self,
        settings: Settings,
        retention_now_s: Callable[[], float],
        change_event: Callable[[str, FrameResult], Event],
    ) -> None:
        """``retention_now_s``: the time by which old files are deleted. ``change_event`` makes the event of a changed
        camera."""
        self._settings = settings
        self._retention_now_s = retention_now_s
        self._change_event = change_event
        store = settings.alerts.store
        self._clip_folder = PictureFolder(settings.clips.folder_of(store))
        self._face_folder = PictureFolder(settings.collect.folder_of(store))
        self.clips: ClipRecorder | None = None
        self.collector: Collector | None = None
        self._drift: DriftWatch | None = None
        self._main_streams = MainStreams(settings.clips.before_s + settings.clips.after_s + _KEEP_MORE_S)
        self._since_s: dict[str, float] = {}  # by camera: time.monotonic() since when its images may be kept
        self._seen: dict[str, deque[_Seen]] = {}  # the newest results of each camera with a main stream

    def open(self, stack: ExitStack) -> None:
        """Starts what the settings ask for; ``stack`` closes it. Raises OutputError."""
        settings = self._settings
        stack.callback(self._main_streams.close)
        self.apply(settings)
        clips, collect = settings.clips, settings.collect
        if not settings.alerts.persist:
            if clips.enabled or collect.enabled or settings.drift.enabled:
                log.warning("no clip or face is kept: files and the demo are stored only with --store FILE")
            return
        rules = (  # also for what an earlier run stored with other settings
            RetentionRule(self._clip_folder, clips.keep_days, clips.max_mb, "clip"),
            RetentionRule(self._face_folder, collect.keep_days, collect.max_mb, "collected face"),
        )
        if clips.enabled or collect.enabled or any(is_folder(rule.folder.path) for rule in rules):
            retention = PictureRetention(rules, self._retention_now_s)
            stack.callback(retention.close)
            retention.start()
        if clips.enabled:
            from app.review.clips import ClipRecorder

            self.clips = ClipRecorder(clips, self._clip_folder, settings.view.blur, main_stream=self._main_streams.get)
            stack.callback(self._close_clips, self.clips)
            self.clips.start()
        if collect.enabled:
            from app.review.collector import Collector

            self.collector = Collector(collect, self._face_folder)
            stack.callback(self.collector.close)
            self.collector.start()
        if settings.drift.enabled:
            from app.review.drift import DriftWatch

            usual = settings.alerts.store.with_name(f"{settings.alerts.store.name}.usual.json")
            self._drift = DriftWatch(settings.drift, usual, self._change_event)
            stack.callback(self._drift.close)
            self._drift.load()

    @staticmethod
    def _close_clips(clips: "ClipRecorder") -> None:
        for lost in clips.close():
            log.warning("%s", lost)

    def apply(self, settings: Settings) -> None:
        """Uses the cameras and the snapshots of ``settings``. What a camera showed before a new blackout is dropped."""
        before = {camera.name: camera.blackout for camera in self._settings.camera}
        for camera in settings.camera:
            if camera.blackout != before.get(camera.name, camera.blackout):
                self._since_s[camera.name] = time.monotonic() + _OLD_IMAGES_S
                if self.clips is not None:
                    self.clips.forget(camera.name, self._since_s[camera.name])
        self._settings = settings
        keeps = settings.alerts.snapshots != "off" or settings.clips.enabled
        self._main_streams.apply(settings.camera if keeps else ())

    def snapshot(self, event: Event, result: FrameResult | None) -> bytes | None:
        """The JPEG to store with ``event``, blurred as the settings say; None if no snapshot is allowed or possible."""
        mode = self._settings.alerts.snapshots
        if mode == "off" or result is None or self._is_old(result):
            return None
        from app.ui.canvas import blur_faces

        frame = result.frame
        stream = self._main_streams.get(frame.camera)
        found = stream.image(frame.captured_s) if stream is not None else None
        image_s, image = (frame.captured_s, frame.image.copy()) if found is None else found
        horizontal, vertical = image.shape[1] / frame.image.shape[1], image.shape[0] / frame.image.shape[0]
        seen = [] if found is None else [one for one in self._seen.get(frame.camera, ()) if one.is_near(image_s)]
        hides_all = mode == "blur_all" or self._settings.view.blur
        hidden = [box for one in (*seen, _Seen.of(result)) for box in one.hidden(None if hides_all else event)]
        blur_faces(image, [box.stretched(horizontal, vertical) for box in hidden])
        return jpeg_bytes(image, 85)

    def on_result(self, result: FrameResult) -> list[Event]:
        """Keeps what it needs of a result; returns the events of a camera that does not see what it usually sees."""
        camera = result.frame.camera
        if self._is_old(result):
            return []
        if self._main_streams.get(camera) is not None:
            self._seen.setdefault(camera, deque(maxlen=_SEEN)).append(_Seen.of(result))
        if self.clips is not None:
            self.clips.on_result(result)
        if self.collector is not None:
            self.collector.on_result(result)
        return list(self._drift.on_result(result)) if self._drift is not None else []

    def _is_old(self, result: FrameResult) -> bool:
        """Whether the image may be without the blackout of now."""
        return result.frame.captured_s < self._since_s.get(result.frame.camera, 0.0)

    def on_event(self, event: Event, result: FrameResult | None) -> None:
        if self.clips is not None:
            self.clips.on_event(event)
        if self.collector is not None:
            self.collector.on_event(event, None if result is None or self._is_old(result) else result)
