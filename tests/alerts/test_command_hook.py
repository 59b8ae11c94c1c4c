"""Commands as channels: arguments, limits and abort."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fakes_alerts import HANG_S, LIMIT_S, make_event, wait_until
from test_hook_conformance import make_alert, make_hook

from app.alerts.hook import Alert
from app.alerts.timeout_hook import TimeoutHook
from app.core.errors import HookError

# Apprise imports imghdr, which Python 3.13 removed, and has a replacement.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def test_command_gets_json_and_arguments_without_a_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = 'printf "%s\\n" "$@" > "$0"; cat >> "$0"'
    hook = make_hook(
        kind="command", argv=["sh", "-c", script, str(out), "{camera}", "{kind}", "{track}", "{key}", "{snapshot}"]
    )
    event = make_event(camera="hall; touch /tmp/never $(id) 'x'")
    hook.send(Alert(event, "c", f"{event.id}:c"))
    camera, kind, track, key, snapshot, record = out.read_text().splitlines()
    assert camera == event.camera
    assert (kind, track, key, snapshot) == ("no_mask", str(event.track_id), f"{event.id}:c", "")
    assert json.loads(record)["camera"] == event.camera


def test_command_gets_the_snapshot_in_a_temporary_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    hook = make_hook(kind="command", argv=["sh", "-c", 'cat "$1" > "$0"; echo "$1" >> "$0"', str(out), "{snapshot}"])
    hook.send(make_alert(b"JPEG\n"))
    content, path = out.read_text().splitlines()
    assert content == "JPEG"
    assert not Path(path).exists()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX processes")
def test_command_past_its_limit_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = tmp_path / "pids"
    script = f'sleep {HANG_S:g} & echo $! > "$0"; sleep {HANG_S:g} & echo $! >> "$0"; wait'

    passed_s = [0.0]

    def now_s() -> float:
        """Reaches the limit when both children run, however slowly the shell starts them."""
        passed_s[0] += 1.0 if pids.exists() and pids.read_text().count("\n") == 2 else 0.0
        return passed_s[0]

    monkeypatch.setattr("app.alerts.hooks.command_hook.time", SimpleNamespace(monotonic=now_s))
    hook = make_hook(kind="command", argv=["sh", "-c", script, str(pids)], timeout_s=0.5)
    with pytest.raises(HookError, match=r"longer than 0\.5 s"):
        hook.send(make_alert())
    children = [int(line) for line in pids.read_text().split()]
    assert len(children) == 2
    wait_until(lambda: not any(_is_running(pid) for pid in children))


def _is_running(pid: int) -> bool:
    """A zombie counts as ended, because a container may have no process that reaps it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_command_aborted_during_its_start_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    starting, go = threading.Event(), threading.Event()
    start, errors = subprocess.Popen, list[HookError]()

    def slow(*args: Any, **more: Any) -> "subprocess.Popen[bytes]":
        starting.set()
        assert go.wait(HANG_S)
        return start(*args, **more)

    def send() -> None:
        try:
            hook.send(make_alert())
        except HookError as error:
            errors.append(error)

    monkeypatch.setattr("app.alerts.hooks.command_hook.subprocess.Popen", slow)
    hook = make_hook(kind="command", argv=["sleep", f"{HANG_S:g}"], timeout_s=HANG_S)
    sending = threading.Thread(target=send)
    sending.start()
    assert starting.wait(LIMIT_S)
    hook.abort()
    go.set()
    sending.join(LIMIT_S)
    assert not sending.is_alive()
    assert len(errors) == 1


def test_abort_is_repeated_if_it_comes_too_early() -> None:
    """A hook cannot be aborted in the first moments of an attempt."""

    class Hook:
        def __init__(self) -> None:
            self.aborts, self.ended = 0, threading.Event()

        def send(self, alert: Alert) -> None:
            assert self.ended.wait(HANG_S)
            raise HookError("stopped")

        def abort(self) -> None:
            self.aborts += 1
            if self.aborts == 2:
                self.ended.set()

    timeout_hook = TimeoutHook(Hook(), 0.02)
    with pytest.raises(HookError):
        timeout_hook.send(make_alert())
    wait_until(lambda: timeout_hook.stuck is None)


def test_command_with_endless_output_is_killed() -> None:
    hook = make_hook(
        kind="command", argv=["sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"], timeout_s=60
    )
    with pytest.raises(HookError, match="wrote more than"):
        hook.send(make_alert())


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX process ids")
def test_command_ends_without_waiting_for_a_background_child(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f'sleep {HANG_S:g} & echo $! > "$0"; exit 0'
    make_hook(kind="command", argv=["sh", "-c", script, str(pid)]).send(make_alert())
    child = int(pid.read_text())
    try:
        assert _is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/no/such/program"], "cannot run '/no/such/program': No such file"),
        (["sh", "-c", "echo the reason >&2; exit 7"], "code 7: the reason"),
        (["sh", "-c", "kill -9 $$"], "code -9"),
    ],
)
def test_failed_command_reports_the_reason(argv: list[str], message: str) -> None:
    with pytest.raises(HookError, match=message):
        make_hook(kind="command", argv=argv).send(make_alert())
