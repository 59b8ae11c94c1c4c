"""Measures a hub with many simulated sites on one machine: events a second, delay, memory.

    python benchmarks/fleet_load.py [--sites 50] [--cameras 10] [--rate 200] [--seconds 20]
                                    [--json docs/results/fleet_load.json]

Each site has its own connection with TLS and its own credentials, sends its health every 5 s, and keeps up to 20 events
unacknowledged. First the sites together send ``--rate`` events a second; the delay is that from sending an event to its
commit in the event file of the hub. Then the hub is killed, its server receives the same number of events, and the
hub starts again: how fast does it store what has waited?
"""

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes_net import free_port  # noqa: E402

from app.alerts.hook import Alert, idempotency_key  # noqa: E402
from app.alerts.nats_client import MESSAGE_ID, connected, read_credentials, subject_of  # noqa: E402
from app.core.errors import HookError  # noqa: E402
from app.core.types import Box, Event, EventKind  # noqa: E402
from app.fleet.hub_folder import HubFolder, ServerOptions  # noqa: E402
from app.fleet.messages import NodeHealth  # noqa: E402
from app.fleet.server import HubServer  # noqa: E402

AT_ONCE = 20
HEARTBEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ingest_per_s``: of the events that waited for the hub. Memory: the largest of the whole run. ``cores``: used by
    hub and server while ``asked_per_s`` arrive. ``bytes_per_event``: in the event file."""

    sites: int
    cameras: int
    asked_per_s: int
    events: int
    lost: int
    sent_per_s: float
    delay_p50_s: float
    delay_p95_s: float
    ingest_per_s: float
    hub_mb: float
    server_mb: float
    cores: float
    bytes_per_event: float


def event_message(camera: str, number: int) -> tuple[bytes, str]:
    box = Box(100.0, 80.0, 60.0, 70.0)
    event = Event(f"{camera}-{number}", EventKind.NO_MASK, camera, 1.0, time.time(), number, 0.98, 2.5, box)
    alert = Alert(event, "fleet", idempotency_key(event, "fleet"))
    return alert.to_json().encode(), alert.idempotency_key


async def site(client: Any, name: str, cameras: int, per_s: float, end_s: float, first: int, most: int) -> int:
    """Sends events and health until ``end_s``; returns the number of acknowledged events."""
    stream, sent, window = client.jetstream(), 0, asyncio.Semaphore(AT_ONCE)
    names = [f"camera {number}" for number in range(cameras)]
    health = NodeHealth(version="1", heartbeat_s=HEARTBEAT_S, waiting=0, cameras=dict.fromkeys(names, "live"))
    acknowledged = 0

    async def publish(camera: str, number: int) -> None:
        nonlocal acknowledged
        content, key = event_message(camera, number)
        await stream.publish(subject_of("event", name, camera), content, 30, headers={MESSAGE_ID: f"{name}/{key}"})
        acknowledged += 1
        window.release()

    began_s, next_health_s = time.monotonic(), 0.0
    async with asyncio.TaskGroup() as tasks:
        while (now_s := time.monotonic()) < end_s and sent < most:
            if now_s >= next_health_s:
                next_health_s = now_s + HEARTBEAT_S
                await client.publish(subject_of("health", name, "box"), health.model_dump_json().encode())
            if sent >= (now_s - began_s) * per_s:
                await asyncio.sleep(0.01)
                continue
            await window.acquire()
            tasks.create_task(publish(names[sent % cameras], first + sent))
            sent += 1
    return acknowledged


async def send(
    folder: HubFolder, url: str, cameras: int, rate: int, seconds: float, first: int, most: int = 10**9
) -> int:
    """All sites send for ``seconds``, at most ``most`` events."""
    names = folder.sites()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(url, read_credentials(folder.credentials_of(name)), name, 30))
            for name in names
        ]
        share = rate / len(names), time.monotonic() + seconds, first, most // len(names)
        return sum(
            await asyncio.gather(
                *(site(each, name, cameras, *share) for each, name in zip(clients, names, strict=True))
            )
        )


def stored(folder: HubFolder) -> list[tuple[float, float]]:
    """(delay, time of the commit) of each event, in the order of the commits."""
    with closing(sqlite3.connect(folder.store, timeout=10)) as db:
        query = "SELECT stored_s - wall_s, stored_s FROM events WHERE kind = 'no_mask' ORDER BY seq"
        return db.execute(query).fetchall()


class HubProcess:
    """The hub, and the server that it started or found."""

    def __init__(self, folder: HubFolder) -> None:
        argv = [sys.executable, "-m", "app", "fleet", "hub", str(folder.path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.hub = psutil.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
        wait_for(folder)
        self.server = psutil.Process(int(folder.pid_file.read_text()))
        self.hub_mb = self.server_mb = 0.0

    def measure_memory(self) -> None:
        self.hub_mb = max(self.hub_mb, self.hub.memory_info().rss / 1e6)
        self.server_mb = max(self.server_mb, self.server.memory_info().rss / 1e6)

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in (self.hub, self.server))

    def wait_until_stored(self, folder: HubFolder, events: int) -> list[tuple[float, float]]:
        """(delay, time of the commit) of each event."""
        end_s = time.monotonic() + 120
        while len(rows := stored(folder)) < events and time.monotonic() < end_s:
            self.measure_memory()
            time.sleep(0.2)
        return rows


def run(sites: int, cameras: int, rate: int, seconds: float, folder: HubFolder) -> Outcome:
    port = free_port()
    url = f"tls://127.0.0.1:{port}"
    folder.init([f"site-{number}" for number in range(sites)], ServerOptions(f"127.0.0.1:{port}", ("127.0.0.1",)))
    first = HubProcess(folder)
    try:
        began_s, cpu_s = time.monotonic(), first.cpu_s()

        async def send_and_measure() -> int:
            sending = asyncio.create_task(send(folder, url, cameras, rate, seconds, first=0))
            while not sending.done():
                first.measure_memory()
                await asyncio.sleep(0.5)
            return sending.result()

        steady = asyncio.run(send_and_measure())
        rows = first.wait_until_stored(folder, steady)
        took_s = time.monotonic() - began_s
        cores = (first.cpu_s() - cpu_s) / took_s
    finally:
        first.hub.kill()
        first.hub.wait()
    waiting = asyncio.run(send(folder, url, cameras, 10**9, seconds, first=10**6, most=rate * int(seconds)))
    second = HubProcess(folder)
    try:
        all_rows = second.wait_until_stored(folder, steady + waiting)
        size = sum(path.stat().st_size for path in folder.path.glob("events.db*"))
    finally:
        second.hub.terminate()
        second.hub.wait()
    delays = sorted(delay_s for delay_s, _ in rows)
    late = sorted(at_s for _, at_s in all_rows[len(rows) :])
    return Outcome(
        sites=sites,
        cameras=sites * cameras,
        asked_per_s=rate,
        events=steady + waiting,
        lost=steady + waiting - len(all_rows),
        sent_per_s=round(steady / took_s),
        delay_p50_s=round(delays[len(delays) // 2], 3),
        delay_p95_s=round(delays[int(len(delays) * 0.95)], 3),
        ingest_per_s=round(len(late) / max(late[-1] - late[0], 1e-3)),
        hub_mb=round(max(first.hub_mb, second.hub_mb), 1),
        server_mb=round(max(first.server_mb, second.server_mb), 1),
        cores=round(cores, 2),
        bytes_per_event=round(size / len(all_rows)),
    )


def wait_for(folder: HubFolder) -> None:
    end_s = time.monotonic() + 60
    while True:
        try:
            asyncio.run(HubServer(folder).waiting())
            return
        except HookError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=50)
    parser.add_argument("--cameras", type=int, default=10, help="of each site")
    parser.add_argument("--rate", type=int, default=200, help="events a second of all sites")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(args.sites, args.cameras, args.rate, args.seconds, HubFolder(Path(folder, "hub")))
    record = {"cores_of_machine": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1), **asdict(outcome)}
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
