"""Measures what a hub needs for fleets of 10, 100, 500 and 5,000 cameras, on one machine.

    python benchmarks/fleet_sizes.py [--seconds 60] [--json docs/results/fleet_sizes.json]

Each box is the real agent of a node, with its own connection and credentials and up to 24 cameras. After all boxes have
reported, a relay counts the bytes that they send and receive in ``--seconds``, with TLS. Before that, events are sent,
one by one. A day is computed from both, with 200 events a camera and totals by hour every
5 minutes.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from fakes_net import free_port  # noqa: E402
from fleet_load import HubProcess, event_message  # noqa: E402

from app.alerts.hook import Alert, idempotency_key  # noqa: E402
from app.alerts.hooks.nats_hook import NatsHook  # noqa: E402
from app.core.camera_hours import CameraHour, hour_of  # noqa: E402
from app.core.types import Box, Event, EventKind  # noqa: E402
from app.fleet.agent import TOTALS_EVERY_S, FleetAgent  # noqa: E402
from app.fleet.hub_folder import HubFolder, ServerOptions  # noqa: E402
from app.fleet.hub_store import HubStore  # noqa: E402
from app.fleet.messages import Applied, HourTotals, NodeHealth  # noqa: E402
from app.settings.alerts import NatsChannel  # noqa: E402
from app.settings.fleet import FleetSettings  # noqa: E402

CAMERAS_A_BOX, CORES_A_CAMERA, EVENTS_A_DAY, DAY_S = 24, 0.23, 200, 86_400.0
"""Of a box with 8 cores, and of a camera with 640x480 at 10 frames a second (docs/speed.md)."""
SIZES = (10, 100, 500, 5000)
SENT = 100


@dataclass(frozen=True, slots=True)
class Size:
    """``*_bytes``: on the wire, both directions, of all boxes. ``cores``, ``hub_mb``, ``server_mb``: of hub and server
    while all boxes report. ``store_mb_a_day``: growth of ``events.db``."""

    cameras: int
    boxes: int
    box_cores: float
    hub_cores: float
    hub_mb: float
    server_mb: float
    event_bytes: float
    box_bytes_a_second: float
    mb_a_day: float
    store_mb_a_day: float


class CountingRelay:
    """Passes the connections of the boxes on to the server, in a thread, and counts the bytes of both directions."""

    def __init__(self, target_port: int) -> None:
        self.port, self.bytes = free_port(), 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        server = asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=1000)
        asyncio.run_coroutine_threadsafe(server, self._loop).result()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(65536):
                self.bytes += len(content)
                writer.write(content)
                await writer.drain()
        writer.close()


def measure(cameras: int, seconds: float, folder: HubFolder, store_bytes: int) -> Size:
    boxes, port = -(-cameras // CAMERAS_A_BOX), free_port()
    relay = CountingRelay(port)
    url = f"tls://127.0.0.1:{relay.port}"
    sites = [f"site-{number}" for number in range(boxes)]
    folder.init(sites, ServerOptions(f"127.0.0.1:{port}", ("127.0.0.1",)))
    hub = HubProcess(folder)
    agents: list[FleetAgent] = []
    try:
        event_bytes = bytes_of_event(folder, relay, sites[0])
        names = [f"camera {number}" for number in range(min(cameras, CAMERAS_A_BOX))]
        applied = {"settings": Applied(number=1), "model": Applied(number=1)}
        states = dict.fromkeys(names, "live")
        health = NodeHealth(version="1.0.0", heartbeat_s=5, waiting=0, cameras=states, applied=applied)
        for site in sites:
            credentials = folder.credentials_of(site)
            settings = FleetSettings(hub=url, site=site, node="box", creds_file=credentials)
            agents.append(FleetAgent(settings, lambda: health, lambda _: [], "box"))
            agents[-1].start()
        store, end_s = HubStore(folder.store), time.monotonic() + 180
        while len(store.nodes()) < boxes and time.monotonic() < end_s:
            time.sleep(0.5)
        assert len(store.nodes()) == boxes
        store.close()
        bytes_before, cpu_before_s, began_s = relay.bytes, hub.cpu_s(), time.monotonic()
        while time.monotonic() < began_s + seconds:
            time.sleep(5)
            hub.measure_memory()
        took_s = time.monotonic() - began_s
        a_second = (relay.bytes - bytes_before) / took_s / boxes
        hub_cores = (hub.cpu_s() - cpu_before_s) / took_s
    finally:
        for agent in agents:
            agent.close()
        hub.hub.terminate()
        hub.hub.wait()
    hour = CameraHour("camera 1", hour_of(time.time()), 100, 10, 1, 3000.5, 20.25, 0.0, 3.5)
    content, _ = event_message("camera 1", 1)
    total_bytes = event_bytes + len(HourTotals(node="box", hours=(hour,)).model_dump_json()) - len(content)
    a_camera = EVENTS_A_DAY * event_bytes + DAY_S / TOTALS_EVERY_S * total_bytes
    return Size(
        cameras=cameras,
        boxes=boxes,
        box_cores=round(cameras * CORES_A_CAMERA, 1),
        hub_cores=round(hub_cores, 3),
        hub_mb=round(hub.hub_mb, 1),
        server_mb=round(hub.server_mb, 1),
        event_bytes=round(event_bytes),
        box_bytes_a_second=round(a_second, 1),
        mb_a_day=round((cameras * a_camera + boxes * a_second * DAY_S) / 1e6, 1),
        store_mb_a_day=round(cameras * EVENTS_A_DAY * store_bytes / 1e6, 1),
    )


def bytes_of_event(folder: HubFolder, relay: CountingRelay, site: str) -> float:
    """Sent and received for one of many events that wait, because the connection stays open then."""
    url = f"tls://127.0.0.1:{relay.port}"
    values = {"kind": "nats", "name": "fleet", "url": url, "site": site, "creds_file": folder.credentials_of(site)}
    hook = NatsHook(NatsChannel.model_validate({**values, "timeout_s": 60}))
    hook.refresh({})
    before = 0
    for number in range(SENT + 1):
        box = Box(100.0, 80.0, 60.0, 70.0)
        event = Event(f"{number:016x}", EventKind.NO_MASK, "camera 1", 1.0, time.time(), number, 0.98, 2.5, box)
        hook.send(Alert(event, "fleet", idempotency_key(event, "fleet")))
        before = before or relay.bytes
    sent = relay.bytes - before
    hook.close()
    return sent / SENT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--cameras", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    args = parser.parse_args()
    store_bytes = json.loads((ROOT / "docs" / "results" / "fleet_load.json").read_text("utf-8"))["bytes_per_event"]
    sizes = []
    for cameras in args.cameras:
        with tempfile.TemporaryDirectory() as folder:
            sizes.append(asdict(measure(cameras, args.seconds, HubFolder(Path(folder, "hub")), store_bytes)))
            print(json.dumps(sizes[-1]), flush=True)
    record = {"cores_of_machine": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "sizes": sizes}
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
