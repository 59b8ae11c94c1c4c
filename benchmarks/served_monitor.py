"""A running web view whose process answers each line on standard input with one line of counts."""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.alerts.delivery import AlertCenter
from app.alerts.mutes import Mutes
from app.pipeline.monitor import Monitor
from app.settings.load import load_settings
from app.web.server import WebServer
from app.web.site import Site


def serve_counts(tables: dict[str, Any], counts: Callable[[Monitor, int], object]) -> None:
    """Watches the cameras of ``tables`` with a web view. Prints its port, then ``counts(monitor, results so far)`` as
    JSON for each line on standard input; ends when standard input is closed."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(None, {**tables, "alerts": {"store": Path(folder) / "events.db"}})
        analysed = [0]

        def count(_: object) -> None:
            analysed[0] += 1

        monitor, mutes = Monitor(settings, [count]), Mutes()
        center = AlertCenter(settings.alerts, hold_back=mutes.hold_back)
        server = WebServer(Site(settings, monitor, center, mutes))
        with monitor:
            center.start()
            server.start()
            drain = threading.Thread(target=lambda: [None for _ in monitor])
            drain.start()
            while any(view.counts is None for view in monitor.views()):
                time.sleep(0.1)
            print(server.port, flush=True)
            for _ in sys.stdin:
                print(json.dumps(counts(monitor, analysed[0])), flush=True)
            server.stop()
            monitor.stop()
            drain.join()
        center.close()
