"""Deletes old clips and collected faces in a thread of its own, also after their collection was turned off."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.alerts.retention_clock import DAY_S
from app.core.text import counted
from app.review.picture_folder import PictureFolder

log = logging.getLogger(__name__)

ENFORCE_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long the items of ``folder`` are kept, and how large it may become. ``noun``: what they are called."""

    folder: PictureFolder
    keep_days: float
    max_mb: float
    noun: str


class PictureRetention:
    """``start`` and ``close`` its thread."""

    def __init__(self, rules: Sequence[RetentionRule], now_s: Callable[[], float]) -> None:
        """``now_s``: Unix time of a clock that is right."""
        self._rules = rules
        self._now_s = now_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="picture-retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for rule in self._rules:
                    deleted = rule.folder.enforce(self._now_s(), rule.keep_days * DAY_S, rule.max_mb * 1e6)
                    if deleted:
                        log.info("retention: deleted %s", counted(deleted, rule.noun))
                self._stopping.wait(ENFORCE_EVERY_S)
        except Exception:  # the thread guard: watching continues
            log.exception("old clips and faces are no longer deleted; please report it")
