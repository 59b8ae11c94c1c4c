"""The settings that can change while the monitor runs, and those that need a restart. Pure functions."""

from collections.abc import Sequence

from pydantic import BaseModel

from app.settings.monitor import CameraSettings
from app.settings.root import Settings

LIVE = ("camera", "policy", "tracking", "monitor", "alerts", "clips", "collect", "drift", "update")
"""Tables that are applied at once, or by other commands only."""

LIVE_OF_CAMERA = (
    *("group", "policy", "tracking", "rotate", "flip", "aspect_ratio", "blackout", "zone", "line", "occupancy"),
)
"""Settings of a camera that are applied without starting it again."""


def live_part(old: Settings, new: Settings) -> Settings:
    """``old`` with what is applied at once of ``new``. A window keeps its ``view``."""
    view = old.view.model_copy(update={"blur": new.view.blur}) if old.view.headless else old.view
    return old.model_copy(update={"view": view, **{name: getattr(new, name) for name in LIVE}})


def live_camera(old: CameraSettings, new: CameraSettings) -> CameraSettings:
    """``old`` with what is applied at once of ``new``; the camera must be started again if they still differ."""
    return old.model_copy(update={name: getattr(new, name) for name in LIVE_OF_CAMERA})


def with_cameras_of(old: Settings, new: Settings) -> Settings:
    """``new`` for a run that keeps its cameras: those of ``old`` with what is applied at once."""
    by_name = {camera.name: camera for camera in new.camera}
    cameras = tuple(live_camera(camera, by_name.get(camera.name, camera)) for camera in old.camera)
    return new.model_copy(update={"camera": cameras})


def renamed_cameras(old: Sequence[CameraSettings], new: Sequence[CameraSettings]) -> dict[str, str]:
    """The new name of each camera that has another name at the same address, by its old name."""
    gone, added = _without(old, new), _without(new, old)
    addresses = [[camera.uri for camera in some] for some in (gone, added)]
    return {
        one.name: other.name
        for one in gone
        for other in added
        if one.uri == other.uri and all(some.count(one.uri) == 1 for some in addresses)
    }


def _without(some: Sequence[CameraSettings], others: Sequence[CameraSettings]) -> list[CameraSettings]:
    names = {camera.name for camera in others}
    return [camera for camera in some if camera.name not in names]


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """The places (without values) that differ and are not applied while the monitor runs."""
    kept = live_part(old, new)
    return [
        f"{section}.{name}"
        for section in type(new).model_fields
        if section not in LIVE
        for name in _differing(getattr(kept, section), getattr(new, section))
    ]


def _differing(one: BaseModel, other: BaseModel) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]
