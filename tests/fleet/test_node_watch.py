"""When a node is reported as offline or back."""

from app.core.types import Event, EventKind
from app.fleet.messages import NodeHealth
from app.fleet.node_watch import NodeWatch

HEALTH = NodeHealth(version="1", heartbeat_s=5.0, waiting=0)
OFFLINE, ONLINE = EventKind.NODE_OFFLINE, EventKind.NODE_ONLINE


def test_a_silent_node_is_reported_once_and_resolved_once() -> None:
    watch = NodeWatch()
    assert watch.heard("hall/box", HEALTH, 0.0, 1000.0) is None
    assert list(watch.silent(15.0, 1015.0)) == []
    (offline,) = watch.silent(16.0, 1016.0)
    assert (offline.kind, offline.camera, offline.reason) == (OFFLINE, "hall/box", "no message for 16 s")
    assert list(watch.silent(60.0, 1060.0)) == []
    online = watch.heard("hall/box", HEALTH, 61.0, 1061.0)
    assert online is not None
    assert (online.kind, online.resolves, online.duration_s) == (ONLINE, offline.id, 61.0)
    assert watch.heard("hall/box", HEALTH, 66.0, 1066.0) is None
    assert offline.id != online.id


def test_nodes_are_judged_apart() -> None:
    watch = NodeWatch()
    watch.heard("hall/box", HEALTH, 0.0, 1000.0)
    watch.heard("yard/box", HEALTH.model_copy(update={"heartbeat_s": 60.0}), 0.0, 1000.0)
    assert [event.camera for event in watch.silent(100.0, 1100.0)] == ["hall/box"]


def test_a_restarted_hub_does_not_repeat_the_alert_and_resolves_it() -> None:
    alert = Event("a1", OFFLINE, "hall/box", 0.0, 900.0)
    watch = NodeWatch()
    watch.restore("hall/box", HEALTH, alert, now_s=0.0)
    watch.restore("yard/box", HEALTH, Event("a2", ONLINE, "yard/box", 0.0, 900.0), now_s=0.0)
    assert list(watch.silent(14.0, 1014.0)) == []  # the hub itself was not there
    assert [event.camera for event in watch.silent(20.0, 1020.0)] == ["yard/box"]
    online = watch.heard("hall/box", HEALTH, 21.0, 1021.0)
    assert online is not None
    assert (online.resolves, online.duration_s) == ("a1", 121.0)
