"""Notifications to a service manager over a real datagram socket."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_video import LIMIT_S, wait_until

from app.cli.systemd_notify import SystemdNotifier
from app.cli.watch import SignalFlags

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


class Manager:
    """Receives the datagrams, as systemd does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.received: list[str] = []

    def receive(self) -> list[str]:
        while True:
            try:
                self.received.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.received

    def close(self) -> None:
        self._socket.close()


def test_ready_alive_and_stopping_are_sent(tmp_path: Path) -> None:
    manager, now_s = Manager(tmp_path), [0.0]
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    service = SystemdNotifier(environ, lambda: now_s[0])
    service.ready()
    for _ in range(100):  # 25 s with four calls per second; one message per 10 s is enough for a limit of 30 s
        service.alive()
        now_s[0] += 0.25
    service.stopping()
    assert manager.receive() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    manager.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "@no-such-abstract-socket", "WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_calls_without_a_manager_have_no_effect(environ: dict[str, str]) -> None:
    service = SystemdNotifier(environ)
    service.ready()
    service.alive()
    service.stopping()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_service_is_ready_alive_reloads_and_stops(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    config = tmp_path / "maskwatch.toml"
    config.write_text("[[camera]]\nuri = 'demo'\nloop = true\n[view]\nheadless = true\n")
    stderr_path = tmp_path / "stderr"
    environ = {**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "600000"}

    def has_logged(text: str) -> bool:
        assert running.poll() is None, stderr_path.read_text()
        return text in stderr_path.read_text()

    with stderr_path.open("w") as errors:
        argv = [sys.executable, "-m", "app", "watch", "--config", str(config)]
        running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=errors, env=environ)
        try:
            wait_until(lambda: manager.receive().count("WATCHDOG=1") > 2, "it is alive")
            assert manager.received[0] == "READY=1"
            config.write_text(config.read_text() + "[policy]\ncooldown_s = 60\n[detector]\nscale_factor = 1.3\n")
            running.send_signal(signal.SIGHUP)
            wait_until(lambda: has_logged("settings reloaded; these need a restart: detector.scale_factor"), "reloaded")
            config.write_text("[policy]\ncooldown = 60\n")
            running.send_signal(signal.SIGHUP)
            wait_until(lambda: has_logged("the current settings stay in use"), "refused")
            assert has_logged("did you mean cooldown_s?")
            running.send_signal(signal.SIGTERM)
            assert running.wait(LIMIT_S) == 0
        finally:
            running.kill()
            running.wait(LIMIT_S)
    assert manager.receive()[-1] == "STOPPING=1"
    manager.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sighup_without_a_settings_file_stops_with_a_complete_video(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    argv = [sys.executable, "-m", "app", "watch", "--headless", "--source", "demo", "--loop", "--output", str(video)]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup, which children inherit
    try:
        running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        wait_until(lambda: list(tmp_path.glob(".*.part.mp4")) or running.poll() is not None, "the video is started")
        running.send_signal(signal.SIGHUP)
        assert running.wait(LIMIT_S) == 0
    finally:
        running.kill()
        running.wait(LIMIT_S)
    assert list(tmp_path.iterdir()) == [video]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ignored_sighup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalFlags(reloads=False):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
