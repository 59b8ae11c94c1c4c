"""The queue of a channel's pending alerts."""

import random

from fakes_alerts import make_event
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.outbox import Backoff, ChannelQueue, Delivery, Status
from app.settings.alerts import RateLimit

BACKOFF = Backoff(1.0, 60.0)
FOREVER_S = 1e9


def make_queue(give_up_s: float = FOREVER_S, size: int = 100, rate: RateLimit | None = None) -> ChannelQueue:
    return ChannelQueue(give_up_s, size, rate, BACKOFF)


def make_deliveries(count: int) -> list[Delivery]:
    return [Delivery(make_event(), "hook", 0.0, 0.0) for _ in range(count)]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 8), st.integers(0, 1000))
def test_every_alert_is_delivered_in_order_despite_failures(outcomes: list[bool], count: int, seed: int) -> None:
    queue, rng, now_s = make_queue(), random.Random(seed), 0.0
    waiting = make_deliveries(count)
    for each in waiting:
        assert queue.add(each, now_s) == []
    delivered: list[str] = []
    while len(queue):
        now_s += queue.wait_s(now_s) or 0.0
        head = queue.due(now_s, 0)
        assert head is not None
        if outcomes and not outcomes.pop():
            assert queue.failed(head, "no", now_s, now_s, rng).status is Status.PENDING
            assert queue.due(now_s, 0) is None
        else:
            delivered.append(queue.delivered(head, now_s, now_s).key)
    assert delivered == [each.key for each in waiting]
    assert queue.wait_s(now_s) is None


@given(st.integers(1, 200), st.integers(0, 1000))
def test_backoff_doubles_up_to_its_limit_with_jitter(failures: int, seed: int) -> None:
    full = min(BACKOFF.first_s * 2.0 ** (failures - 1), BACKOFF.max_s)
    assert full / 2 <= BACKOFF.pause_s(failures, random.Random(seed)) <= full


@given(st.integers(1, 20), st.integers(1, 40), st.booleans())
def test_full_queue_drops_the_oldest_but_never_the_one_being_sent(size: int, count: int, sending: bool) -> None:
    queue = make_queue(size=size)
    waiting = make_deliveries(count)
    dropped: list[Delivery] = []
    for i, each in enumerate(waiting):
        dropped += queue.add(each, 0.0)
        if i == 0 and sending:
            assert queue.due(0.0, 0) == waiting[0]
    assert len(queue) == min(size, count)
    assert len(dropped) == count - len(queue)
    if sending:
        assert queue.waiting[0] == waiting[0]
        assert dropped == waiting[1 : 1 + len(dropped)]
    else:
        assert dropped == waiting[: len(dropped)]


def test_expired_alert_is_given_up_after_one_attempt() -> None:
    queue, rng = make_queue(give_up_s=10.0), random.Random(1)
    old, young = make_deliveries(2)
    queue.prepend([(old, 50.0)], 0.0)
    queue.add(young, 0.0)
    assert queue.due(0.0, 0) == old
    given_up = queue.failed(old, "no", 0.0, 0.0, rng)
    assert (given_up.status, given_up.attempts, given_up.error) == (Status.UNDELIVERED, 1, "no")
    now_s = queue.wait_s(0.0)
    assert now_s is not None
    assert now_s > 0  # the pause applies to the channel, not to the alert
    assert queue.due(now_s, 0) == young
    assert queue.failed(young, "no", now_s, now_s, rng).status is Status.PENDING


def test_late_alert_is_given_up_without_an_attempt_if_useless_when_late() -> None:
    queue = ChannelQueue(10.0, 100, RateLimit(count=1, per_s=60.0), BACKOFF, useless_when_late=True)
    old, sent, limited = make_deliveries(3)
    queue.prepend([(old, 50.0)], 0.0)
    queue.add(sent, 0.0)
    assert queue.wait_s(0.0) == 0.0
    (late,) = queue.remove_expired(0.0, 7.0)
    assert (late.key, late.status, late.attempts, late.updated_s) == (old.key, Status.UNDELIVERED, 0, 7.0)
    assert late.error == "too late to be sent"
    head = queue.due(0.0, 0)
    assert head == sent
    queue.delivered(head, 0.0, 0.0)
    queue.add(limited, 1.0)
    assert queue.wait_s(1.0) == 10.0, "not the 60 s of the rate limit"
    assert queue.remove_expired(10.5, 0.0) == []
    assert [each.key for each in queue.remove_expired(11.0, 0.0)] == [limited.key]
    assert queue.wait_s(11.0) is None
    assert queue.keys == frozenset()


def test_late_alert_waits_for_its_attempt_by_default() -> None:
    queue = make_queue(give_up_s=10.0)
    (old,) = make_deliveries(1)
    queue.prepend([(old, 50.0)], 0.0)
    assert queue.remove_expired(0.0, 0.0) == []
    assert queue.due(0.0, 0) == old


def test_no_alert_is_due_before_it_is_stored() -> None:
    queue = make_queue()
    (delivery,) = make_deliveries(1)
    queue.add(delivery, 0.0, sequence=5)
    assert queue.due(0.0, stored_sequence=4) is None
    assert queue.due(0.0, stored_sequence=5) == delivery


@given(st.integers(1, 5), st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_rate_limit_holds_in_every_window(count: int, gaps_s: list[int]) -> None:
    queue = make_queue(rate=RateLimit(count=count, per_s=60.0))
    now_s, sent_s = 0.0, list[float]()
    for delivery, gap_s in zip(make_deliveries(len(gaps_s)), gaps_s, strict=True):
        now_s += gap_s
        queue.add(delivery, now_s)
    while len(queue):
        now_s += queue.wait_s(now_s) or 0.0
        head = queue.due(now_s, 0)
        assert head is not None
        queue.delivered(head, now_s, now_s)
        sent_s.append(now_s)
    for start_s in sent_s:
        assert sum(start_s <= when_s < start_s + 60.0 for when_s in sent_s) <= count


def test_rate_limit_with_skip_rejects_alerts_that_would_wait() -> None:
    queue = make_queue(rate=RateLimit(count=2, per_s=60.0, excess="skip"))
    for delivery in make_deliveries(2):
        assert not queue.exceeds_rate_limit(0.0)
        queue.add(delivery, 0.0)
    assert queue.exceeds_rate_limit(0.0)
    while len(queue):
        head = queue.due(0.0, 0)
        assert head is not None
        queue.delivered(head, 0.0, 0.0)
    assert queue.exceeds_rate_limit(59.0)
    assert not queue.exceeds_rate_limit(60.0)


def test_queue_has_no_duplicates_and_older_alerts_come_first() -> None:
    queue = make_queue()
    first, second, third = make_deliveries(3)
    queue.add(third, 0.0)
    queue.add(third, 0.0)
    queue.prepend([(first, 9.0), (second, 8.0), (third, 0.0)], 0.0)
    assert queue.waiting == [first, second, third]
    queue.discard({second.key})
    assert queue.waiting == [first, third]


def test_delivered_alert_is_removed_even_if_older_ones_were_prepended() -> None:
    queue = make_queue()
    sent, older = make_deliveries(2)
    queue.add(sent, 0.0)
    assert queue.due(0.0, 0) == sent
    queue.prepend([(older, 5.0)], 0.0)
    queue.delivered(sent, 0.0, 0.0)
    assert queue.waiting == [older]
