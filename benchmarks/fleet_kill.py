"""Sends events of a site to a hub while both are killed repeatedly and the link is cut; counts what the hub has.

    python benchmarks/fleet_kill.py [--events 2000] [--kills 20] [--seed 1] [--json docs/results/fleet_kill.json]

A site process submits events through ``AlertCenter`` to a channel of kind ``nats`` and prints the number of each after
``submit`` has returned. Its connections pass a relay, which can cut the link. In each round the site, the hub, the
NATS server or all of them are killed with SIGKILL at a random moment, and every third round the link is cut too. At the
end 100 events are sent a second time. Exit code 1 if the hub lacks an event or has one twice.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes_net import free_port  # noqa: E402

SITE, CAMERA, CHANNEL = "shop-1", "door 1", "fleet"
VICTIMS = (("site",), ("hub",), ("server",), ("site", "hub", "server"))
SENT_AGAIN = 100
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """``submitted``: events that the site had stored. ``last_s``: from the end of all kills to the last event."""

    submitted: int
    kills: dict[str, int]
    cuts: int
    sent_again: int
    at_hub: int
    lost: int
    double: int
    last_s: float

    @property
    def is_well(self) -> bool:
        return not (self.lost or self.double)


def event_of(number: int) -> Any:
    from app.core.types import Event, EventKind

    return Event(f"event-{number}", EventKind.NO_MASK, CAMERA, float(number), time.time(), number + 1)


def site_process(store: str, credentials: str, url: str, numbers: Iterable[int]) -> None:
    """Submits the events and sends until it is killed or standard input is closed."""
    from app.alerts.delivery import AlertCenter
    from app.settings.alerts import AlertSettings

    channel = {"kind": "nats", "name": CHANNEL, "url": url, "site": SITE, "creds_file": credentials, "timeout_s": 10}
    values = {"store": store, "channels": [channel], "retry_first_s": 0.05, "retry_max_s": 0.5}
    center = AlertCenter(AlertSettings.model_validate(values))
    center.start()
    for number in numbers:
        center.submit(event_of(number))
        print(number, flush=True)
    sys.stdin.read()  # until the parent closes it or kills this process
    center.close()


class Relay:
    """Passes connections on to the server; while the link is cut it closes them."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        argv = [sys.executable, __file__, "--relay", str(self.port), str(target_port)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE)

    def cut(self, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n".encode())
        self._process.stdin.flush()

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


async def relay_process(port: int, target_port: int) -> None:
    writers: set[asyncio.StreamWriter] = set()
    cut_until_s = 0.0

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(65536):
                writer.write(content)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if time.monotonic() < cut_until_s:
                raise OSError
            there, back = await asyncio.open_connection("127.0.0.1", target_port)
        except OSError:
            writer.close()
            return
        writers.update((writer, back))
        await asyncio.gather(copy(reader, back), copy(there, writer))
        writers.difference_update((writer, back))

    def read_command() -> None:
        nonlocal cut_until_s
        if line := sys.stdin.readline():
            cut_until_s = time.monotonic() + float(line)
            for writer in writers:
                writer.transport.abort()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read_command)
    async with await asyncio.start_server(accept, "127.0.0.1", port) as server:
        await server.serve_forever()


