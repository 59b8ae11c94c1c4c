"""Fixtures that check, in the test files that import them, that no thread survives a test."""

import threading
from collections.abc import Iterator

import pytest
from fakes_video import video_threads, wait_until


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, "no thread survives")


@pytest.fixture(autouse=True)
def no_video_thread_survives() -> Iterator[None]:
    yield
    wait_until(lambda: not video_threads(), "all threads of the captures end")
