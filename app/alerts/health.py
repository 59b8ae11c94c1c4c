"""The health of alert delivery, and the clocks it uses."""

import time
from dataclasses import dataclass
from typing import Protocol

from app.alerts.channel import ChannelHealth


class Clock(Protocol):
    def wall_s(self) -> float:
        """Unix time."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""


class SystemClock:
    def wall_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


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
