"""What ``watch`` keeps of its images, each if the settings ask for it: clips, collected faces, the usual view."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from app.core.types import Event, FrameResult
from app.review.picture_folder import PictureFolder
from app.review.retention import PictureRetention, RetentionRule
from app.settings.root import Settings

if TYPE_CHECKING:  # imported late, so that the start is fast
    from app.review.clips import ClipRecorder
    from app.review.collector import Collector
    from app.review.drift import DriftWatch

log = logging.getLogger(__name__)


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

    def open(self, stack: ExitStack) -> None:
        """Starts what the settings ask for; ``stack`` closes it. Raises OutputError."""
        settings = self._settings
        if not settings.alerts.persist:
            return
        clips, collect = settings.clips, settings.collect
        rules = (  # also for what an earlier run stored with other settings
            RetentionRule(self._clip_folder, clips.keep_days, clips.max_mb, "clip"),
            RetentionRule(self._face_folder, collect.keep_days, collect.max_mb, "collected face"),
        )
        if clips.enabled or collect.enabled or any(rule.folder.path.is_dir() for rule in rules):
            retention = PictureRetention(rules, self._retention_now_s)
            stack.callback(retention.close)
            retention.start()
        if clips.enabled:
            from app.review.clips import ClipRecorder

            self.clips = ClipRecorder(clips, self._clip_folder, settings.view.blur)
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

    def on_result(self, result: FrameResult) -> list[Event]:
        """Keeps what it needs of a result; returns the events of a camera that does not see what it usually sees."""
        if self.clips is not None:
            self.clips.on_result(result)
        if self.collector is not None:
            self.collector.on_result(result)
        return list(self._drift.on_result(result)) if self._drift is not None else []

    def on_event(self, event: Event, result: FrameResult | None) -> None:
        if self.clips is not None:
            self.clips.on_event(event)
        if self.collector is not None:
            self.collector.on_event(event, result)
