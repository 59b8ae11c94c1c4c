"""The tree of all settings."""

from collections import Counter
from typing import Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from app.settings.alerts import AlertSettings, MqttChannel, NatsChannel, matches_camera
from app.settings.error_messages import nearest
from app.settings.fleet import FleetSettings
from app.settings.monitor import CameraSettings, MonitorSettings, PolicySettings
from app.settings.review import ClipSettings, CollectSettings, DriftSettings
from app.settings.table import SettingsTable, Url
from app.settings.view import ViewSettings
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings
from app.settings.web import WebSettings


class UpdateSettings(SettingsTable):
    """``[update]``: used by 'maskwatch update --check' only. No other command asks for versions."""

    address: Url | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="what is asked: the JSON of a GitHub release "
        "(https://api.github.com/repos/OWNER/NAME/releases/latest), or of a package index",
    )


class Settings(SettingsTable):
    """All settings. ``camera`` is the list of sources: ``[[camera]]`` tables in the TOML file."""

    model_config = ConfigDict(validate_default=True)

    camera: tuple[CameraSettings, ...] = Field(
        default_factory=lambda: (CameraSettings(uri="0"),),
        min_length=1,
        description="the sources, one table per source",
    )
    detector: DetectorSettings = DetectorSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    tracking: TrackingSettings = TrackingSettings()
    policy: PolicySettings = PolicySettings()
    monitor: MonitorSettings = MonitorSettings()
    alerts: AlertSettings = Field(default_factory=AlertSettings)  # its store depends on the home folder at this moment
    clips: ClipSettings = ClipSettings()
    collect: CollectSettings = CollectSettings()
    drift: DriftSettings = DriftSettings()
    view: ViewSettings = ViewSettings()
    web: WebSettings = WebSettings()
    fleet: FleetSettings = Field(default_factory=FleetSettings)
    update: UpdateSettings = UpdateSettings()

    @field_validator("camera")
    @classmethod
    def _make_names_unique(cls, cameras: tuple[CameraSettings, ...]) -> tuple[CameraSettings, ...]:
        """Given names must differ; names from uris get a number if needed."""
        given = Counter(camera.name for camera in cameras if "name" in camera.model_fields_set)
        twice = [name for name, count in given.items() if count > 1]
        if twice:
            raise ValueError(f"two cameras are called {twice[0]!r}; names must differ")
        taken = set(given)
        named: list[CameraSettings] = []
        for camera in cameras:
            named.append(camera if "name" in camera.model_fields_set else _renamed(camera, taken))
            taken.add(named[-1].name)
        return tuple(named)

    @model_validator(mode="after")
    def _add_fleet_channel(self) -> Self:
        """A node of a fleet sends its events to the hub."""
        fleet, channels = self.fleet, self.alerts.channels
        if not fleet.hub or any(isinstance(each, NatsChannel) for each in channels):
            return self
        if any(each.name == "fleet" for each in channels):
            raise ValueError("a channel is called 'fleet', the name of the channel to the hub; rename it")
        added = NatsChannel(
            kind="nats",
            name="fleet",
            url=fleet.hub,
            site=fleet.site,
            creds_file=fleet.creds_file,
            node=fleet.node if fleet.failover else None,
        )
        object.__setattr__(self, "alerts", self.alerts.model_copy(update={"channels": (*channels, added)}))
        return self

    @model_validator(mode="after")
    def _stores_events(self) -> Self:
        if self.clips.enabled and not self.alerts.persist:
            raise ValueError("clips belong to stored events, and alerts.persist is false; set one of them")
        if self.collect.enabled and not self.alerts.persist:
            raise ValueError("collect stores pictures, and alerts.persist is false; set one of them")
        if self.drift.enabled and not self.alerts.persist:
            raise ValueError("drift keeps what it learned beside stored events, and alerts.persist is false; set one")
        if self.collect.enabled and self.view.blur:
            raise ValueError("collect needs faces that are not blurred, and view.blur is true; set one of them")
        return self

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        """Two cameras must not share an MQTT topic, because their states would overwrite each other."""
        from app.core.text import slug

        if not any(isinstance(channel, MqttChannel) for channel in self.alerts.channels):
            return self
        names: dict[str, str] = {}
        for camera in self.camera:
            other = names.setdefault(slug(camera.name), camera.name)
            if other != camera.name:
                raise ValueError(f"cameras {other!r} and {camera.name!r} would share an MQTT topic; rename one")
        return self


def unmatched_camera_patterns(settings: Settings) -> list[str]:
    """A message for each entry of a channel's ``cameras`` that matches no camera."""
    names = [camera.name for camera in settings.camera]
    faults = []
    for channel in settings.alerts.channels:
        for pattern in channel.cameras:
            if not any(matches_camera(pattern, name) for name in names):
                near = nearest(pattern, names)
                hint = f"; did you mean {near}?" if near else f"; the cameras are {', '.join(names)}"
                faults.append(f"channel {channel.name!r} cameras: no camera matches {pattern!r}{hint}")
    return faults


def zone_faults(settings: Settings) -> list[str]:
    """A message for each zone whose channel does not exist, and for each limit of a camera that counts nobody."""
    names = [channel.name for channel in settings.alerts.channels]
    faults = []
    for camera in settings.camera:
        for zone in camera.zone:
            for missing in set(zone.channels) - set(names):
                near = nearest(missing, names)
                hint = f"did you mean {near}?" if near else f"there are {', '.join(names) or 'none'}"
                faults.append(f"camera {camera.name!r} zone {zone.name!r}: no alert channel {missing!r}; {hint}")
        if camera.occupancy.limit is not None and not camera.line:
            faults.append(
                f"camera {camera.name!r} occupancy.limit: needs a [[camera.line]] that counts people; add one"
            )
    return faults


def _renamed(camera: CameraSettings, taken: set[str]) -> CameraSettings:
    """``camera`` with a name that is not in ``taken``: its own name, with a number if needed."""
    name, serial = camera.name, 1
    while name in taken:
        serial += 1
        name = f"{camera.name[:76]}-{serial}"
    if serial == 1:
        return camera
    renamed = camera.model_copy()
    object.__setattr__(renamed, "name", name)  # not as a given field: the name comes from the uri
    return renamed
