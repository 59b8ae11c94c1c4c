"""Measures a start of ``watch --headless`` up to the first labelled face, in a fresh process."""

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


class _StartupSession(WatchSession):
    """A session that ends with its first labelled face."""

    first_frame_s = 0.0
    sample: StartupSample | None = None

    def take(self, result: FrameResult) -> None:
        self.first_frame_s = self.first_frame_s or time.time()
        if self.sample is None and any(track.label.label is not Label.UNSURE for track in result.tracks):
            self.sample = StartupSample(
                first_frame_wall_s=self.first_frame_s,
                first_label_wall_s=time.time(),
                first_label_cpu_s=time.process_time(),
                rss_mb=peak_rss_mb(),
                tensorflow="tensorflow" in sys.modules,
            )


def measure_startup(settings: Settings) -> StartupSample:
    """Uses a temporary event file and no channel. Raises MonitorError if no face is labelled in time."""
    with tempfile.TemporaryDirectory(prefix="maskwatch-bench-") as folder:
        alerts = settings.alerts.model_copy(update={"store": Path(folder) / "events.db", "channels": ()})
        isolated = settings.model_copy(update={"alerts": alerts, "web": type(settings.web)()})
        limit_s = time.monotonic() + _LIMIT_S
        with _StartupSession(isolated, None, None) as session:
            session.run_headless(lambda: session.sample is not None or time.monotonic() > limit_s)
    if session.sample is None:
        raise MonitorError(f"no face was labelled within {_LIMIT_S:.0f} s; give a --source that shows one")
    return session.sample
