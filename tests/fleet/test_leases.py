"""Leases with a real server: one owner at a time, taken over when it is silent."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from fakes_nats import nats_server, server_program, with_jetstream

server_program()  # skips this file without maskwatch[fleet]
from fakes_alerts import LIMIT_S  # noqa: E402

from app.alerts.health import SystemClock  # noqa: E402
from app.fleet.leases import Leases  # noqa: E402
from app.fleet.messages import LEASES, Desired  # noqa: E402
from app.settings.fleet import FleetSettings  # noqa: E402

TTL_S = 2
STEP_S = 0.1
CAMERA = "Tür 1.a"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with nats_server(tmp_path_factory.mktemp("nats")) as port:
        with_jetstream(port, lambda stream: stream.create_key_value(bucket=LEASES, direct=True))
        yield port


class Nodes:
    """Two nodes of a site, ``a`` and ``b``, and how long both owned the camera at once."""

    def __init__(self, stream: Any, site: str) -> None:
        self.stream = stream
        self.desired = Desired()
        self.by_name = {name: Leases(FleetSettings(site=site, node=name, lease_s=TTL_S), [CAMERA]) for name in "ab"}
        self.both_s = 0.0

    def owners(self) -> str:
        return "".join(name for name, leases in self.by_name.items() if leases.owns(CAMERA))

    async def run(self, names: str, until: Callable[[], bool]) -> float:
        """Only the nodes ``names`` work. Returns the seconds until ``until``."""
        began_s = time.monotonic()
        while not until():
            assert time.monotonic() - began_s < LIMIT_S
            for name in names:
                await self.by_name[name].step(self.stream, self.desired)
            self.both_s += STEP_S * (self.owners() == "ab")
            await asyncio.sleep(STEP_S)
        return time.monotonic() - began_s


def play(port: int, site: str, story: Callable[[Nodes], Coroutine[Any, Any, None]]) -> None:
    async def run(stream: Any) -> None:
        nodes = Nodes(stream, site)
        await story(nodes)
        assert nodes.both_s == 0

    with_jetstream(port, run)


def test_a_silent_owner_is_replaced_within_two_ttl_and_there_are_never_two(port: int) -> None:
    async def story(nodes: Nodes) -> None:
        assert nodes.owners() == ""
        await nodes.run("a", lambda: nodes.owners() == "a")
        began_s = time.monotonic()
        await nodes.run("ab", lambda: time.monotonic() - began_s > 1.2 * TTL_S)  # it is renewed
        assert nodes.owners() == "a"
        assert await nodes.run("b", lambda: nodes.owners() == "b") < 2 * TTL_S
        await nodes.run("ab", lambda: nodes.owners() == "b")

    play(port, "silent", story)


def test_cameras_move_by_assignment_and_leave_a_drained_node(port: int) -> None:
    async def story(nodes: Nodes) -> None:
        await nodes.run("a", lambda: nodes.owners() == "a")
        nodes.desired = Desired(assigned={CAMERA: "b"})
        assert await nodes.run("ab", lambda: nodes.owners() == "b") < TTL_S
        nodes.desired = Desired(assigned={CAMERA: "b"}, drained=("b",))
        await nodes.run("ab", lambda: nodes.owners() == "a")

    play(port, "moves", story)


def test_a_camera_that_is_assigned_to_a_dead_node_is_watched(port: int) -> None:
    async def story(nodes: Nodes) -> None:
        nodes.desired = Desired(assigned={CAMERA: "dead"})
        assert await nodes.run("a", lambda: nodes.owners() == "a") >= TTL_S

    play(port, "dead", story)


def test_an_ended_node_gives_its_cameras_at_once_and_one_that_failed_too(port: int) -> None:
    async def story(nodes: Nodes) -> None:
        await nodes.run("a", lambda: nodes.owners() == "a")
        await nodes.by_name["a"].release_all(nodes.stream)
        assert nodes.owners() == ""
        await nodes.run("b", lambda: nodes.owners() == "b")
        await nodes.by_name["b"].step(nodes.stream, nodes.desired, failed=[CAMERA])
        assert nodes.owners() == ""

    play(port, "ends", story)


def test_a_lost_answer_does_not_lose_the_lease(port: int) -> None:
    class Lossy:
        """Loses the answer to what is written."""

        def __init__(self, stream: Any) -> None:
            self.get_msg, self._stream = stream.get_msg, stream

        async def publish(self, *args: Any, **values: Any) -> None:
            await self._stream.publish(*args, **values)
            raise TimeoutError

    async def story(nodes: Nodes) -> None:
        await nodes.run("a", lambda: nodes.owners() == "a")
        await nodes.by_name["a"].step(Lossy(nodes.stream), nodes.desired)  # type: ignore[arg-type]
        for _ in range(2):
            await nodes.by_name["a"].step(nodes.stream, nodes.desired)
        began_s = time.monotonic()
        await nodes.run("ab", lambda: time.monotonic() - began_s > 1.2 * TTL_S)
        assert nodes.owners() == "a"

    play(port, "lossy", story)


def test_cameras_that_are_not_shared_are_always_watched() -> None:
    leases = Leases(FleetSettings(), ["door"])
    assert leases.owns("file")
    assert not leases.owns("door")


@pytest.mark.skipif(not hasattr(time, "clock_gettime"), reason="the clock of Windows counts the sleep")
def test_a_lease_ends_while_the_machine_sleeps(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(nodes: Nodes) -> None:
        await nodes.run("a", lambda: nodes.owners() == "a")
        clock_s = SystemClock().monotonic_s() + TTL_S  # time.monotonic() stands still meanwhile
        monkeypatch.setattr(time, "clock_gettime", lambda _: clock_s)
        assert nodes.owners() == ""
        monkeypatch.undo()

    play(port, "sleeps", story)
