"""The settings that a hub may send to a node. Only what is listed here: no command, plugin, path, address or model."""

import tomllib

from pydantic import Field, ValidationError

from app.core.errors import SettingsError
from app.settings.error_messages import reason_of
from app.settings.monitor import MonitorSettings, PolicySettings, overridden
from app.settings.root import Settings
from app.settings.table import SettingsTable
from app.settings.vision import TrackingSettings

OF_CAMERA = ("policy", "tracking")
NOT_ALLOWED = "no setting that a hub may send; those are policy, tracking, monitor, and policy and tracking of a camera"


class PushedCamera(SettingsTable):
    """``[[camera]]``: settings of the camera with this name; a node without it ignores them."""

    name: str
    policy: PolicySettings = Field(default_factory=PolicySettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)


class PushedSettings(SettingsTable):
    """Each setting that is given replaces that of the node's own file; all others stay as they are there."""

    policy: PolicySettings = Field(default_factory=PolicySettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    camera: tuple[PushedCamera, ...] = ()


def read_pushed(text: str) -> PushedSettings:
    """The settings in a TOML text. Raises SettingsError with the place and reason of every error in one line."""
    try:
        return PushedSettings.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"not valid TOML: {error}") from error
    except ValidationError as error:
        reasons = []
        for fault in error.errors(include_input=False):
            is_unknown = fault["type"] == "extra_forbidden"
            reason = NOT_ALLOWED if is_unknown else reason_of(PushedSettings, fault["loc"], fault)
            reasons.append(f"{'.'.join(map(str, fault['loc']))}: {reason}")
        raise SettingsError("; ".join(reasons)) from error


def with_pushed(settings: Settings, pushed: PushedSettings) -> Settings:
    by_name = {camera.name: camera for camera in pushed.camera}
    cameras = []
    for camera in settings.camera:
        given = by_name.get(camera.name)
        own = (
            {}
            if given is None
            else {name: overridden(getattr(camera, name), getattr(given, name)) for name in OF_CAMERA}
        )
        cameras.append(camera.model_copy(update=own))
    general = {name: overridden(getattr(settings, name), getattr(pushed, name)) for name in (*OF_CAMERA, "monitor")}
    return settings.model_copy(update={"camera": tuple(cameras), **general})
