"""Decides when a camera is reported as offline or recovered: a pure state machine.

Up -> (not live for ``offline_after_s``) -> offline -> (live for ``recovered_after_s``) -> up. A camera that is live
for a moment has not recovered; such moments count as part of the outage.
"""

from dataclasses import dataclass, replace

from app.capture.status import SourceState
from app.core.types import EventKind
from app.settings.monitor import MonitorSettings


@dataclass(frozen=True, slots=True)
class Outage:
    """The state of one camera. Times are of the caller's clock; None means that the condition does not hold."""

    down_since_s: float | None = None
    up_since_s: float | None = None
    reported: bool = False


@dataclass(frozen=True, slots=True)
class OutageChange:
    """A change to report: the camera is offline or has recovered. ``lasted_s`` is the duration of the outage."""

    kind: EventKind
    lasted_s: float


def is_up(state: SourceState) -> bool:
    """Whether the camera is live; STALE counts as down, because it delivers no new frames."""
    return state is SourceState.LIVE


def step(
    settings: MonitorSettings, outage: Outage, up: bool, now_s: float, is_certain: bool = False
) -> tuple[Outage, OutageChange | None]:
    """Returns the next state and the change to report of a live source that is ``up`` or not at ``now_s``. An outage
    that ``is_certain`` to last is reported at once."""
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
        outage_s = outage.up_since_s - outage.down_since_s
        return Outage(), OutageChange(EventKind.CAMERA_RECOVERED, outage_s) if outage.reported else None
    if not up and not outage.reported and (is_certain or lasted_s >= settings.offline_after_s):
        return replace(outage, reported=True), OutageChange(EventKind.CAMERA_OFFLINE, lasted_s)
    return outage, None
