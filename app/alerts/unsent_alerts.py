"""Merges the pending alerts in memory with the event file, which other programs also write, and transfers them to the
next ``AlertCenter``."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from app.alerts.channel import DeliveryChannel
from app.alerts.outbox import Delivery, Status
from app.alerts.store_types import WriteBatch
from app.alerts.store_writer import StoreChanges, WriteBuffer


@dataclass(frozen=True, slots=True)
class UnsentAlerts:
    """The queues of all channels and the write buffer. Called while ``AlertCenter`` holds its lock. Alerts of channels
    that no longer exist are given up after ``keep_s``."""

    channels: Mapping[str, DeliveryChannel]
    buffer: WriteBuffer
    keep_s: float

    def merge_store_changes(self, changes: StoreChanges, stored_sequence: int, now_s: float, wall_s: float) -> None:
        """``stored_sequence``: the number of the newest event on disk; ``now_s``: monotonic; ``wall_s``: Unix time."""
        buffer = self.buffer.keys
        for name, channel in self.channels.items():
            if changes.waiting_keys is not None:
                own = {key for key in channel.queue.stored_keys(stored_sequence) if key not in changes.waiting_keys}
                channel.queue.discard(own - buffer)
            older = [each for each in changes.older if each.channel == name and each.key not in buffer]
            channel.queue.prepend(((each, max(wall_s - each.created_s, 0.0)) for each in older), now_s)
            if changes.is_new_file:
                for each in channel.queue.waiting:
                    self.buffer.add_event(each.event, None)
                    self.buffer.add_delivery(each)
        for orphan in changes.older:
            if orphan.channel not in self.channels and wall_s - orphan.created_s > self.keep_s:
                self.buffer.add_delivery(
                    replace(orphan, status=Status.UNDELIVERED, error="its channel is no longer configured")
                )

    def take_unsent(self, names: Collection[str], snapshots: Mapping[str, bytes]) -> WriteBatch:
        """Removes and returns all unwritten records and the pending alerts of the channels ``names``, with their events
        and ``snapshots``."""
        buffer = self.buffer.take()
        queues = [channel.queue for name, channel in self.channels.items() if name in names]
        waiting = [each for queue in queues for each in queue.waiting]
        for queue in queues:
            queue.discard(set(queue.keys))
        events = {each.event.id: (each.event, snapshots.get(each.event.id)) for each in waiting}
        events.update((event.id, (event, jpeg)) for event, jpeg in buffer.events)
        deliveries = {each.key: each for each in (*buffer.deliveries, *waiting)}
        return WriteBatch(
            tuple(sorted(events.values(), key=lambda updated: updated[0].wall_s)),
            tuple(sorted(deliveries.values(), key=lambda each: each.created_s)),
            buffer.presence,
        )

    def requeue_unsent(
        self, deliveries: tuple[Delivery, ...], owner: str, now_s: float, wall_s: float
    ) -> tuple[Delivery, ...]:
        """Inserts the pending ``deliveries`` before all others; they are sent after they are written. ``owner`` sends
        them from now on; without a channel any program may. Returns all deliveries to write."""
        pending = Status.PENDING
        updated = tuple(
            replace(each, owner=owner if each.channel in self.channels else "") if each.status is pending else each
            for each in deliveries
        )
        for name, channel in self.channels.items():
            own = [each for each in updated if each.channel == name and each.status is pending]
            channel.queue.prepend(((each, max(wall_s - each.created_s, 0.0)) for each in own), now_s, sequence=1)
        return updated
