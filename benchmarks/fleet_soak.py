"""Two nodes share the cameras of a site with the real times, while links are cut and processes are killed.

    python benchmarks/fleet_soak.py [--ttl 15] [--cut 60] [--rounds 3] [--cameras 10]
                                    [--json docs/results/fleet_soak.json]

The nodes are the real leases, agent and alert delivery, without video: a node that owns a camera submits one event each
second for it. Each round: the link of the owner is cut for ``--cut`` seconds; the new owner is killed with SIGKILL and
started again; hub and server are killed and started again after ``--cut`` seconds. Exit code 1 if two nodes own a
camera at once, a takeover needs more than two TTL, or the hub lacks an event or has one twice.
"""

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from fakes_net import free_port  # noqa: E402
from fleet_kill import Relay  # noqa: E402
from fleet_load import wait_for  # noqa: E402

SITE, NODES = "shop-1", ("a", "b")
STEPS = ("cut", "kill", "hub")
SAMPLE_S = 0.02


@dataclass(slots=True)
class Outcome:
    """``takeover_s``: from the cut or kill of the owner until the other node owns all cameras. ``stopped_s``: from the
    cut until the owner has stopped. ``back_s``: from when the hub answers again until all cameras are owned.
    ``both_s``: camera seconds with two owners."""

    ttl_s: int
    cut_s: float
    cameras: int
    rounds: int
    takeover_s: list[float] = field(default_factory=list)
    stopped_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    both_s: float = 0.0
    submitted: int = 0
    at_hub: int = 0
    lost: int = 0
    double: int = 0
    node_events: dict[str, int] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        late = [seconds for seconds in (*self.takeover_s, *self.back_s) if seconds > 2 * self.ttl_s]
        return not (late or self.both_s or self.lost or self.double)


def node_process(folder: str, credentials: str, url: str, node: str, ttl_s: int, cameras: list[str]) -> None:
    """Watches nothing, but owns cameras and submits events. Writes what it owns and submits to FOLDER/NODE.log."""
    from app.alerts.delivery import AlertCenter
    from app.core.types import Box, Event, EventKind
    from app.fleet.agent import FleetAgent
    from app.fleet.leases import Leases
    from app.fleet.messages import NodeHealth
    from app.settings.alerts import AlertSettings
    from app.settings.fleet import FleetSettings

    values = {"hub": url, "site": SITE, "node": node, "creds_file": credentials, "failover": True}
    fleet = FleetSettings.model_validate({**values, "lease_s": ttl_s, "heartbeat_s": ttl_s / 3})
    channel = {"kind": "nats", "name": "fleet", "url": url, "site": SITE, "creds_file": credentials, "node": node}
    alerts = {"store": f"{folder}/{node}.db", "channels": [channel], "retry_first_s": 0.2, "retry_max_s": 2.0}
    center = AlertCenter(AlertSettings.model_validate(alerts))
    leases = Leases(fleet, cameras)

    def write(**line: object) -> None:
        with Path(folder, f"{node}.log").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def health() -> NodeHealth:
        write(reports=os.getpid())  # it has a link
        states = {name: "live" if leases.owns(name) else "standby" for name in cameras}
        return NodeHealth(version="1", heartbeat_s=fleet.heartbeat_s, waiting=0, cameras=states, failover=True)

    center.start()
    FleetAgent(fleet, health, center.final_hours, node, leases).start()
    owned: list[str] = []
    next_s, number = time.monotonic(), 0
    while True:
        now = [name for name in cameras if leases.owns(name)]
        if now != owned:
            owned = now
            write(at_s=time.monotonic(), owned=owned)
        if time.monotonic() >= next_s:
            next_s += 1.0
            for name in owned:
                number += 1
                box = Box(os.getpid() * 1e7 + number * 100, 0.0, 50.0, 50.0)  # somebody else each time
                event_id = f"{node}-{os.getpid()}-{number}"
                center.submit(Event(event_id, EventKind.NO_MASK, name, 1.0, time.time(), number, 0.9, 2.0, box))
                write(event=event_id)
        time.sleep(SAMPLE_S)


