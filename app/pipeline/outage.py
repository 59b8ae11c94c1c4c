"""When an absent camera is worth telling: a pure state machine, like the alert policy but without frames.

Up -> (no live picture for the grace time) -> offline -> (live again for a while) -> up. A camera that comes for a
moment and goes again has not recovered, and one that flickers is offline once its absence, moments included, lasts.
"""

from dataclasses import dataclass, replace

from app.capture.status import SourceState
from app.core.types import EventKind
from app.settings.monitor import MonitorSettings


@dataclass(frozen=True, slots=True)
class Outage:
    """What is remembered of one camera. Times are of the caller's clock; None where it is not the case."""

    down_since_s: float | None = None
    up_since_s: float | None = None
    reported: bool = False


@dataclass(frozen=True, slots=True)
class OutageChange:
    """To be told: the camera is offline, or back; ``lasted_s`` is how long it had been away."""

    kind: EventKind
    lasted_s: float


def is_up(state: SourceState) -> bool:
    """Only a picture that lives counts: STALE is as blind as no connection."""
    return state is SourceState.LIVE


def step(settings: MonitorSettings, outage: Outage, up: bool, now_s: float) -> tuple[Outage, OutageChange | None]:
    """The next state, and what is to be told, of a live source that is ``up`` or not at ``now_s``."""
    if up and outage.down_since_s is None:
        return outage, None
    if not up:
        outage = replace(outage, down_since_s=now_s if outage.down_since_s is None else outage.down_since_s)
        outage = replace(outage, up_since_s=None)
    elif outage.up_since_s is None:
        outage = replace(outage, up_since_s=now_s)
    assert outage.down_since_s is not None
    lasted_s = now_s - outage.down_since_s
    if up and outage.up_since_s is not None and now_s - outage.up_since_s >= settings.recovered_after_s:
        away_s = outage.up_since_s - outage.down_since_s
        return Outage(), OutageChange(EventKind.CAMERA_RECOVERED, away_s) if outage.reported else None
    if not up and not outage.reported and lasted_s >= settings.offline_after_s:
        return replace(outage, reported=True), OutageChange(EventKind.CAMERA_OFFLINE, lasted_s)
    return outage, None
