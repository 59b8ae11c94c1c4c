"""What waits in memory brought in line with the event file, which other programs and earlier runs write too, and what
one delivery hands on to the next."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from app.alerts.channel import DeliveryChannel
from app.alerts.outbox import Delivery, Status
from app.alerts.store_types import WriteBatch
from app.alerts.store_writer import StoreChanges, WriteBuffer


@dataclass(frozen=True, slots=True)
class UnsentAlerts:
    """The channels' queues and what is to be written; the delivery calls it under its lock. Alerts of channels that
    are set up no longer are given up after ``keep_s``."""

    channels: Mapping[str, DeliveryChannel]
    buffer: WriteBuffer
    keep_s: float

    def merge_store_changes(self, found: StoreChanges, stored_ticket: int, now_s: float, wall_s: float) -> None:
        """``stored_ticket`` is that of the newest event on disk; ``now_s`` is monotonic, ``wall_s`` Unix time."""
        buffer = self.buffer.keys
        for name, served in self.channels.items():
            if found.waiting_keys is not None:
                mine = {key for key in served.queue.stored_keys(stored_ticket) if key not in found.waiting_keys}
                served.queue.forget(mine - buffer)
            older = [each for each in found.older if each.channel == name and each.key not in buffer]
            served.queue.put_first(((each, max(wall_s - each.created_s, 0.0)) for each in older), now_s)
            if found.renewed:
                for each in served.queue.waiting:
                    self.buffer.add_event(each.event, None)
                    self.buffer.add_delivery(each)
        for orphan in found.older:
            if orphan.channel not in self.channels and wall_s - orphan.created_s > self.keep_s:
                self.buffer.add_delivery(
                    replace(orphan, status=Status.UNDELIVERED, error="its channel is no longer set up")
                )

    def take_unsent(self, names: Collection[str], pictures: Mapping[str, bytes]) -> WriteBatch:
        """All that is unwritten, and all that waits for the channels ``names``, with its events and their
        ``pictures``."""
        buffer = self.buffer.take()
        queues = [served.queue for name, served in self.channels.items() if name in names]
        waiting = [each for queue in queues for each in queue.waiting]
        for queue in queues:
            queue.forget(set(queue.keys))
        events = {each.event.id: (each.event, pictures.get(each.event.id)) for each in waiting}
        events.update((event.id, (event, jpeg)) for event, jpeg in buffer.events)
        deliveries = {each.key: each for each in (*buffer.deliveries, *waiting)}
        return WriteBatch(
            tuple(sorted(events.values(), key=lambda kept: kept[0].wall_s)),
            tuple(sorted(deliveries.values(), key=lambda each: each.created_s)),
            buffer.presence,
        )

    def adopt_unsent(
        self, deliveries: tuple[Delivery, ...], owner: str, now_s: float, wall_s: float
    ) -> tuple[Delivery, ...]:
        """Puts what of ``deliveries`` waits before all others, to be sent once written; ``owner`` sends it from now
        on, anybody what no channel is set up for. Returns all as they are to be written."""
        pending = Status.PENDING
        kept = tuple(
            replace(each, owner=owner if each.channel in self.channels else "") if each.status is pending else each
            for each in deliveries
        )
        for name, served in self.channels.items():
            mine = [each for each in kept if each.channel == name and each.status is pending]
            served.queue.put_first(((each, max(wall_s - each.created_s, 0.0)) for each in mine), now_s, ticket=1)
        return kept
