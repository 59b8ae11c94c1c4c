"""What each camera counted today. Any thread may read it while another one adds: neither waits."""

from collections.abc import Iterable
from datetime import date

from app.core.camera_hours import CameraHour
from app.core.period import Period, Span


def day_start_s(now_s: float) -> int:
    """The Unix time at which the local day of ``now_s`` began, as a whole hour, because people are counted by hour."""
    return Period.of(Span.DAY, date.fromtimestamp(now_s)).since_s


class DayCounts:
    """The sums of the current day by camera; they begin again at midnight, local time."""

    def __init__(self) -> None:
        self._since_s = 0
        self._sums: dict[str, CameraHour] = {}

    def add(self, hours: Iterable[CameraHour], now_s: float) -> None:
        """Adds ``hours``; those of other days, also of later ones, do not count. ``now_s``: Unix time."""
        since_s = day_start_s(now_s)
        if since_s != self._since_s:
            self._since_s, self._sums = since_s, {}
        for hour in hours:
            if since_s <= hour.hour_s <= now_s:
                old = self._sums.get(hour.camera, CameraHour(hour.camera, since_s))
                self._sums[hour.camera] = old.plus(hour)

    def is_of(self, now_s: float) -> bool:
        """Whether these are the counts of the day of ``now_s``."""
        return day_start_s(now_s) == self._since_s

    def of(self, camera: str, now_s: float) -> CameraHour:
        nothing = CameraHour(camera, day_start_s(now_s))
        return self._sums.get(camera, nothing) if self.is_of(now_s) else nothing
