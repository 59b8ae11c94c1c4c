"""A start as ``watch --headless`` makes it, up to the first labelled face: to be run in a fresh process."""

import sys
import tempfile
import time
from pathlib import Path

from app.bench.machine import peak_rss_mb
from app.bench.result_types import StartupSample
from app.cli.watch_session import WatchSession
from app.core.errors import MonitorError
from app.core.types import FrameResult, Label
from app.settings.root import Settings

_LIMIT_S = 120.0


class _Starting(WatchSession):
    """A session that is done with its first labelled face."""

    first_frame_s = 0.0
    begun: StartupSample | None = None

    def _take(self, result: FrameResult) -> None:
        self.first_frame_s = self.first_frame_s or time.time()
        if self.begun is None and any(track.label.label is not Label.UNSURE for track in result.tracks):
            self.begun = StartupSample(
                first_frame_wall_s=self.first_frame_s,
                first_label_wall_s=time.time(),
                first_label_cpu_s=time.process_time(),
                rss_mb=peak_rss_mb(),
                tensorflow="tensorflow" in sys.modules,
            )


def measure_startup(settings: Settings) -> StartupSample:
    """Raises MonitorError where no face is labelled. Events go to a store that is thrown away, and to no channel."""
    with tempfile.TemporaryDirectory(prefix="maskwatch-bench-") as folder:
        quiet = settings.alerts.model_copy(update={"store": Path(folder) / "events.db", "channels": ()})
        own = settings.model_copy(update={"alerts": quiet, "web": type(settings.web)()})
        limit_s = time.monotonic() + _LIMIT_S
        with _Starting(own, None, None) as session:
            session.run_headless(lambda: session.begun is not None or time.monotonic() > limit_s)
    if session.begun is None:
        raise MonitorError(f"no face was labelled within {_LIMIT_S:.0f} s; give a --source that shows one")
    return session.begun
