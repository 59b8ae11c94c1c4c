"""Decides when a node of a fleet is reported as offline or back: a pure state machine."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.core.types import Event, EventKind
from app.fleet.messages import NodeHealth

NODE_KINDS = (EventKind.NODE_OFFLINE.value, EventKind.NODE_ONLINE.value)


@dataclass(slots=True)
class _Node:
    heard_s: float
    offline_after_s: float
    offline: Event | None = None


@dataclass(slots=True)
class NodeWatch:
    """``now_s`` is monotonic time, ``wall_s`` Unix time. A node is named SITE/NODE."""

    _nodes: dict[str, _Node] = field(default_factory=dict)

    def restore(self, name: str, health: NodeHealth, last: Event | None, now_s: float) -> None:
        """A node that an earlier run of the hub knew. It counts as heard now, because the hub itself was not there.
        ``last``: its latest event."""
        offline = last if last is not None and last.kind is EventKind.NODE_OFFLINE else None
        self._nodes[name] = _Node(now_s, health.offline_after_s, offline)

    def heard(self, name: str, health: NodeHealth, now_s: float, wall_s: float) -> Event | None:
        """Returns ``node_online`` if the node was offline."""
        node = self._nodes.setdefault(name, _Node(now_s, 0.0))
        silent_s, node.heard_s, node.offline_after_s = now_s - node.heard_s, now_s, health.offline_after_s
        alert, node.offline = node.offline, None
        if alert is None:
            return None
        return _event(EventKind.NODE_ONLINE, name, wall_s, max(silent_s, wall_s - alert.wall_s), resolves=alert.id)

    def silent(self, now_s: float, wall_s: float) -> Iterable[Event]:
        """``node_offline`` for each node that has become silent, once."""
        for name, node in self._nodes.items():
            silent_s = now_s - node.heard_s
            if node.offline is None and silent_s > node.offline_after_s:
                reason = f"no message for {silent_s:.0f} s"
                node.offline = _event(EventKind.NODE_OFFLINE, name, wall_s, silent_s, reason=reason)
                yield node.offline


def _event(kind: EventKind, name: str, wall_s: float, duration_s: float, reason: str = "", resolves: str = "") -> Event:
    digest = hashlib.sha256(f"{kind.value}\n{name}\n{wall_s * 1000:.0f}".encode()).hexdigest()[:16]
    return Event(digest, kind, name, 0.0, wall_s, duration_s=duration_s, reason=reason, resolves=resolves)
