"""Parts that fail: reported once, ended once, also over restarts."""

from pathlib import Path

from fakes_alerts import make_event

from app.alerts.earlier_runs import latest_of_parts
from app.alerts.event_store import EventStore
from app.alerts.health import AlertHealth, ChannelHealth
from app.alerts.part_watch import FAILED_AFTER_S, PartWatch, faults_of_alerts
from app.alerts.store_types import WriteBatch
from app.core.types import EventKind
from app.settings.alerts import AlertSettings

FAULT = {"event store": "the disk is full"}


def test_a_fault_is_reported_once_and_ended_once() -> None:
    watch = PartWatch("box-2 ")
    assert list(watch.check(FAULT, 0.0, 100.0)) == []
    assert list(watch.check(FAULT, FAILED_AFTER_S - 1, 109.0)) == []
    (failed,) = watch.check(FAULT, FAILED_AFTER_S, 110.0)
    assert (failed.kind, failed.camera, failed.reason) == (
        EventKind.PART_FAILED,
        "box-2 event store",
        "the disk is full",
    )
    assert list(watch.check(FAULT, 60.0, 160.0)) == []
    (ended,) = watch.check({}, 61.0, 161.0)
    assert (ended.kind, ended.resolves, ended.duration_s) == (EventKind.PART_RECOVERED, failed.id, 51.0)
    assert list(watch.check({}, 62.0, 162.0)) == []


def test_a_short_fault_is_not_reported() -> None:
    watch = PartWatch()
    assert not [*watch.check(FAULT, 0.0, 0.0), *watch.check({}, 1.0, 1.0), *watch.check(FAULT, 11.0, 11.0)]


def test_a_fault_that_lasts_is_reported_at_once() -> None:
    assert [event.camera for event in PartWatch().check({"classifier": "x"}, 0.0, 0.0, ["classifier"])] == [
        "classifier"
    ]


def test_a_fault_of_an_earlier_run_is_ended_and_not_reported_again(tmp_path: Path) -> None:
    settings = AlertSettings(store=tmp_path / "events.db")
    assert latest_of_parts(settings) == []
    (failed,) = PartWatch().check(FAULT, 0.0, 100.0, FAULT)
    with EventStore(settings.store) as store:
        store.write(WriteBatch(((failed, None), (make_event(), None))), 0.0)
    still = PartWatch("", latest_of_parts(settings))
    assert list(still.check(FAULT, 0.0, 200.0, FAULT)) == []
    (ended,) = PartWatch("", latest_of_parts(settings)).check({}, 0.0, 200.0)
    assert ended.resolves == failed.id
    with EventStore(settings.store) as store:
        store.write(WriteBatch(((ended, None),)), 0.0)
    assert list(PartWatch("", latest_of_parts(settings)).check({}, 0.0, 300.0)) == []


def test_a_channel_that_fails_and_a_broken_store_are_parts() -> None:
    channels = ChannelHealth("mail", "retrying", 1, 0, 0, "refused"), ChannelHealth("siren", "ok", 0, 1, 0)
    assert faults_of_alerts(AlertHealth("disk", channels)) == {"channel mail": "refused", "event store": "disk"}
    assert faults_of_alerts(AlertHealth("", channels[1:])) == {}
