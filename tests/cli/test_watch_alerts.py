"""Alert hooks of a running monitor: a hook that hangs, fails or is missing never slows or stops it."""

import json
import shlex
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from app.cli.main import main

DEMO = ("watch", "--headless", "--source", "demo", "--fast", "--working-width", "400")


def test_command_gets_the_alert_on_standard_input(tmp_path: Path) -> None:
    received = tmp_path / "received.jsonl"
    code = f"import sys; open({str(received)!r}, 'a').write(sys.stdin.read().replace(chr(10), ' ') + chr(10))"
    assert main([*DEMO, "--on-alert", shlex.join([sys.executable, "-c", code, "{camera}"])]) == 0
    kinds = [json.loads(line)["kind"] for line in received.read_text().splitlines()]
    assert kinds[0] == "no_mask"


def test_webhook_gets_the_alert(tmp_path: Path) -> None:
    bodies: list[dict[str, object]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert main([*DEMO, "--webhook", f"http://127.0.0.1:{server.server_port}/hook"]) == 0
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
    assert bodies
    assert bodies[0]["kind"] == "no_mask"  # type: ignore[index]


@pytest.mark.parametrize(
    "flags",
    [
        ("--on-alert", shlex.join([sys.executable, "-c", "import time; time.sleep(600)"])),
        ("--on-alert", "no-such-program-at-all"),
        ("--on-alert", shlex.join([sys.executable, "-c", "raise SystemExit(3)"])),
        ("--webhook", "http://127.0.0.1:9/no-listener"),
    ],
)
def test_failing_hook_does_not_delay_the_run(flags: tuple[str, ...], tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    before, children = set(threading.enumerate()), set(psutil.Process().children())
    started_s = time.monotonic()
    assert main([*DEMO, *flags, "--events", str(events)]) == 0
    assert time.monotonic() - started_s < 160  # the first of them hangs for 600 s
    assert "no_mask" in events.read_text()
    deadline_s = time.monotonic() + 60
    while set(psutil.Process().children()) - children and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert set(psutil.Process().children()) <= children
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert set(threading.enumerate()) <= before
