"""Which live cameras this node watches: those whose lease it has, if the nodes of a site share them.

A lease is a key SITE.CAMERA that the server deletes after ``lease_s`` unless it is written again. A node counts its
time from before it writes, so it stops watching before the server can give the lease to another node.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.alerts.health import SystemClock
from app.alerts.nats_client import token_of
from app.fleet.messages import LEASES, Desired
from app.settings.fleet import FleetSettings

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
WRONG_SEQUENCE = (10071, 10164)
STOP_S = 0.5
"""The monitor needs up to this time to stop watching a camera."""
RELEASE_S = 1
"""A released lease is free after this time, the shortest that the server knows."""
_now_s = SystemClock().monotonic_s
"""Leases also end while the machine sleeps."""


class Leases:
    """``owns`` may be called from any thread, the rest from the event loop of the fleet."""

    def __init__(self, settings: FleetSettings, cameras: Sequence[str]) -> None:
        """``cameras``: those that are shared; this node watches all others always."""
        self._settings = settings
        self._until_s = dict.fromkeys(cameras, 0.0)
        self._sequences: dict[str, int] = {}  # of the leases that this node has
        self._assigned: dict[str, tuple[str, float]] = {}
        self._owner = f"{settings.node} {secrets.token_hex(4)}".encode()  # a second node of this name is another owner

    def owns(self, camera: str) -> bool:
        return _now_s() < self._until_s.get(camera, float("inf"))

    async def step(self, stream: "JetStreamContext", desired: Desired, failed: Sequence[str] = ()) -> None:
        """Renews, takes and releases leases; call it three times within ``lease_s``. ``failed``: cameras that this node
        cannot watch."""
        await asyncio.gather(
            *(self._step(stream, name, self._wants(name, desired) and name not in failed) for name in self._until_s)
        )

    async def release_all(self, stream: "JetStreamContext") -> None:
        await asyncio.gather(*(self._step(stream, name, wants=False) for name in self._until_s))

    def _wants(self, camera: str, desired: Desired) -> bool:
        """A camera that is assigned to another node is left to it for ``lease_s``; later that node seems to be gone."""
        node, now_s, assigned = self._settings.node, _now_s(), desired.assigned.get(camera, "")
        if self._assigned.setdefault(camera, (assigned, now_s))[0] != assigned:
            self._assigned[camera] = assigned, now_s
        is_left = assigned not in ("", node) and now_s - self._assigned[camera][1] <= self._settings.lease_s
        return not is_left and node not in desired.drained

    async def _step(self, stream: "JetStreamContext", camera: str, wants: bool) -> None:
        from nats.errors import Error
        from nats.js.errors import APIError

        sequence = self._sequences.get(camera, 0)
        if not wants:
            self._until_s[camera] = 0.0
            self._sequences.pop(camera, None)
            if not sequence:
                return
        subject, began_s = f"$KV.{LEASES}.{self._settings.site}.{token_of(camera)}", _now_s()
        try:
            written = await stream.publish(
                subject,
                self._owner,
                headers={EXPECTED: str(sequence)},
                msg_ttl=self._settings.lease_s if wants else RELEASE_S,
            )
        except APIError as error:
            if error.err_code in WRONG_SEQUENCE:  # another node has it, or the answer to an earlier write was lost
                self._sequences.pop(camera, None)
                await self._read(stream, subject, camera)
            return
        except (Error, TimeoutError) as error:
            log.debug("the lease of %s is not renewed: %s", camera, error)
            return
        if wants:
            self._sequences[camera] = written.seq
            self._until_s[camera] = began_s + self._settings.lease_s - STOP_S

    async def _read(self, stream: "JetStreamContext", subject: str, camera: str) -> None:
        from nats.errors import Error

        try:
            found = await stream.get_msg(f"KV_{LEASES}", subject=subject, direct=True)
        except (Error, TimeoutError):
            return
        if found.data == self._owner:
            self._sequences[camera] = found.seq
        else:
            self._until_s[camera] = 0.0
