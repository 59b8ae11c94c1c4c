"""Runs the shards of a plan that are not done yet on an engine, and writes their results."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.scan.run_folder import DoneShard, FailedShard, PlannedShard, RunFolder
from app.scan.tables import decode_result
from app.scan.worker import Outcome, Task

MAX_ATTEMPTS = 3
_VERIFIED_SHARE = 0.01
TIME_TOLERANCE_S, SCORE_TOLERANCE = 0.5, 0.05
"""Processors of different kinds round differently: an event may come this much earlier or later, with another score."""


class Engine(Protocol):
    """Analyses shards somewhere. ``run`` takes tasks from the queue, to which the caller may add, until it is empty and
    each task has an outcome. ``close`` ends everything that it has started."""

    def run(self, tasks: deque[Task]) -> Iterator[Outcome]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """``left``: shards that were not tried because the time was over. ``failed``: those that failed in this run."""

    done: int
    failed: tuple[FailedShard, ...]
    left: int


def run_plan(
    folder: RunFolder,
    engine: Engine,
    *,
    budget_s: float | None = None,
    only_failed: bool = False,
    on_done: Callable[[PlannedShard, DoneShard], None] = lambda *_: None,
) -> Summary:
    """Analyses what is not done. A shard that fails is tried ``MAX_ATTEMPTS`` times, then given up: only a run with
    ``only_failed``, which tries nothing else, tries it again. After ``budget_s`` no shard is started. Raises
    OutputError if results cannot be written, for example because the disk is full: then nothing counts as failed.
    """
    with folder.locked():
        plan, done, before = folder.plan(), folder.done(), folder.failed()
        planned = {each.shard.id: each for each in plan.shards}
        wanted = [
            each for each in plan.shards if each.shard.id not in done and (each.shard.id in before) == only_failed
        ]
        if only_failed:
            folder.forget_failures()
        longest_first = sorted(wanted, key=lambda each: -each.estimate_core_s)  # no long shard is left for the end
        tasks = deque(Task(each.shard, plan.settings) for each in longest_first)
        started_s, finished, failed = time.monotonic(), 0, []
        left: list[Task] = []
        try:
            for outcome in engine.run(tasks):
                shard_id = outcome.task.shard.id
                if not outcome.error:
                    line = _done(outcome)
                    folder.commit(line, outcome.content)
                    finished += 1
                    on_done(planned[shard_id], line)
                elif outcome.task.attempt < MAX_ATTEMPTS:
                    tasks.append(Task(outcome.task.shard, plan.settings, outcome.task.attempt + 1))
                else:
                    path = outcome.task.shard.path
                    failed.append(FailedShard(shard_id, path, outcome.task.attempt, outcome.error))
                    folder.fail(failed[-1])
                if budget_s is not None and time.monotonic() - started_s >= budget_s:
                    left += tasks
                    tasks.clear()
        finally:
            engine.close()
        return Summary(finished, tuple(failed), len(left))


def _done(outcome: Outcome) -> DoneShard:
    digest = hashlib.sha256(outcome.content).hexdigest()
    seconds, cpu_s = round(outcome.seconds, 3), round(outcome.cpu_s, 3)
    attempt = outcome.task.attempt
    return DoneShard(outcome.task.shard.id, outcome.node, seconds, cpu_s, outcome.frames, digest, attempt)


@dataclass(frozen=True, slots=True)
class Difference:
    """A shard whose second analysis gave another result. ``same_events``: only bytes differ, as on another kind of
    processor; ``reason``: what differs."""

    shard_id: str
    path: str
    same_events: bool
    reason: str


def verify(folder: RunFolder, engine: Engine, share: float = _VERIFIED_SHARE) -> tuple[int, list[Difference]]:
    """Analyses a share of the done shards again, at least one, and compares the results: the number of shards that were
    compared, and those that differ. The choice follows from the shard ids, so it is the same each time."""
    plan, done = folder.plan(), folder.done()
    chosen = _sample([each for each in plan.shards if each.shard.id in done], share)
    differences: list[Difference] = []
    try:
        for outcome in engine.run(deque(Task(each.shard, plan.settings) for each in chosen)):
            shard, before = outcome.task.shard, folder.content(done[outcome.task.shard.id])
            if outcome.error or before is None:
                reason = outcome.error or "its result is missing"
                differences.append(Difference(shard.id, shard.path, False, reason))
            elif before != outcome.content:
                same, reason = _compare(before, outcome.content)
                differences.append(Difference(shard.id, shard.path, same, reason))
    finally:
        engine.close()
    return len(chosen), differences


def _compare(before: bytes, after: bytes) -> tuple[bool, str]:
    """Whether two results have the same people and, within the tolerances, the same events; and what differs."""
    old, new = decode_result(before, "the first result"), decode_result(after, "the second result")
    if [hour.seen for hour in old.hours] != [hour.seen for hour in new.hours]:
        return False, "other people"
    if len(old.events) != len(new.events):
        return False, f"{len(old.events)} events, now {len(new.events)}"
    for one, two in zip(old.events, new.events, strict=True):
        apart_s, by = abs(one.time_s - two.time_s), abs(one.confidence - two.confidence)
        if one.kind is not two.kind or apart_s > TIME_TOLERANCE_S or by > SCORE_TOLERANCE:
            return False, f"event {one.id} at {one.time_s:.1f} s differs"
    return True, "the events are the same within the tolerances, but not their bytes"


def _sample(shards: Sequence[PlannedShard], share: float) -> list[PlannedShard]:
    count = min(max(round(share * len(shards)), 1), len(shards))
    return sorted(shards, key=lambda each: each.shard.id)[:count]