class Parts:
    """The processes of the test."""

    def __init__(self, folder: Path) -> None:
        from app.fleet.hub_folder import HubFolder, ServerOptions

        port = free_port()
        self.hub_folder = HubFolder(folder / "hub")
        (self.credentials,) = self.hub_folder.init([SITE], ServerOptions(f"127.0.0.1:{port}", ("127.0.0.1",)))
        self.relay = Relay(port)
        self.site_store = folder / "site.db"
        self.submitted: set[int] = set()
        self.site: subprocess.Popen[bytes] | None = None
        self.hub: subprocess.Popen[bytes] | None = None

    def start_hub(self) -> None:
        argv = [sys.executable, "-m", "app", "fleet", "hub", str(self.hub_folder.path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.hub = subprocess.Popen(argv, stderr=subprocess.DEVNULL, env=environment)

    def start_site(self, numbers: Iterable[int]) -> None:
        url = f"tls://127.0.0.1:{self.relay.port}"
        argv = [sys.executable, __file__, "--site", str(self.site_store), str(self.credentials), url]
        argv += [",".join(map(str, numbers))]
        self.site = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def end_site(self, kill: bool) -> None:
        if self.site is not None:
            if kill:
                self.site.kill()
            output, _ = self.site.communicate()
            self.submitted.update(int(line) for line in output.split())
            self.site = None

    def kill(self, victim: str) -> None:
        if victim == "site":
            self.end_site(kill=True)
        elif victim == "hub" and self.hub is not None:
            self.hub.kill()
            self.hub.wait()
            self.hub = None
        elif victim == "server":
            with suppress(OSError, ValueError):
                os.kill(int(self.hub_folder.pid_file.read_text()), signal.SIGKILL)

    def stop(self) -> None:
        self.end_site(kill=True)
        if self.hub is not None:
            self.hub.terminate()
            self.hub.wait()
        self.relay.stop()

    def at_hub(self) -> Counter[int]:
        """How often the hub has each event."""
        with suppress(sqlite3.Error), closing(sqlite3.connect(self.hub_folder.store, timeout=10)) as db:
            return Counter(
                int(number) for (number,) in db.execute("SELECT json_extract(record, '$.time_s') FROM events")
            )
        return Counter()


def run(events: int, kills: int, seed: int, folder: Path) -> Outcome:
    rng, parts, killed, cuts = random.Random(seed), Parts(folder), Counter[str](), 0
    victims = itertools.cycle(VICTIMS[::-1])
    todo, a_round = list(range(events)), -(-events // (kills + 1))
    try:
        for number in range(kills):
            if parts.hub is None:
                parts.start_hub()
            if parts.site is None:
                part, todo = todo[:a_round], todo[a_round:]
                parts.start_site(part)
            before, end_s = parts.at_hub().total(), time.monotonic() + 60
            while parts.at_hub().total() == before and time.monotonic() < end_s:  # until events flow
                time.sleep(0.05)
            if number % 3 == 2:
                parts.relay.cut(1.0)
                cuts += 1
            time.sleep(rng.uniform(0.0, 1.0))  # the random moment of the kill
            for victim in next(victims):
                parts.kill(victim)
                killed[victim] += 1
            if parts.site is None:  # what it had not stored is submitted again
                todo = sorted(set(range(events)) - parts.submitted)
        began_s = time.monotonic()
        if parts.hub is None:
            parts.start_hub()
        parts.end_site(kill=True)
        parts.start_site(sorted(set(range(events)) - parts.submitted))
        while len(parts.at_hub()) < events and time.monotonic() < began_s + LIMIT_S:
            time.sleep(0.1)
        last_s = time.monotonic() - began_s
        parts.end_site(kill=False)
        again = min(SENT_AGAIN, events)
        send_again(parts, again)
        time.sleep(1.0)
        found = parts.at_hub()
    finally:
        parts.stop()
    lost = len(parts.submitted - set(found))
    double = sum(found.values()) - len(found)
    return Outcome(len(parts.submitted), dict(killed), cuts, again, found.total(), lost, double, round(last_s, 1))


def send_again(parts: Parts, count: int) -> None:
    from app.alerts.hook import Alert, idempotency_key
    from app.alerts.hooks.nats_hook import NatsHook
    from app.settings.alerts import NatsChannel

    url = f"tls://127.0.0.1:{parts.relay.port}"
    hook = NatsHook(NatsChannel(kind="nats", name=CHANNEL, url=url, site=SITE, creds_file=parts.credentials))
    for number in range(count):
        event = event_of(number)
        hook.send(Alert(event, CHANNEL, idempotency_key(event, CHANNEL)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--site", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--relay", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.site:
        store, credentials, url, numbers = args.site
        site_process(store, credentials, url, map(int, filter(None, numbers.split(","))))
        return 0
    if args.relay:
        asyncio.run(relay_process(*args.relay))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(args.events, args.kills, args.seed, Path(folder))
    record = {"is_well": outcome.is_well, "seed": args.seed, **asdict(outcome)}
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if outcome.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
