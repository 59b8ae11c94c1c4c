"""Sends alerts to a webhook server that fails half of the time, while the sending program is killed repeatedly.

    python benchmarks/alert_kill.py [--alerts 200] [--kills 20] [--seed 1] [--json docs/results/alert_kill.json]

A child process submits alerts through ``AlertCenter`` and prints the number of each after ``submit`` has returned. It
is killed with SIGKILL at random moments (start, submit, send, wait) and started again on the same event file. The
server answers half of the requests with 200. For the others it answers 500, does not answer, or closes the connection
before or after it reads the request. Prints alerts, deliveries, losses and duplicates. Exit code 1 for a loss, for a
duplicate with another key, or for a first delivery out of order.
"""

import argparse
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLIENT_TIMEOUT_S = 0.3
ALERTS_PER_RUN = 10
FAULTS = ("error 500", "hang", "close unread", "close unanswered")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The counts of the whole test. ``server`` counts the server's answers by kind."""

    alerts: int
    kills: int
    server: dict[str, int]
    deliveries: int
    losses: int
    duplicates: int
    duplicates_with_another_key: int
    first_deliveries_out_of_order: int

    @property
    def is_well(self) -> bool:
        return not (self.losses or self.duplicates_with_another_key or self.first_deliveries_out_of_order)


class FaultyServer(ThreadingHTTPServer):
    """Records (event id, idempotency key) of each request that it read and did not answer with an error, in order of
    arrival."""

    daemon_threads = True

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[str, str]] = []
        self.faults: Counter[str] = Counter()
        self.closing = threading.Event()
        self._rng = random.Random(seed)
        self._lock = threading.Lock()

    def choose_answer(self) -> str:
        with self._lock:
            answer = "ok" if self._rng.random() < 0.5 else self._rng.choice(FAULTS)
            self.faults[answer] += 1
            return answer

    def receive(self, body: bytes, key: str) -> None:
        with self._lock:
            self.received.append((json.loads(body)["id"], key))

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores errors: killed clients are expected here."""


class Handler(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        answer = self.server.choose_answer()
        self.close_connection = True
        if answer == "close unread":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if answer == "hang":
            self.server.closing.wait(CLIENT_TIMEOUT_S * 4)
            return
        if answer == "error 500":
            self.send_error(500)
            return
        self.server.receive(body, self.headers["Idempotency-Key"])
        if answer == "ok":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs no requests."""


def child(store: str, url: str, first: int, last: int) -> None:
    """Submits the alerts from ``first`` to ``last - 1`` and sends until it is killed or standard input is closed."""
    from app.alerts.delivery import AlertCenter
    from app.core.types import Event, EventKind
    from app.settings.alerts import AlertSettings

    channel = {"kind": "webhook", "name": "hook", "url": url, "timeout_s": CLIENT_TIMEOUT_S}
    settings = AlertSettings.model_validate(
        {"store": store, "channels": [channel], "retry_first_s": 0.02, "retry_max_s": 0.2}
    )
    center = AlertCenter(settings)
    center.start()
    for number in range(first, last):
        center.submit(Event(f"alert-{number}", EventKind.NO_MASK, "door", float(number), time.time(), number + 1))
        print(number, flush=True)
    sys.stdin.read()  # until the parent closes it or kills this process
    center.close()


class ChildRun:
    """One run of the child process."""

    def __init__(self, store: Path, url: str, first: int, last: int) -> None:
        argv = [sys.executable, __file__, "--child", str(store), url, str(first), str(last)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

    def kill(self) -> list[int]:
        """Kills the child; returns the numbers of the alerts whose ``submit`` had returned."""
        self.process.kill()
        return self.end()

    def end(self) -> list[int]:
        """Lets the child end; returns the numbers of all alerts whose ``submit`` had returned."""
        output, _ = self.process.communicate()
        return [int(line) for line in output.split()]


def run(alerts: int, kills: int, seed: int, store: Path) -> Outcome:
    rng = random.Random(seed)
    server = FaultyServer(seed)
    listener = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    listener.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    submitted: set[int] = set()
    try:
        for _ in range(kills):
            first = max(submitted, default=-1) + 1
            child_run = ChildRun(store, url, first, min(first + ALERTS_PER_RUN, alerts))
            time.sleep(rng.uniform(0.05, 2.0))  # the random moment of the kill
            submitted.update(child_run.kill())
        child_run = ChildRun(store, url, max(submitted, default=-1) + 1, alerts)
        expected = {f"alert-{number}" for number in range(alerts)}
        end_s = time.monotonic() + 300 + alerts
        while not expected <= {event for event, _ in server.received} and time.monotonic() < end_s:
            time.sleep(0.05)
        submitted.update(child_run.end())
    finally:
        server.closing.set()
        server.shutdown()
        listener.join()
        server.server_close()
    return outcome_of(submitted, server, kills)


def outcome_of(submitted: set[int], server: FaultyServer, kills: int) -> Outcome:
    delivered = Counter(event for event, _ in server.received)
    losses = [number for number in submitted if f"alert-{number}" not in delivered]
    keys = {event: {key for other, key in server.received if other == event} for event in delivered}
    other_keys = sum(len(event_keys) - 1 for event_keys in keys.values())
    firsts = [int(event.removeprefix("alert-")) for event in dict.fromkeys(event for event, _ in server.received)]
    disorder = sum(before > after for before, after in itertools.pairwise(firsts))
    duplicates = len(server.received) - len(delivered)
    faults = dict(server.faults)
    return Outcome(len(submitted), kills, faults, len(server.received), len(losses), duplicates, other_keys, disorder)


def report(outcome: Outcome) -> None:
    print(f"alerts {outcome.alerts}, killed {outcome.kills} times, server: {outcome.server}")
    print(f"deliveries {outcome.deliveries}, losses {outcome.losses}")
    print(f"duplicates {outcome.duplicates}, with another key {outcome.duplicates_with_another_key}")
    print(f"first deliveries out of order {outcome.first_deliveries_out_of_order}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--child", nargs=4, metavar=("STORE", "URL", "FIRST", "LAST"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        store, url, first, last = args.child
        child(store, url, int(first), int(last))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(args.alerts, args.kills, args.seed, Path(folder, "events.db"))
    report(outcome)
    if args.json:
        record = {"is_well": outcome.is_well, "seed": args.seed, **asdict(outcome)}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if outcome.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
