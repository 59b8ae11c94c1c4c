"""How many people are inside, and whether the limit is reached. A pure function over the crossings of a camera."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.core.camera_hours import Occupancy
from app.core.schedule import time_zone
from app.core.types import Crossing, Event, EventKind, Frame
from app.pipeline.event_factory import EventFactory
from app.settings.monitor import OccupancySettings

_DAY_S = 86_400.0


def step(
    settings: OccupancySettings,
    timezone: str,
    events: EventFactory,
    state: Occupancy,
    frame: Frame,
    crossings: Sequence[Crossing],
) -> tuple[Occupancy, tuple[Event, ...]]:
    """The state after ``frame``, and an event if the limit is reached, or no longer. The same object if nothing has
    changed."""
    since_s = last_reset_s(settings.reset_at, frame.wall_s, timezone)
    if not since_s <= state.since_s <= frame.wall_s + _DAY_S:  # later: the clock was wrong then
        state = replace(state, since_s=since_s, lines={}, inside=0)
    for crossing in crossings:
        entered, exited = state.lines.get(crossing.line, (0, 0))
        counted = (entered + 1, exited) if crossing.entered else (entered, exited + 1)
        inside = max(state.inside + (1 if crossing.entered else -1), 0)
        state = replace(state, lines={**state.lines, crossing.line: counted}, inside=inside)
    is_full = settings.limit is not None and state.inside >= settings.limit
    if is_full == (state.alert is not None):
        return state, ()
    kind = EventKind.OCCUPANCY_REACHED if is_full else EventKind.OCCUPANCY_BELOW
    resolves, lasted_s = ("", 0.0) if state.alert is None else (state.alert.id, frame.wall_s - state.alert.wall_s)
    limit = "there is no limit any more" if settings.limit is None else f"the limit is {settings.limit}"
    event = events.of_camera(
        kind, frame.time_s, frame.wall_s, max(lasted_s, 0.0), f"{state.inside} inside, {limit}", resolves, state.inside
    )
    return replace(state, alert=event if is_full else None), (event,)


def last_reset_s(reset_at: str, wall_s: float, timezone: str) -> float:
    """The last Unix time up to ``wall_s`` at which the clock of ``timezone`` showed ``reset_at``."""
    hour, minute = map(int, reset_at.split(":"))
    now = datetime.fromtimestamp(wall_s, time_zone(timezone))
    reset = now.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
    return (reset - timedelta(days=reset > now)).timestamp()
