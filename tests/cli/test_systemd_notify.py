"""What a service manager is told, over a real datagram socket."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fakes_video import LIMIT_S, wait_until

from app.cli.systemd_notify import SystemdNotifier
from app.cli.watch import _SignalFlags

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


class Manager:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def close(self) -> None:
        self._socket.close()


def test_ready_alive_and_stopping(tmp_path: Path) -> None:
    manager, now_s = Manager(tmp_path), [0.0]
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    service = SystemdNotifier(environ, lambda: now_s[0])
    service.ready()
    for _ in range(100):  # 25 s, four times a second: every 10 s is enough for a limit of 30 s
        service.alive()
        now_s[0] += 0.25
    service.stopping()
    assert manager.listen() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
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
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    service = SystemdNotifier(environ)
    service.ready()
    service.alive()
    service.stopping()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_service_is_ready_alive_reads_its_settings_again_and_stops(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    config = tmp_path / "maskwatch.toml"
    config.write_text("[[camera]]\nuri = 'demo'\nloop = true\n[view]\nheadless = true\n")
    said = tmp_path / "said"
    environ = {**os.environ, "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "600000"}

    def says(words: str) -> bool:
        assert running.poll() is None, said.read_text()
        return words in said.read_text()

    with said.open("w") as errors:
        argv = [sys.executable, "-m", "app", "watch", "--config", str(config)]
        running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=errors, env=environ)
        try:
            wait_until(lambda: manager.listen().count("WATCHDOG=1") > 2, "it is alive")
            assert manager.heard[0] == "READY=1"
            config.write_text(config.read_text() + "[policy]\ncooldown_s = 60\n[detector]\nscale_factor = 1.3\n")
            running.send_signal(signal.SIGHUP)
            wait_until(lambda: says("settings read again; these need a new start: detector.scale_factor"), "reloaded")
            config.write_text("[policy]\ncooldown = 60\n")
            running.send_signal(signal.SIGHUP)
            wait_until(lambda: says("stay as they were"), "refused")
            assert says("did you mean cooldown_s?")
            running.send_signal(signal.SIGTERM)
            assert running.wait(LIMIT_S) == 0
        finally:
            running.kill()
            running.wait(LIMIT_S)
    assert manager.listen()[-1] == "STOPPING=1"
    manager.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_hang_up_where_there_are_no_settings_to_read_ends_it_with_a_whole_film(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    argv = [sys.executable, "-m", "app", "watch", "--headless", "--source", "demo", "--loop", "--output", str(film)]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup, which children inherit
    try:
        running = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        wait_until(lambda: list(tmp_path.glob(".*.part.mp4")) or running.poll() is not None, "the film is begun")
        running.send_signal(signal.SIGHUP)
        assert running.wait(LIMIT_S) == 0
    finally:
        running.kill()
        running.wait(LIMIT_S)
    assert list(tmp_path.iterdir()) == [film]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_hang_up_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _SignalFlags(reloads=False):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
