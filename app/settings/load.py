"""Loads the settings of a run once. By rising priority: defaults, TOML file, environment (``MASKWATCH_*``), flags."""

import codecs
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

from pydantic import ValidationError

from app.core.errors import SettingsError
from app.settings.error_messages import Place, line_of, reason_of
from app.settings.flags import ALL_FLAGS
from app.settings.root import Settings, zone_faults

ENVIRONMENT_PREFIX, _NESTED = "MASKWATCH_", "__"
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""Editors on Windows and PowerShell's ``>`` write them at the start of a file; TOML does not allow them."""


def load_settings(
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    *,
    each_camera: Mapping[str, Any] | None = None,
    more_channels: Sequence[Mapping[str, Any]] = (),
    text: str | None = None,
) -> Settings:
    """The settings of one run. ``flags``: settings from the command line, by table. ``each_camera``: settings of every
    camera. ``more_channels``: alert channels of flags, with their names, that are added; one of the same name is
    replaced. ``text``: what the file at ``path`` is to contain, instead of what it contains.

    Raises SettingsError with the place and reason of every error in one line.
    """
    if text is None:
        text = "" if path is None else read_settings_file(path)
    flags, each_camera = flags or {}, each_camera or {}
    try:
        environment = _environment()
    except ValueError as error:
        raise SettingsError(f"bad settings in the environment: {_no_json(error)}") from error
    tables = _merged(_merged(tomllib.loads(text), environment), flags)
    if each_camera:
        cameras = tables.get("camera", [{"uri": "0"}])
        tables["camera"] = [{**camera, **each_camera} for camera in cameras] if _are_tables(cameras) else cameras
    if more_channels:
        names = [channel["name"] for channel in more_channels]
        alerts = tables.get("alerts", {})
        channels = alerts.get("channels", []) if isinstance(alerts, Mapping) else None
        if _are_tables(channels):
            kept = [channel for channel in channels if channel.get("name") not in names]
            tables["alerts"] = {**alerts, "channels": [*kept, *more_channels]}
    try:
        settings = Settings(**tables)
    except ValidationError as error:
        from_flags = _merged(flags, {"camera": each_camera} if each_camera else {})

        def origin(place: Place) -> str:
            if place[:2] == ("alerts", "channels") and len(place) > 2:
                added = int(place[2]) - (len(tables["alerts"]["channels"]) - len(more_channels))
                if added >= 0:
                    return f"--{more_channels[added]['name']}"
            return _origin(place, from_flags, text, len(flags.get("camera", ())))

        faults = _faults(error, origin)
        where = f" (settings file {path})" if path and any("(line " in fault for fault in faults) else ""
        raise SettingsError(f"bad settings: {'; '.join(faults)}{where}") from error
    if faults := zone_faults(settings):
        raise SettingsError(f"bad settings: {'; '.join(faults)}")
    return settings


def _environment() -> dict[str, Any]:
    """The settings in the environment. Raises ValueError if a list or table is not JSON."""
    if not any(name.upper().startswith(ENVIRONMENT_PREFIX) for name in os.environ):
        return {}
    from pydantic_settings import BaseSettings, EnvSettingsSource  # imported late: it needs asyncio and 5 MB

    source = EnvSettingsSource(
        cast(type[BaseSettings], Settings), env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=_NESTED
    )
    return source()


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of both; a value of ``upper`` replaces that of ``lower``."""
    merged = dict(lower)
    for key, value in upper.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _are_tables(value: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value)


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
    """Each error as origin and reason; an error that only follows from an inner error is left out."""
    faults = error.errors()
    places = [fault["loc"] for fault in faults]
    return [
        f"{origin(place)}: {reason_of(Settings, place, fault)}"
        for place, fault in zip(places, faults, strict=True)
        if not any(other[: len(place)] == place and len(other) > len(place) for other in places)
    ]


def _origin(place: Place, flags: Mapping[str, Any], text: str, sources: int) -> str:
    """The flag that sets ``place``, or else the place and the environment variable or line in the ``text`` of the
    file that sets it. ``sources``: how many sources the command line gives."""
    section, key = str(place[0]) if place else "", str(place[-1]) if place else ""
    flag = next((flag.name for flag in ALL_FLAGS if flag.place == f"{section}.{key}"), "")
    given = flags.get(section, {})
    if flag and isinstance(given, Mapping) and key in given:
        return flag
    if section == "camera" and sources and len(place) > 1:
        return "--source" if sources == 1 else f"--source number {int(place[1]) + 1}"
    if section in flags and not isinstance(given, Mapping):
        return _place(place)
    variable = ENVIRONMENT_PREFIX + _NESTED.join(map(str, place)).upper()
    if variable in os.environ:
        return f"{_place(place)} ({variable})"
    line = line_of(text, place)
    return _place(place) + ("" if line is None else f" (line {line})")


def read_settings_file(path: Path) -> str:
    """The text of a settings file. Raises SettingsError if it cannot be read or is not TOML."""
    try:
        written = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read settings file {path}: {error.strerror or error}; check the path") from error
    if written.startswith(BYTE_ORDER_MARKS):
        raise SettingsError(f"settings file {path} starts with a byte-order mark; save it as UTF-8 without one")
    try:
        text = written.decode("utf-8")
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not valid TOML: {error}") from error
    return text


def _place(location: Place) -> str:
    """('camera', 0, 'uri') as camera[0].uri."""
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place or "settings"
