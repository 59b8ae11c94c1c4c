"""A hub on loopback that runs in a thread of the test, and sites that send to it."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fakes_alerts import LIMIT_S
from fakes_net import free_port

from app.alerts.delivery import AlertCenter
from app.alerts.hook import Alert, idempotency_key
from app.alerts.hooks.nats_hook import NatsHook
from app.core.types import Event
from app.fleet.agent import FleetAgent
from app.fleet.hub import Hub
from app.fleet.hub_folder import HubFolder, ServerOptions
from app.fleet.hub_store import HubStore
from app.fleet.messages import NodeHealth
from app.fleet.server import HubServer
from app.settings.alerts import AlertSettings, NatsChannel
from app.settings.fleet import FleetSettings
from app.settings.load import load_settings
from app.settings.root import Settings

HEARTBEAT_S = 0.2


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = HubFolder(folder / "hub")
        self.folder.init(["hall", "yard"], ServerOptions(f"127.0.0.1:{self.port}", ("127.0.0.1",)))
        self.url = f"tls://127.0.0.1:{self.port}"
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self.center = AlertCenter(AlertSettings(store=self.folder.store))

    def start(self) -> None:
        """Starts the hub and waits until it can receive."""
        self._is_stopped = False
        self.center = AlertCenter(AlertSettings(store=self.folder.store))
        self.center.start()
        server = HubServer(self.folder)
        hub = Hub(self.folder, server, self.center)

        def body() -> None:
            try:
                asyncio.run(hub.run(lambda: self._is_stopped))
            finally:
                hub.close()
                server.stop()

        self._thread = threading.Thread(target=body, name="test-hub")
        self._thread.start()
        self.wait_until_it_receives()

    def wait_until_it_receives(self) -> None:
        end_s = time.monotonic() + LIMIT_S
        while True:
            try:
                asyncio.run(HubServer(self.folder).waiting())
                return
            except Exception:
                assert time.monotonic() < end_s
                time.sleep(0.05)

    def stop(self) -> None:
        self._is_stopped = True
        if self._thread is not None:
            self._thread.join(LIMIT_S)
            self._thread = None
        self.center.close()

    def hook(self, site: str, credentials_of: str = "", timeout_s: float = LIMIT_S) -> NatsHook:
        """The hook of a channel of ``site``, with the credentials of another site if given."""
        credentials = self.folder.credentials_of(credentials_of or site)
        values = {"kind": "nats", "name": "fleet", "url": self.url, "site": site, "creds_file": credentials}
        return NatsHook(NatsChannel.model_validate({**values, "timeout_s": timeout_s}))

    def agent(self, site: str, center: AlertCenter, node: str = "box", crashes: int = 0) -> FleetAgent:
        """``crashes``: how often its reports fail at first."""
        settings = FleetSettings(
            hub=self.url,
            site=site,
            node=node,
            creds_file=self.folder.credentials_of(site),
            heartbeat_s=HEARTBEAT_S,
        )
        health = NodeHealth(version="1", heartbeat_s=HEARTBEAT_S, waiting=2, cameras={"door 1": "live"})
        left = [health] * crashes

        def report() -> NodeHealth:
            if left:
                left.pop()
                raise RuntimeError("the report failed")
            return health

        return FleetAgent(settings, report, center.final_hours, node)

    def stored(self) -> Sequence[Event]:
        store = HubStore(self.folder.store)
        try:
            return store.events.events()
        finally:
            store.close()


def node_settings(fleet: Fleet, folder: Path, node: str = "box", **more: object) -> Settings:
    """Those of a node of the site ``hall`` with the camera ``door``. ``more``: of [fleet]."""
    values = {"hub": fleet.url, "site": "hall", "node": node, "heartbeat_s": HEARTBEAT_S, **more}
    return load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": folder / f"{node}.db", "retry_first_s": 0.1, "retry_max_s": 0.2},
            "view": {"headless": True},
            "fleet": {**values, "creds_file": fleet.folder.credentials_of("hall")},
        },
    )


def alert_of(event: Event) -> Alert:
    return Alert(event, "fleet", idempotency_key(event, "fleet"))
