"""The health of alert delivery, and the clocks it uses."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    def wall_s(self) -> float:
        """Unix time."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""


class SystemClock:
    """Its monotonic time includes the time for which the machine slept, so that waking up is no jump of the clock."""

    _ID = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))

    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic() if self._ID is None else time.clock_gettime(self._ID)


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """``state`` is ``ok``, ``sending`` or ``retrying``: the last attempt failed, and ``error`` says why."""

    name: str
    state: str
    waiting: int
    delivered: int
    undelivered: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class AlertHealth:
    """``store_fault`` is empty while events reach the disk. ``crash`` is the error that ended a delivery thread."""

    store_fault: str
    channels: tuple[ChannelHealth, ...]
    unstored_lost: int = 0
    crash: str = ""

    @property
    def ok(self) -> bool:
        return not (self.store_fault or self.crash or any(each.state == "retrying" for each in self.channels))