class Site:
    """The hub, and two nodes whose links can be cut."""

    def __init__(self, folder: Path, outcome: Outcome) -> None:
        from app.fleet.hub_folder import HubFolder, ServerOptions

        port = free_port()
        self.folder, self.outcome = folder, outcome
        self.hub_folder = HubFolder(folder / "hub")
        (self.credentials,) = self.hub_folder.init([SITE], ServerOptions(f"127.0.0.1:{port}", ("127.0.0.1",)))
        self.relays = {node: Relay(port) for node in NODES}
        self.cameras = [f"door {number}" for number in range(outcome.cameras)]
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.hub: subprocess.Popen[bytes] | None = None

    def start_hub(self) -> None:
        argv = [sys.executable, "-m", "app", "fleet", "hub", str(self.hub_folder.path)]
        self.hub = subprocess.Popen(argv, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        wait_for(self.hub_folder)

    def kill_hub(self) -> None:
        assert self.hub is not None
        self.hub.kill()
        self.hub.wait()
        with suppress(OSError, ValueError):
            os.kill(int(self.hub_folder.pid_file.read_text()), signal.SIGKILL)

    def start_node(self, node: str) -> None:
        url = f"tls://127.0.0.1:{self.relays[node].port}"
        values = [str(self.folder), str(self.credentials), url, node, str(self.outcome.ttl_s)]
        argv = [sys.executable, __file__, "--node", *values, *self.cameras]
        self.nodes[node] = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        pid = self.nodes[node].pid
        wait(lambda: any(line.get("reports") == pid for line in self.lines(node)), 60.0)

    def kill_node(self, node: str) -> None:
        self.nodes[node].kill()
        self.nodes[node].wait()
        with Path(self.folder, f"{node}.log").open("a") as log:
            log.write(json.dumps({"at_s": time.monotonic(), "owned": []}) + "\n")

    def lines(self, node: str) -> list[dict[str, Any]]:
        """What the node wrote; a line that it was killed in is left out."""
        with suppress(FileNotFoundError):
            text = Path(self.folder, f"{node}.log").read_text()
            return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return []

    def owned(self, node: str) -> list[str]:
        changes = [line["owned"] for line in self.lines(node) if "owned" in line]
        return changes[-1] if changes else []

    def owns_all(self, node: str) -> bool:
        return len(self.owned(node)) == len(self.cameras)

    def all_owned(self) -> bool:
        return sum(len(self.owned(node)) for node in NODES) == len(self.cameras)

    def stored(self) -> list[tuple[str, str]]:
        """(kind, id) of all events at the hub."""
        with suppress(sqlite3.Error), closing(sqlite3.connect(self.hub_folder.store, timeout=10)) as db:
            return db.execute("SELECT kind, id FROM events").fetchall()
        return []

    def both_s(self) -> float:
        """Camera seconds with two owners, from the logs."""
        changes = sorted(
            (line["at_s"], node, line["owned"]) for node in NODES for line in self.lines(node) if "owned" in line
        )
        owned: dict[str, list[str]] = {node: [] for node in NODES}
        total, before_s = 0.0, 0.0
        for at_s, node, names in changes:
            total += (at_s - before_s) * len(set(owned["a"]) & set(owned["b"]))
            owned[node], before_s = names, at_s
        return round(total, 2)

    def stop(self) -> None:
        for node in self.nodes.values():
            node.kill()
            node.wait()
        if self.hub is not None:
            self.hub.terminate()
            self.hub.wait()
        for relay in self.relays.values():
            relay.stop()


def wait(condition: Callable[[], bool], limit_s: float) -> float:
    """The seconds until ``condition``, at most ``limit_s``."""
    began_s = time.monotonic()
    while not condition() and time.monotonic() - began_s < limit_s:
        time.sleep(0.05)
    return round(time.monotonic() - began_s, 1)


def play(site: Site, steps: list[str]) -> None:
    outcome = site.outcome
    limit_s = 4.0 * outcome.ttl_s

    def give_all(node: str) -> None:
        """Makes ``node`` the owner of all cameras by a restart of the other one."""
        other = NODES[node == NODES[0]]
        site.kill_node(other)
        wait(lambda: site.owns_all(node), limit_s)
        site.start_node(other)

    site.start_hub()
    for node in NODES:
        site.start_node(node)
    wait(site.all_owned, 60.0)
    one, other = NODES
    give_all(one)
    for _ in range(outcome.rounds):
        for step in steps:
            print(f"{step}: {one} owns {len(site.owned(one))} cameras", file=sys.stderr, flush=True)
            began_s = time.monotonic()
            if step == "cut":
                site.relays[one].cut(outcome.cut_s)
                outcome.stopped_s.append(wait(lambda node=one: not site.owned(node), limit_s))
            elif step == "kill":
                site.kill_node(one)
            else:
                site.kill_hub()
                time.sleep(outcome.cut_s)
                site.start_hub()
                outcome.back_s.append(wait(site.all_owned, limit_s))
                if not site.owns_all(one):
                    give_all(one)
                continue
            wait(lambda node=other: site.owns_all(node), limit_s)
            outcome.takeover_s.append(round(time.monotonic() - began_s, 1))
            if step == "cut":
                time.sleep(max(outcome.cut_s + outcome.ttl_s - (time.monotonic() - began_s), 0.0))
            else:
                site.start_node(one)
            one, other = other, one


def run(outcome: Outcome, steps: list[str], folder: Path) -> None:
    site = Site(folder, outcome)
    try:
        play(site, steps)
        for node in NODES:  # what they have not sent is sent by their next run
            site.kill_node(node)
        wanted = {f"{SITE}/{line['event']}:fleet" for node in NODES for line in site.lines(node) if "event" in line}
        for node in NODES:
            site.start_node(node)
        wait(lambda: wanted <= {event for _, event in site.stored()}, 120.0)
        outcome.both_s, found = site.both_s(), site.stored()
    finally:
        site.stop()
    ids = [event for _, event in found]
    outcome.submitted, outcome.at_hub = len(wanted), sum(event in wanted for event in ids)
    outcome.lost, outcome.double = len(wanted - set(ids)), len(ids) - len(set(ids))
    outcome.node_events = {name: sum(kind == name for kind, _ in found) for name in ("node_offline", "node_online")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttl", type=int, default=15)
    parser.add_argument("--cut", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cameras", type=int, default=10)
    parser.add_argument("--steps", default=",".join(STEPS), help="which of cut, kill and hub, in this order")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--node", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.node:
        folder, credentials, url, node, ttl_s, *cameras = args.node
        node_process(folder, credentials, url, node, int(ttl_s), cameras)
    outcome = Outcome(args.ttl, args.cut, args.cameras, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        run(outcome, args.steps.split(","), Path(folder))
    record = {"is_well": outcome.is_well, "load": round(os.getloadavg()[0], 1), **asdict(outcome)}
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if outcome.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
