"""Slots keep the newest item or lose no item, and no thread waits without end."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
from fakes_video import LIMIT_S, wait_until

from app.capture.slot import Slot, SlotClosed

MAKERS: list[Callable[[], Slot[int]]] = [Slot, partial(Slot, waits=True)]


def in_thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def join(thread: threading.Thread) -> None:
    thread.join(LIMIT_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("make", MAKERS)
def test_an_item_is_taken_once_and_peek_still_returns_it(make: Callable[[], Slot[int]]) -> None:
    slot = make()
    assert slot.peek() is None
    assert slot.get(0) is None
    assert slot.put(1)
    assert slot.peek() == 1
    assert slot.get(0) == 1
    assert slot.get(0.01) is None
    assert slot.peek() == 1


@pytest.mark.parametrize("make", MAKERS)
def test_a_waiting_get_returns_a_new_item(make: Callable[[], Slot[int]]) -> None:
    slot = make()
    got: list[int | None] = []
    thread = in_thread(lambda: got.append(slot.get(LIMIT_S)))
    slot.put(7)
    join(thread)
    assert got == [7]


@pytest.mark.parametrize("make", MAKERS)
def test_close_wakes_a_waiting_get(make: Callable[[], Slot[int]]) -> None:
    slot = make()
    ended = threading.Event()

    def take() -> None:
        with pytest.raises(SlotClosed):
            slot.get(LIMIT_S)
        ended.set()

    thread = in_thread(take)
    slot.close()
    join(thread)
    assert ended.is_set()


@pytest.mark.parametrize("make", MAKERS)
def test_the_last_item_can_be_taken_after_the_close(make: Callable[[], Slot[int]]) -> None:
    slot = make()
    slot.put(1)
    slot.close()
    slot.close()
    assert slot.closed
    with pytest.raises(SlotClosed):
        slot.put(2)
    assert slot.get(0) == 1
    with pytest.raises(SlotClosed):
        slot.get(0)


def test_the_newest_item_replaces_older_ones_which_are_counted() -> None:
    slot: Slot[int] = Slot()
    for item in range(5):
        assert slot.put(item, 0)
    assert slot.dropped == 4
    assert slot.get(0) == 4


def test_put_into_a_full_waiting_slot_fails_after_the_timeout() -> None:
    slot: Slot[int] = Slot(waits=True)
    assert slot.put(1, 0)
    assert not slot.put(2, 0.01)
    assert slot.get(0) == 1
    assert slot.put(2, 0)
    assert slot.dropped == 0


def test_close_wakes_a_waiting_put() -> None:
    slot: Slot[int] = Slot(waits=True)
    slot.put(1)
    ended = threading.Event()

    def put() -> None:
        with pytest.raises(SlotClosed):
            slot.put(2)
        ended.set()

    thread = in_thread(put)
    slot.close()
    join(thread)
    assert ended.is_set()


def test_a_waiting_slot_loses_no_item_between_threads() -> None:
    slot: Slot[int] = Slot(waits=True)
    taken: list[int] = []

    def take() -> None:
        while True:
            try:
                item = slot.get(LIMIT_S)
            except SlotClosed:
                return
            assert item is not None
            taken.append(item)

    thread = in_thread(take)
    for item in range(2000):
        slot.put(item)
    slot.close()
    join(thread)
    assert taken == list(range(2000))


def test_a_latest_slot_keeps_the_order_of_items() -> None:
    slot: Slot[int] = Slot()
    taken: list[int] = []

    def take() -> None:
        while True:
            try:
                item = slot.get(LIMIT_S)
            except SlotClosed:
                return
            assert item is not None
            taken.append(item)

    thread = in_thread(take)
    for item in range(2000):
        slot.put(item)
    wait_until(lambda: bool(taken) and taken[-1] == 1999, "the newest item comes out")
    slot.close()
    join(thread)
    assert taken == sorted(set(taken))
    assert len(taken) + slot.dropped == 2000
