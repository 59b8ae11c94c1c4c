"""What the hub stores of messages: once, by site, and nothing that is no event."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_nats import server_program

server_program()  # skips this file without maskwatch[fleet]
from fakes_alerts import make_event  # noqa: E402
from fakes_fleet import alert_of  # noqa: E402

from app.alerts.store_types import EventFilter, WriteBatch  # noqa: E402
from app.core.camera_hours import CameraHour, hour_of  # noqa: E402
from app.core.text import MOVED  # noqa: E402
from app.core.types import Box, Event, EventKind  # noqa: E402
from app.fleet.hub_store import HubStore, SiteEvent, camera_rows, read_event, site_rows  # noqa: E402
from app.fleet.messages import HourTotals, NodeHealth  # noqa: E402


def message(event: Event) -> bytes:
    return alert_of(event).to_json().encode()


def read(site: str, event: Event) -> SiteEvent:
    found = read_event(site, event.camera, message(event))
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HubStore]:
    with closing(HubStore(tmp_path / "events.db")) as store:
        yield store


def test_an_event_that_comes_twice_is_stored_once_and_one_of_another_site_apart(store: HubStore) -> None:
    event = make_event()
    for _ in range(2):
        store.write([read("hall", event), read("yard", event)], [], time.time())
    stored = store.events.events()
    assert [each.camera for each in stored] == ["hall/door", "yard/door"]
    assert [each.id for each in stored] == [f"hall/{event.id}:fleet", f"yard/{event.id}:fleet"]
    assert stored[0] == replace(event, id=stored[0].id, camera="hall/door")


def test_the_end_of_an_alert_names_the_alert_as_it_is_stored() -> None:
    alert = make_event()
    end = replace(make_event(EventKind.RESOLVED), resolves=alert.id)
    assert read("hall", end).event.resolves == read("hall", alert).event.id


def test_a_test_alert_is_not_stored() -> None:
    record = {**json.loads(message(make_event())), "is_test": True}
    assert read_event("hall", "door", json.dumps(record).encode()) is None


@pytest.mark.parametrize("change", [{"kind": "party"}, {"wall_s": None}, {"wall_s": "NaN"}, {"id": []}, {"people": {}}])
def test_a_record_that_is_no_event_is_refused(change: dict[str, object], store: HubStore) -> None:
    record = {**json.loads(message(make_event())), **change}
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_event("hall", "door", json.dumps(record).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"null", b"{}"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_event("hall", "door", content)


def test_totals_that_come_twice_or_late_count_once(store: HubStore) -> None:
    now_s = time.time()
    hour_s = hour_of(now_s)
    early = CameraHour("door", hour_s, masked=2, watched_s=60.0)
    late = CameraHour("door", hour_s, masked=5, bare=1, watched_s=90.0)
    for hour in (late, early, late):
        store.write([], [("hall/door", HourTotals(node="box", hours=(hour,)))], now_s)
    store.write([], [("hall/door", HourTotals(node="box-2", hours=(early,)))], now_s)  # took the camera over
    (total,) = store.events.hours()
    assert total == CameraHour("hall/door", hour_s, masked=7, bare=1, watched_s=150.0)


def test_totals_of_the_future_are_refused(store: HubStore) -> None:
    now_s = time.time()
    hour = CameraHour("door", hour_of(now_s + 3 * 86_400), masked=1)
    store.write([], [("hall/door", HourTotals(node="box", hours=(hour,)))], now_s)
    assert store.events.hours() == []


def test_nodes_and_their_cameras_are_listed_with_watched_time(store: HubStore) -> None:
    now_s = time.time()
    health = NodeHealth(version="1", heartbeat_s=5, waiting=0, cameras={"door": "live", "gate": "stale"})
    store.save_nodes({"hall/box": (now_s, health), "yard/box": (now_s - 3600, health)})
    hour = CameraHour("door", hour_of(now_s), masked=3, bare=1, watched_s=30.0)
    store.write([], [("hall/door", HourTotals(node="box", hours=(hour,)))], now_s)
    assert [(node.name, node.is_online(now_s)) for node in store.nodes()] == [("hall/box", True), ("yard/box", False)]
    rows = camera_rows(store, now_s)
    assert [(row.site, row.camera, row.state) for row in rows] == [
        ("hall", "door", "live"),
        ("hall", "gate", "stale"),
        ("yard", "door", "node offline"),
        ("yard", "gate", "node offline"),
    ]
    assert rows[0].today.watched_s == 30.0
    assert [(row.site, row.today.people, row.today.watched_s) for row in site_rows(rows)] == [
        ("hall", 4, 30.0),
        ("yard", 0, 0.0),
    ]
    assert camera_rows(store, now_s, ["hall"]) == rows[:2]


def write(store: HubStore, *sent: tuple[str, Event]) -> list[Event]:
    """Stores events of nodes of ``hall``, each twice, in the order in which they arrive. Returns all, oldest first."""
    for node, event in sent:
        for _ in range(2):
            store.write([replace(read("hall", event), node=node)], [], time.time())
    return sorted(store.events.events(), key=lambda event: event.wall_s)


def end_of(alert: Event, after_s: float, reason: str = "mask") -> Event:
    end = replace(make_event(EventKind.RESOLVED, wall_s=alert.wall_s + after_s), box=alert.box, reason=reason)
    return replace(end, resolves=alert.id)


@pytest.mark.parametrize("is_late", [False, True], ids=["in order", "the old owner is late"])
def test_two_alerts_of_nodes_that_share_a_camera_are_one_if_they_overlap(store: HubStore, is_late: bool) -> None:
    first = make_event(wall_s=1000.0)
    second = replace(make_event(EventKind.INCORRECT, wall_s=1018.0), box=Box(12.0, 25.0, 30.0, 40.0))
    moved, end = end_of(first, 10.0, MOVED), end_of(second, 30.0)
    old, new = [("a", first), ("a", moved)], [("b", second), ("b", end)]
    alert, resolved = write(store, *(new + old if is_late else old + new))
    stands = second if is_late else first
    assert alert.id == f"hall/{stands.id}:fleet"
    assert (resolved.resolves, resolved.reason) == (alert.id, "mask")


def test_an_alert_ends_if_the_second_node_gives_the_camera_away_too(store: HubStore) -> None:
    first, second = make_event(wall_s=1000.0), make_event(wall_s=1010.0)
    moves = ("a", end_of(first, 5.0, MOVED)), ("b", end_of(second, 5.0, MOVED))
    alert, resolved = write(store, ("a", first), ("b", second), *moves)
    assert (resolved.resolves, resolved.reason) == (alert.id, MOVED)


@pytest.mark.parametrize(
    ("node", "change"),
    [
        ("a", {}),
        ("", {}),
        ("b", {"box": Box(200.0, 20.0, 30.0, 40.0)}),
        ("b", {"wall_s": 1040.0}),
        ("b", {"camera": "gate"}),
    ],
    ids=["same node", "no node", "another place", "another time", "another camera"],
)
def test_other_alerts_stay_two(store: HubStore, node: str, change: dict[str, object]) -> None:
    first, second = make_event(wall_s=1000.0), replace(make_event(wall_s=1010.0), **change)
    assert len(write(store, ("a", first), (node, second))) == 2


def test_a_person_who_came_after_the_first_had_left_is_another_alert(store: HubStore) -> None:
    first, second = make_event(wall_s=1000.0), make_event(wall_s=1010.0)
    assert len(write(store, ("a", first), ("a", end_of(first, 2.0, "left")), ("b", second))) == 3


def test_a_camera_that_two_nodes_share_has_the_state_of_the_one_that_watches(store: HubStore) -> None:
    now_s = time.time()

    def health(state: str) -> NodeHealth:
        return NodeHealth(version="1", heartbeat_s=5, waiting=0, cameras={"door": state}, failover=True)

    for states in ({"a": "live", "b": "standby"}, {"a": "standby", "b": "live"}):
        store.save_nodes({f"hall/{node}": (now_s, health(state)) for node, state in states.items()})
        assert [row.state for row in camera_rows(store, now_s)] == ["live"]
    store.save_nodes({"hall/b": (now_s - 3600, health("live"))})
    assert [row.state for row in camera_rows(store, now_s)] == ["standby"]
    store.save_nodes({"hall/a": (now_s - 3600, health("live"))})
    assert [row.state for row in camera_rows(store, now_s)] == ["node offline"]


def test_delays_are_those_of_sites(store: HubStore) -> None:
    now_s = time.time()
    events = [make_event(wall_s=now_s - delay_s) for delay_s in (3.0, 1.0)]
    store.write([read("hall", event) for event in events], [], now_s)
    store.write([read("yard", make_event(wall_s=now_s - 9))], [], now_s)
    assert [round(delay_s) for delay_s in store.delays_s(now_s - 60)] == [1, 3, 9]
    assert [round(delay_s) for delay_s in store.delays_s(now_s - 60, ["hall"])] == [1, 3]
    assert store.events.cameras() == ["hall/door", "yard/door"]
    assert len(store.events.events(EventFilter(cameras=("yard/door",)))) == 1
    report = Event("r", EventKind.REPORT, "all cameras", 0.0, now_s - 40)
    store.events.write(WriteBatch(((report, None),)), now_s)
    assert [round(delay_s) for delay_s in store.delays_s(now_s - 60)] == [1, 3, 9], "a report is of an earlier time"
