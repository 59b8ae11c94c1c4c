"""A running program with fake cameras whose settings file the web view changes, and a browser's session with it."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from fakes_monitor import LiveCamera, fake_parts
from fakes_video import wait_until

from app.capture.source import make_source
from app.cli.watch_session import WatchSession
from app.settings.change import SettingsFile
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings

FILE = """\
# Our settings
[policy]
dwell_s = 2.0   # two seconds

# The door
[[camera]]
name = "door"
uri = "rtsp://viewer:s3cret@10.0.0.7/live"   # by the entrance

# The yard
[[camera]]
name = "yard"
uri = "rtsp://10.0.0.8/live"
"""


@dataclass
class Page:
    """A running program with fake cameras, and a browser's session with its web view."""

    client: httpx.Client
    session: WatchSession
    path: Path
    csrf: str

    def get(self, path: str) -> str:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.text

    def post(self, path: str, fields: dict[str, Any], status: int = 200) -> str:
        """The page after a form was sent, as a browser shows it; ``status`` is that of the last page."""
        given = {"csrf": self.csrf, "revision": self.revision, **fields}
        response = self.client.post(path, data=given, follow_redirects=True)
        assert response.status_code == status, response.text
        return response.text

    def api(self, path: str, body: Any, status: int = 200) -> Any:
        response = self.client.post(f"/api/v1{path}", json=body, headers={"X-CSRF-Token": self.csrf})
        assert response.status_code == status, response.text
        return response.json()

    def save(self, *changes: tuple[str, Any], status: int = 200) -> Any:
        listed = [{"path": path, "value": value} for path, value in changes]
        return self.api("/settings", {"revision": self.revision, "changes": listed}, status)

    @property
    def revision(self) -> str:
        return str(self.settings["revision"])

    @property
    def settings(self) -> Any:
        return self.client.get("/api/v1/settings").json()

    def names(self) -> list[str]:
        return [view.camera for view in self.session.monitor.views()]

    @property
    def text(self) -> str:
        return self.path.read_text()


@contextmanager
def running(path: Path, text: str | None = FILE, flags: dict[str, Any] | None = None, **parts: Any) -> Iterator[Page]:
    if text is not None:
        path.write_text(text)
    given = {"view": {"headless": True}, "web": {"enabled": True, "port": 0}}
    given |= {"alerts": {"store": path.with_name("events.db")}, **(flags or {})}
    file = SettingsFile(path, lambda text: load_settings(path, given, text=text))
    before = set(threading.enumerate())
    made = parts or {"make_source": lambda settings: LiveCamera(settings.name)}
    with ExitStack() as stack:
        session = stack.enter_context(
            WatchSession(file.load(file.read()), None, None, file, fake_parts(boxes=(), **made))
        )
        ends = threading.Event()

        def stopped() -> bool:
            session.follow_web()
            return ends.is_set()

        thread = threading.Thread(target=partial(session.run_headless, stopped))
        thread.start()
        stack.callback(thread.join)
        stack.callback(ends.set)
        assert session.web is not None
        client = stack.enter_context(httpx.Client(base_url=session.web.url, timeout=60))
        yield Page(client, session, path, client.get("/api/v1/session").json()["csrf"])
    wait_until(lambda: set(threading.enumerate()) <= before, "all threads end")


def key_in(text: str) -> str:
    found = re.search(r'name="key" value="([^"]+)"', text)
    assert found is not None, text
    return found[1]


def make_live_or_real(settings: CameraSettings) -> Any:
    return make_source(settings) if "127.0.0.1" in settings.uri else LiveCamera(settings.name)
