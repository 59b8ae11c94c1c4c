"""The whole monitor with real models on a real RTSP stream: H.264 over TCP from a local server."""

import shutil
import threading
from pathlib import Path

import pytest
from fakes_video import RtspServer, video_threads, wait_until

from app.capture.capture import SourceState
from app.core import resources
from app.core.types import Event, EventKind
from app.pipeline.monitor import Monitor
from app.settings.load import load_settings

pytest.importorskip("aio_rtsp_toolkit", reason="needs aio-rtsp-toolkit[server]")


def test_a_bare_face_on_a_stream_alerts_and_a_lost_stream_is_reconnected(tmp_path: Path) -> None:
    shutil.copy(resources.asset("demo.mp4"), tmp_path / "demo.mp4")
    events: list[Event] = []
    before = set(threading.enumerate())
    with RtspServer(tmp_path) as server:
        camera = {"uri": server.url("demo.mp4"), "name": "door", "reconnect_s": [0.5]}
        settings = load_settings(None, {"camera": [camera]})
        with Monitor(settings, listeners=[lambda result: events.extend(result.events)]) as monitor:

            def state() -> SourceState:
                return monitor.views()[0].status.state

            wait_until(lambda: EventKind.NO_MASK in {event.kind for event in events}, "an alert")
            wait_until(lambda: monitor.views()[0].age_s < 5, "a recent frame")
            view = monitor.views()[0]
            assert view.frame is not None
            server.kill()
            wait_until(lambda: state() is SourceState.RECONNECTING, "the stream is lost")
            last_index = view.frame.index
            server.start()
            wait_until(lambda: state() is SourceState.LIVE, "the stream is live again")
            wait_until(lambda: monitor.views()[0].frame.index > last_index, "new frames")  # type: ignore[union-attr]
    assert not video_threads()
    assert set(threading.enumerate()) <= before
