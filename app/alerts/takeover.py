"""What waits in memory brought in line with the event file, which other programs and earlier runs write too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.alerts.channel import ServedChannel
from app.alerts.journal import Found, Unwritten
from app.alerts.outbox import Status


@dataclass(frozen=True, slots=True)
class Waiting:
    """The channels' queues and what is to be written; the delivery calls it under its lock. Alerts of channels that
    are set up no longer are given up after ``keep_s``."""

    channels: Mapping[str, ServedChannel]
    unwritten: Unwritten
    keep_s: float

    def take_over(self, found: Found, stored_ticket: int, now_s: float, wall_s: float) -> None:
        """``stored_ticket`` is that of the newest event on disk; ``now_s`` is monotonic, ``wall_s`` Unix time."""
        unwritten = self.unwritten.keys
        for name, served in self.channels.items():
            if found.waiting_keys is not None:
                mine = {key for key in served.queue.stored_keys(stored_ticket) if key not in found.waiting_keys}
                served.queue.forget(mine - unwritten)
            older = [each for each in found.older if each.channel == name and each.key not in unwritten]
            served.queue.put_first(((each, max(wall_s - each.created_s, 0.0)) for each in older), now_s)
            if found.renewed:
                for each in served.queue.waiting:
                    self.unwritten.add_event(each.event, None)
                    self.unwritten.add_delivery(each)
        for orphan in found.older:
            if orphan.channel not in self.channels and wall_s - orphan.created_s > self.keep_s:
                self.unwritten.add_delivery(
                    replace(orphan, status=Status.UNDELIVERED, error="its channel is no longer set up")
                )
