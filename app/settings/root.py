"""The validated settings, by rising priority: defaults, TOML file, environment (``MASKWATCH_*``), flags."""

import codecs
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.core.errors import SettingsError
from app.settings.alerts import AlertSettings, MqttChannel, matches_camera
from app.settings.error_messages import did_you_mean, line_of, models_in, nearest
from app.settings.monitor import CameraSettings, MonitorSettings, PolicySettings
from app.settings.view import ViewSettings
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings
from app.settings.web import WebSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX = "MASKWATCH_"
Place = tuple[int | str, ...]
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Editors on Windows and PowerShell's ``>`` write them at the start of a file; TOML does not allow them."""
LISTS_OF_TABLES: tuple[Place, ...] = (("camera",), ("alerts", "channels"))


class Settings(BaseSettings):
    """All settings. ``camera`` is the list of sources: ``[[camera]]`` tables in the TOML file."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )

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
    view: ViewSettings = ViewSettings()
    web: WebSettings = WebSettings()

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


def load_settings(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of one run; ``flags`` is a nested mapping of the settings from the command line.

    Raises SettingsError with the place and reason of every error in one line.
    """
    if path is not None:
        _check_readable(path)
    settings = _merged(path, {})  # report errors in the file even if a flag overrides them
    return _merged(path, flags) if flags else settings


def _merged(path: Path | None, flags: Mapping[str, Any]) -> Settings:
    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            given = InitSettingsSource(settings_cls, init_kwargs=dict(flags))
            file = (TomlConfigSettingsSource(settings_cls, toml_file=path),) if path else ()
            return (given, env_settings, *file)

    Loaded.__name__ = Settings.__name__
    try:
        return Loaded()
    except ValidationError as error:
        where = f" (settings file {path})" if path else ""
        text = path.read_text(encoding="utf-8") if path else ""
        faults = _faults(error, lambda place: "" if flags else _origin(place, text))  # flags have no line
        raise SettingsError(f"bad settings: {'; '.join(faults)}{where}") from error
    except ValueError as error:
        raise SettingsError(f"bad settings in the environment: {_no_json(error)}") from error


def _no_json(error: ValueError) -> str:
    """The message for a variable that must be JSON and is not; pydantic's error only contains the section."""
    section = re.search(r'field "(\w+)"', str(error))
    name = ENVIRONMENT_PREFIX + section.group(1).upper() if section else ""
    found = sorted(variable for variable in os.environ if name and variable.upper().startswith(name))
    if not found:
        return str(error)
    example = f"""{ENVIRONMENT_PREFIX}POLICY__ALERT_ON='["no_mask"]'"""
    return f"{' or '.join(found)}: lists and tables must be JSON, such as {example}"


def _faults(error: ValidationError, origin: Callable[[Place], str]) -> list[str]:
    """Each error as place, origin and reason; an error that only follows from an inner error is left out."""
    faults = error.errors()
    places = [fault["loc"] for fault in faults]
    return [
        f"{_place(place)}{origin(place)}: {_reason(place, fault)}"
        for place, fault in zip(places, faults, strict=True)
        if not any(other[: len(place)] == place and len(other) > len(place) for other in places)
    ]


def _origin(place: Place, text: str) -> str:
    """The environment variable that sets ``place``, or else its line in the ``text`` of the file."""
    variable = ENVIRONMENT_PREFIX + "__".join(map(str, place)).upper()
    if variable in os.environ:
        return f" ({variable})"
    line = line_of(text, place)
    return "" if line is None else f" (line {line})"


def _reason(place: Place, fault: "ErrorDetails") -> str:
    """The reason of an error in the terms of a settings file, not of Python."""
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown setting{did_you_mean(Settings, place)}"
        case "missing":
            return "is missing; add it"
        case "tuple_type" if place in LISTS_OF_TABLES:
            return f"must be a list of tables; start each table with [[{_place(place)}]]"
        case "tuple_type":
            return "must be a list; write it in brackets, such as [1, 2] or ['one', 'two']"
        case "too_short":
            return "is empty; give at least one"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "must be a table; write it as [name] with settings below"
        case "union_tag_not_found":
            return f"has no kind; use one of {', '.join(_kinds())}"
        case "union_tag_invalid":
            kind = fault["ctx"]["tag"]
            near = nearest(kind, _kinds())
            hint = f"did you mean {near}?" if near else f"use {', '.join(_kinds())}"
            return f"{kind!r} is not a kind of channel; {hint}"
    return fault["msg"].removeprefix("Value error, ")


def _kinds() -> list[str]:
    """The kinds of alert channels."""
    channels = models_in(AlertSettings.model_fields["channels"].annotation)
    return [kind for channel in channels for kind in get_args(channel.model_fields["kind"].annotation)]


def _check_readable(path: Path) -> None:
    try:
        written = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read settings file {path}: {error.strerror or error}; check the path") from error
    if written.startswith(BYTE_ORDER_MARKS):
        raise SettingsError(f"settings file {path} starts with a byte-order mark; save it as UTF-8 without one")
    try:
        tomllib.loads(written.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not valid TOML: {error}") from error


def _place(location: Place) -> str:
    """('camera', 0, 'uri') as camera[0].uri."""
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place or "settings"
