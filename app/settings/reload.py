"""The settings that can change while the monitor runs, and those that need a restart. Pure functions."""

from pydantic import BaseModel

from app.settings.root import Settings

LIVE = ("policy", "tracking", "monitor", "alerts")
"""Tables that are applied at once."""

LIVE_OF_CAMERA = ("group", "policy", "tracking", "rotate", "flip", "aspect_ratio", "blackout")


def live_part(old: Settings, new: Settings) -> Settings:
    """``old`` with the ``LIVE`` tables of ``new``; cameras are matched by name."""
    by_name = {camera.name: camera for camera in new.camera}
    cameras = []
    for camera in old.camera:
        given = by_name.get(camera.name, camera)
        cameras.append(camera.model_copy(update={name: getattr(given, name) for name in LIVE_OF_CAMERA}))
    return old.model_copy(update={"camera": tuple(cameras), **{name: getattr(new, name) for name in LIVE}})


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """The places (without values) that differ and are not applied while the monitor runs."""
    kept = live_part(old, new)
    places = [
        f"{section}.{name}"
        for section in type(new).model_fields
        if section != "camera"
        for name in _differing(getattr(kept, section), getattr(new, section))
    ]
    names, new_names = [camera.name for camera in kept.camera], [camera.name for camera in new.camera]
    if names != new_names:
        return [*places, "camera (the list of cameras)"]
    for camera, given in zip(kept.camera, new.camera, strict=True):
        places += [f"camera '{camera.name}' {name}" for name in _differing(camera, given)]
    return places


def _differing(one: BaseModel, other: BaseModel) -> list[str]:
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]
