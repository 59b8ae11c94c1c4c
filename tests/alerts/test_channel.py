"""The pauses of a channel: backoff, rate limit and give-up."""

import random
from typing import Any

import pytest
from fakes_alerts import make_event
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.alerts.channel import Backoff, DeliveryChannel
from app.alerts.hook import Alert, RetryLater
from app.alerts.store_types import Delivery, Status
from app.core.errors import HookError
from app.settings.alerts import AlertSettings, Channel

BACKOFF = Backoff(1.0, 60.0)
CHANNEL: TypeAdapter[Any] = TypeAdapter(Channel)


class NoHook:
    def send(self, alert: Alert) -> None:
        raise AssertionError("not sent in these tests")

    def abort(self) -> None:
        """Nothing runs."""


def make_channel(**values: object) -> DeliveryChannel:
    config = CHANNEL.validate_python({"kind": "plugin", "plugin": "none", "name": "hook", **values})
    return DeliveryChannel(config, NoHook(), AlertSettings(retry_first_s=1.0, retry_max_s=60.0))


def make_delivery() -> Delivery:
    return Delivery(make_event(), "hook", 0.0, 0.0)


@given(st.integers(1, 200), st.integers(0, 1000))
def test_backoff_doubles_up_to_its_limit_with_jitter(failures: int, seed: int) -> None:
    full = min(BACKOFF.first_s * 2.0 ** (failures - 1), BACKOFF.max_s)
    assert full / 2 <= BACKOFF.pause_s(failures, random.Random(seed)) <= full


@given(st.integers(1, 12), st.integers(0, 1000))
def test_failures_pause_the_channel_and_a_success_ends_the_pause(failures: int, seed: int) -> None:
    channel, rng, now_s, delivery = make_channel(), random.Random(seed), 0.0, make_delivery()
    for count in range(1, failures + 1):
        delivery = channel.failed(delivery, HookError("no"), now_s, 9.0, 0.0, rng)
        assert (delivery.status, delivery.attempts, delivery.error) == (Status.PENDING, count, "no")
        pause_s = channel.pause_s(now_s)
        assert min(2.0 ** (count - 1), 60.0) / 2 <= pause_s <= 60.0
        assert channel.health(1).state == "retrying"
        now_s += pause_s
    assert channel.pause_s(now_s) == pytest.approx(0.0, abs=1e-6)
    done = channel.delivered(delivery, now_s, 9.0)
    assert (done.status, done.attempts, done.error) == (Status.DELIVERED, failures + 1, "")
    assert channel.pause_s(now_s) == 0.0
    assert channel.health(0).state == "ok"


def test_the_receiver_may_ask_for_a_longer_pause() -> None:
    channel = make_channel()
    channel.failed(make_delivery(), RetryLater("later", 500.0), 0.0, 0.0, 0.0, random.Random(1))
    assert channel.pause_s(0.0) == 500.0


def test_expired_alert_is_given_up_after_one_attempt() -> None:
    channel, rng = make_channel(give_up_after_s=10.0), random.Random(1)
    assert channel.expires_in_s(50.0) > 0, "an alert that is not useless when late gets its attempt"
    given_up = channel.failed(make_delivery(), HookError("no"), 0.0, 7.0, 50.0, rng)
    assert (given_up.status, given_up.attempts, given_up.error, given_up.updated_s) == (
        *(Status.UNDELIVERED, 1, "no"),
        7.0,
    )
    assert channel.pause_s(0.0) > 0  # the pause applies to the channel, not to the alert
    assert channel.health(0).undelivered == 1


def test_late_sound_is_given_up_without_an_attempt() -> None:
    chime = CHANNEL.validate_python({"kind": "sound", "name": "hook", "give_up_after_s": 15.0})
    channel = DeliveryChannel(chime, NoHook(), AlertSettings())
    assert channel.expires_in_s(5.0) == 10.0
    assert channel.expires_in_s(50.0) == 0.0
    late = channel.give_up(make_delivery(), 7.0, "too late to be sent")
    assert (late.status, late.attempts, late.error) == (Status.UNDELIVERED, 0, "too late to be sent")


@given(st.integers(1, 5), st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_rate_limit_holds_in_every_window(count: int, gaps_s: list[int]) -> None:
    channel = make_channel(rate_limit={"count": count, "per_s": 60.0})
    now_s, sent_s = 0.0, list[float]()
    for gap_s in gaps_s:
        now_s += gap_s
        now_s += channel.pause_s(now_s)
        assert channel.pause_s(now_s) == 0.0
        channel.delivered(make_delivery(), now_s, 0.0)
        sent_s.append(now_s)
    for start_s in sent_s:
        assert sum(start_s <= when_s < start_s + 60.0 for when_s in sent_s) <= count


def test_rate_limit_with_skip_rejects_alerts_that_would_wait() -> None:
    channel = make_channel(rate_limit={"count": 2, "per_s": 60.0, "excess": "skip"})
    assert [channel.exceeds_rate_limit(0.0, waiting) for waiting in (0, 1, 2)] == [False, False, True]
    for _ in range(2):
        channel.delivered(make_delivery(), 0.0, 0.0)
    assert channel.exceeds_rate_limit(59.0, 0)
    assert not channel.exceeds_rate_limit(60.0, 0)
