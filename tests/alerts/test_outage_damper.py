"""A camera that fails again and again does not warn each time, but a long outage is always reported."""

from dataclasses import replace

from fakes_alerts import make_event
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.outage_damper import HELD_REASON, HOLD_S, OUTAGES_SENT, WINDOW_S, OutageDamper
from app.core.types import Event, EventKind


def outage(camera: str = "door") -> Event:
    return replace(make_event(EventKind.CAMERA_OFFLINE, camera), reason="no frames")


def recovery(event: Event) -> Event:
    return replace(make_event(EventKind.CAMERA_RECOVERED, event.camera), resolves=event.id)


def test_flapping_camera_is_damped_and_the_last_alert_says_so() -> None:
    damper, sent = OutageDamper(), list[Event]()
    for minute in range(0, 60, 2):
        event = outage()
        checked, held = damper.check(event, minute * 60.0)
        if not held:
            sent.append(checked)
        assert held in ("", HELD_REASON)
        assert damper.check(recovery(event), minute * 60.0 + 30)[1] == ""
        assert damper.due(minute * 60.0 + 90) == []
    assert len(sent) == OUTAGES_SENT
    assert [event.reason for event in sent[:2]] == ["no frames"] * 2
    assert sent[2].reason == "no frames; outage 3 within an hour; further ones are sent only if they last 10 min"


def test_long_outage_of_a_damped_camera_is_reported_once() -> None:
    damper = OutageDamper()
    for number in range(OUTAGES_SENT):
        event = outage()
        damper.check(event, number * 60.0)
        damper.check(recovery(event), number * 60.0 + 10)
    last = outage()
    assert damper.check(last, 300.0) == (last, HELD_REASON)
    assert damper.due(300.0 + HOLD_S - 1) == []
    assert damper.due(300.0 + HOLD_S) == [last]
    assert damper.due(300.0 + 2 * HOLD_S) == []


def test_damping_ends_after_a_quiet_hour_and_cameras_are_independent() -> None:
    damper = OutageDamper()
    for number in range(6):
        damper.check(outage(), number * 60.0)
    assert damper.check(outage("gate"), 400.0)[1] == ""
    assert damper.check(outage(), 300.0 + WINDOW_S - 1)[1] == HELD_REASON
    assert damper.check(outage(), 300.0 + 2 * WINDOW_S)[1] == ""


def test_rare_outages_and_other_events_are_not_changed() -> None:
    damper = OutageDamper()
    for number in range(20):
        event = outage()
        assert damper.check(event, number * (WINDOW_S / 2 + 1)) == (event, "")
    alert = make_event()
    assert damper.check(alert, 0.0) == (alert, "")


@given(st.lists(st.integers(1, 5000), max_size=60))
def test_an_hour_has_few_alerts_and_no_long_outage_is_missed(gaps_s: list[int]) -> None:
    """Outages of random length, each followed by a second of recovery."""
    damper, now_s, sent_s = OutageDamper(), 0.0, list[float]()
    for gap_s in gaps_s:
        event = outage()
        if not damper.check(event, now_s)[1]:
            sent_s.append(now_s)
            reported = True
        else:
            reported = damper.due(now_s + gap_s) == [event]
        assert reported or gap_s < HOLD_S
        now_s += gap_s
        damper.check(recovery(event), now_s)
        now_s += 1.0
    for start_s in sent_s:
        assert sum(start_s <= when_s < start_s + WINDOW_S for when_s in sent_s) <= OUTAGES_SENT
