"""A NATS server on loopback with one stream, without TLS and without users."""

import asyncio
import shutil
import subprocess
import sysconfig
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes_net import free_port

STREAM = "EVENTS"


def server_program() -> str:
    """The path of nats-server. Skips the test if it, or the client, is not installed."""
    pytest.importorskip("nats", reason="needs maskwatch[fleet]")
    path = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if path is None:
        pytest.skip("needs nats-server", allow_module_level=True)
    return path


@contextmanager
def nats_server(folder: Path) -> Iterator[int]:
    """Yields the port of a server whose stream stores ``mw.event.*.*``."""
    port = free_port()
    argv = [server_program(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "streams")]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("Server is ready" in line for line in process.stderr)

            async def add_stream(jetstream: Any) -> None:
                await jetstream.add_stream(name=STREAM, subjects=["mw.event.*.*"])

            with_jetstream(port, add_stream)
            yield port
        finally:
            process.kill()


def with_jetstream(port: int, do: Callable[[Any], Awaitable[Any]]) -> Any:
    """The result of ``do`` with a connection to the server."""
    import nats

    async def run() -> Any:
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        try:
            return await do(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def stored_messages(port: int) -> int:
    async def count(jetstream: Any) -> int:
        return int((await jetstream.stream_info(STREAM)).state.messages)

    return int(with_jetstream(port, count))
