"""The thread that calls the listeners: order, bounded queue, end."""

import threading
import time

from fakes_video import LIMIT_S, wait_until

from app.pipeline.dispatcher import CALLING, Dispatcher


def test_calls_are_made_in_order_and_all_before_the_end() -> None:
    dispatcher, calls = Dispatcher(), list[int]()
    for number in range(5):
        dispatcher.put(lambda number=number: calls.append(number))
    dispatcher.close()
    dispatcher.run()
    assert calls == list(range(5))
    assert dispatcher.heartbeat.doing == ""


def test_a_full_queue_blocks_results_but_not_events() -> None:
    dispatcher, calls, release = Dispatcher(), list[str](), threading.Event()
    runner = threading.Thread(target=dispatcher.run)
    runner.start()
    dispatcher.put(lambda: release.wait(LIMIT_S) and None)
    wait_until(lambda: dispatcher.heartbeat.doing == CALLING, "a listener hangs")
    sent = []

    def send_results() -> None:
        for number in range(50):
            dispatcher.put(lambda number=number: calls.append(f"result {number}"))
            sent.append(number)

    sender = threading.Thread(target=send_results)
    sender.start()
    wait_until(lambda: len(sent) > 3, "the queue takes some results")
    time.sleep(0.1)
    assert len(sent) < 20  # bounded
    dispatcher.put(lambda: calls.append("event"), wait=False)
    release.set()
    sender.join(LIMIT_S)
    dispatcher.close()
    runner.join(LIMIT_S)
    assert not runner.is_alive()
    assert [call for call in calls if call != "event"] == [f"result {number}" for number in range(50)]
    assert calls.index("event") == len(sent[: calls.index("event")]) < 20


def test_a_closed_dispatcher_takes_no_more_calls_and_blocks_nobody() -> None:
    dispatcher, calls = Dispatcher(), list[int]()
    dispatcher.close()
    for number in range(50):
        dispatcher.put(lambda number=number: calls.append(number))
    dispatcher.run()
    assert calls == []
