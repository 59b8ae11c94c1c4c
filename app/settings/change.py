"""Changes the settings file for the web view: what may be changed there, how it is written, and the way back.

The file stays the source of truth and keeps its comments. What runs programs, loads plugins or models, or opens files
cannot be changed here by anybody: settings with a path, an environment variable or a program stay in the file.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from app.core.errors import SettingsError
from app.core.files import atomic_write, exists, is_file
from app.core.secrets import HIDDEN
from app.settings.alerts import AlertSettings
from app.settings.error_messages import did_you_mean, models_in
from app.settings.load import read_settings_file
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

TABLES = ("camera", "detector", "tracking", "policy", "monitor", "alerts", "clips", "collect", "drift", "view")
"""The others stay in the file: who may connect, to which hub, and which model is loaded."""
CAMERAS, CHANNELS = ("camera",), ("alerts", "channels")
"""The lists of tables with a name, which stands in a path instead of the position."""
MAX_VERSIONS = 20

_LOCAL_NAME = re.compile(r"backend|\w+_(env|file)")
"""``backend``: GStreamer runs what it is given."""
_CAMERA_URI = re.compile(r"[0-9]{1,2}|(rtsps?|https?)://\S+", re.IGNORECASE)
_APPRISE_URL = re.compile(
    r"(ntfys?|mailtos?|gotifys?|tgram|pover|slack|discord)://[^?#;\s]+"
    r"(\?(to|from|name|user|pass|smtp|mode|cc|bcc|reply|priority|tags|format)=[^&;?#\s]*"
    r"(&(to|from|name|user|pass|smtp|mode|cc|bcc|reply|priority|tags|format)=[^&;?#\s]*)*)?",
    re.IGNORECASE,
)
"""Other services of Apprise, and other parameters, start programs or open files of this machine."""
_ADDRESS = ("url", "host", "port", "tls")
_ADVICE = "check the permissions of the file and its folder, or edit it by hand"
_MARK = "#@maskwatch:"
_HEADER = re.compile(r"\s*\[\[?([A-Za-z0-9_.\"' -]+)\]\]?\s*(#.*)?$")


class ChangedError(SettingsError):
    """The settings file has changed since it was read."""


@dataclass(frozen=True, slots=True)
class Change:
    """``path``: dotted, with the name of a camera or channel: ``camera.door.rotate``, ``alerts.channels.desk.url``. A
    table as the value of ``camera.door`` adds the camera; None removes a setting, a camera or a channel."""

    path: str
    value: Any


class SettingsFile:
    """The settings file of a run. ``load`` gives the settings of the run if the file had this text."""

    def __init__(self, path: Path, load: Callable[[str], Settings]) -> None:
        self.path = path
        self.load = load
        self._versions_path = path.with_name(f"{path.name}.undo")

    def read(self) -> str:
        """The text; empty if there is no file yet. Raises SettingsError."""
        return read_settings_file(self.path) if exists(self.path) else ""

    @property
    def fault(self) -> str:
        """Why the file cannot be written; '' if it can."""
        if not exists(self.path):
            folder = next(each for each in self.path.absolute().parents if exists(each))
            return "" if os.access(folder, os.W_OK) else f"cannot write {self.path}; {_ADVICE}"
        can_write = is_file(self.path) and os.access(self.path, os.W_OK) and self.path.stat().st_mode & 0o222
        return "" if can_write else f"the settings file {self.path} is read-only; {_ADVICE}"

    def change(self, revision: str, changes: Sequence[Change]) -> Settings:
        """Writes ``changes``, all or none. Returns the settings of the run. Raises ChangedError if the file is not that
        of ``revision`` any more, SettingsError if a change is invalid or not allowed."""
        text = self._checked(revision)
        new = changed_text(text, changes)
        settings = self.load(new)
        _check_effect(new, settings, changes)
        if new != text:
            self._write(new, [*self._versions(), {"revision": revision_of(new), "before": text}][-MAX_VERSIONS:])
        return settings

    def undo(self, revision: str) -> Settings:
        """Takes the last change back. Raises ChangedError, or SettingsError if there is none."""
        text, versions = self._checked(revision), self._versions()
        if not versions or versions[-1]["revision"] != revision_of(text):
            raise SettingsError("there is no change of the web view to undo, or the file was edited after it")
        settings = self.load(versions[-1]["before"])
        self._write(versions[-1]["before"], versions[:-1])
        return settings

    @property
    def can_undo(self) -> bool:
        versions = self._versions()
        return bool(versions) and versions[-1]["revision"] == revision_of(self.read())

    def _checked(self, revision: str) -> str:
        if self.fault:
            raise SettingsError(self.fault)
        text = self.read()
        if revision != revision_of(text):
            raise ChangedError("the settings file has changed in the meantime; load the page again")
        return text

    def _versions(self) -> list[dict[str, str]]:
        """The texts before the last changes, each with the revision that the change made."""
        try:
            versions: list[dict[str, str]] = json.loads(self._versions_path.read_text("utf-8"))
            return [{"revision": each["revision"], "before": each["before"]} for each in versions]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def _write(self, text: str, versions: list[dict[str, str]]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not exists(self.path):
                self.path.touch(0o600)  # it may contain passwords
            own = self.path.stat()
            if not exists(self._versions_path):
                self._versions_path.touch(own.st_mode & 0o777)
            for path, content in ((self._versions_path, json.dumps(versions)), (self.path, text)):
                with atomic_write(path) as partial:
                    partial.write_text(content, "utf-8", newline="")
                    new = partial.stat()
                    if (new.st_uid, new.st_gid) != (own.st_uid, own.st_gid):
                        os.chown(partial, own.st_uid, own.st_gid)
        except OSError as error:
            raise SettingsError(f"cannot write {self.path}: {error.strerror or error}; {_ADVICE}") from error


def revision_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changed_text(text: str, changes: Sequence[Change]) -> str:
    """``text`` with ``changes``; comments stay. Raises SettingsError if one is invalid or not allowed."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    for change in changes:
        wanted = tomllib.loads(text)
        parts = _parts(change.path, wanted, change.value)
        _check(change, parts, wanted)
        keys = _keys(parts, wanted)
        is_new = isinstance(keys[-1], int) and change.value is not None
        edits = [(keys, {"name": parts[-1], **change.value} if is_new else change.value)]
        if parts[:1] == CAMERAS and parts[2:] == ("uri",):
            edits = _address_edits(_at(wanted, keys[:-1]), keys, change.value, [each.path for each in changes])
        try:
            marked, blocks = _without_comments(text)
            document = tomlkit.parse(marked)
            for place, value in edits:
                _set(wanted, place, value)
                _set(document, place, value)
            new = _without_table(text, keys) if change.value is None and isinstance(keys[-1], int) else ""
            text = new if new and tomllib.loads(new) == wanted else _with_comments(tomlkit.dumps(document), blocks)
            if tomllib.loads(text) != wanted:
                raise ValueError("its tables are written in an unusual way")
        except (TOMLKitError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(f"cannot change {change.path} in this file ({error}); edit it by hand") from error
    return text


def editable() -> list[str]:
    """The paths of all settings that can be changed; '*' stands for the name of a camera or channel."""
    return sorted({*_paths(Settings, "", ())})


def _paths(model: type[BaseModel], before: str, place: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        here = (*place, name)
        if (not place and name not in TABLES) or _is_local(name, field):
            continue
        models = [each for each in models_in(field.annotation) if not getattr(each, "only_in_file", False)]
        star = "*." if here in (CAMERAS, CHANNELS) else ""
        if models and (star or not _is_list(field)):
            for each in models:
                yield from _paths(each, f"{before}{name}.{star}", here)
        else:
            yield f"{before}{name}"


def _is_local(name: str, field: FieldInfo) -> bool:
    """Whether the setting names something of this machine that is opened, read or run."""
    return bool(_LOCAL_NAME.fullmatch(name)) or _has_path(field.annotation)


def _has_path(annotation: Any) -> bool:
    return annotation is Path or any(map(_has_path, get_args(annotation)))


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _names(place: tuple[str, ...], tables: Mapping[str, Any]) -> list[str]:
    """The names of the tables in a list of the file. Raises SettingsError if a camera is invalid."""
    if place == CHANNELS:
        return [str(each.get("name")) for each in tables.get("alerts", {}).get("channels", ())]
    try:
        return [each.name for each in Settings(camera=tables["camera"]).camera] if "camera" in tables else []
    except ValidationError as error:
        raise SettingsError("a camera of the settings file is invalid; see 'maskwatch config check'") from error


def _parts(path: str, tables: Mapping[str, Any], value: Any = None) -> tuple[str, ...]:
    """The parts of ``path``. A name may contain dots: the longest one that exists counts, or all for a new camera."""
    for place in (CAMERAS, CHANNELS):
        prefix = f"{'.'.join(place)}."
        if path.startswith(prefix):
            rest = path.removeprefix(prefix)
            if place == CAMERAS and isinstance(value, Mapping):
                return (*place, rest)
            known = [name for name in _names(place, tables) if rest == name or rest.startswith(f"{name}.")]
            name = max(known, key=len, default=rest)
            return (*place, name, *filter(None, rest[len(name) + 1 :].split(".")))
    return tuple(path.split("."))


def _keys(parts: tuple[str, ...], tables: Mapping[str, Any]) -> tuple[str | int, ...]:
    """``parts`` with the position instead of the name; the one after the last if there is no such name."""
    for place in (CAMERAS, CHANNELS):
        if parts[: len(place)] == place:
            names, (name, *rest) = _names(place, tables), parts[len(place) :]
            return (*place, names.index(name) if name in names else len(names), *rest)
    return parts


def _at(tables: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        tables = tables[key]
    return tables


def _set(tables: Any, keys: Sequence[str | int], value: Any) -> None:
    """Sets, adds or (None) removes what is at ``keys``, in plain tables or in a document of tomlkit."""
    for key, following in pairwise(keys):
        if isinstance(key, str) and key not in tables:
            if value is None:
                return
            tables[key] = [value] if isinstance(following, int) else {}
            if isinstance(following, int):
                return
        tables = tables[key]
    last = keys[-1]
    if isinstance(last, int) and value is not None:
        tables.append(value)
    elif value is not None:
        tables[last] = value
    elif isinstance(last, int) or last in tables:
        del tables[last]


def _check(change: Change, parts: tuple[str, ...], tables: Mapping[str, Any]) -> None:
    """Raises SettingsError if ``change`` is not allowed."""
    place = next((each for each in (CAMERAS, CHANNELS) if parts[: len(each)] == each), None)
    if place is None:
        _check_setting(change, Settings, parts)
        return
    if parts == place or not parts[len(place)].strip():
        raise SettingsError(f"{change.path}: add the name, such as {change.path}.door")
    names, name, rest = _names(place, tables), parts[len(place)], parts[len(place) + 1 :]
    is_new = name not in names
    if is_new and (rest or not isinstance(change.value, Mapping)):
        raise SettingsError(f"{change.path}: the settings file has no {name!r}; it has {', '.join(names) or 'none'}")
    if not (is_new or rest or change.value is None):
        raise SettingsError(f"{change.path}: this name is in use; choose another name")
    old = {} if is_new else _at(tables, _keys(parts[: len(place) + 1], tables))
    model: type[BaseModel] = CameraSettings
    if place == CHANNELS:
        model = _channel_model(change, str((change.value if is_new else old).get("kind")))
        has_secret = any(_LOCAL_NAME.fullmatch(key) for key in old)
        if rest and (rest[0] in ("kind", "name") or (has_secret and rest[0] in _ADDRESS)):
            raise SettingsError(f"{change.path}: {_ONLY_IN_FILE}")
    elif is_new and "uri" not in change.value:
        raise SettingsError(f"{change.path}: a camera needs its uri; add it")
    elif change.value is None and not rest and len(names) == 1:
        raise SettingsError("the last camera cannot be removed; add another one first")
    if is_new:
        _check_table(change.path, model, change.value)
    elif rest:
        _check_setting(change, model, rest)


_ONLY_IN_FILE = "cannot be changed in the web view, because it names a program, a file or an access; edit the file"


def _channel_model(change: Change, kind: str) -> type[BaseModel]:
    for model in models_in(AlertSettings.model_fields["channels"].annotation):
        if kind in get_args(model.model_fields["kind"].annotation) and not getattr(model, "only_in_file", False):
            return model
    raise SettingsError(f"{change.path}: a channel of kind {kind!r} {_ONLY_IN_FILE}")


def _check_setting(change: Change, model: type[BaseModel], parts: Sequence[str]) -> None:
    for part in parts[:-1]:
        field = _field(change.path, model, part)
        inner = next(models_in(field.annotation), None)
        if inner is None or _is_list(field):
            raise SettingsError(f"{change.path}: {part} is no table; give all of it")
        model = inner
    field = _field(change.path, model, parts[-1])
    if any(models_in(field.annotation)) and not _is_list(field):
        raise SettingsError(f"{change.path}: is a table; give single settings of it, such as policy.dwell_s")
    _check_table(change.path.rpartition(".")[0], model, {parts[-1]: change.value})


def _field(path: str, model: type[BaseModel], name: str) -> FieldInfo:
    field = model.model_fields.get(name)
    if field is None:
        raise SettingsError(f"{path}: unknown setting{did_you_mean(model, (name,))}")
    if _is_local(name, field) or (model is Settings and name not in TABLES):
        raise SettingsError(f"{path}: {_ONLY_IN_FILE}")
    return field


def _check_table(path: str, model: type[BaseModel], table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        place = f"{path}.{name}".lstrip(".")
        models = list(models_in(_field(place, model, name).annotation))
        for each in value if isinstance(value, list) else [value]:
            if models and isinstance(each, Mapping):
                _check_table(place, models[0], each)
            else:
                _check_text(place, each)
        if place.startswith("camera.") and name == "uri" and not _CAMERA_URI.fullmatch(str(value)):
            raise SettingsError(
                f"{place}: give an address with rtsp://, rtsps://, http:// or https://, or the number of a camera of "
                "this machine; a file stays in the settings file"
            )
        is_apprise = name == "url" and "apprise" in get_args(
            getattr(model.model_fields.get("kind"), "annotation", None)
        )
        if is_apprise and not _APPRISE_URL.fullmatch(str(value)):
            raise SettingsError(
                f"{place}: give an address with ntfy, mailto, gotify, tgram, pover, slack or discord, without other "
                "parameters than those of the sender and the receivers; others stay in the settings file"
            )


def _check_text(place: str, value: Any) -> None:
    """Raises SettingsError if a text would be replaced by an environment variable, or stands for a hidden value."""
    if isinstance(value, list | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            _check_text(place, each)
    elif isinstance(value, str) and "${" in value:
        raise SettingsError(f"{place}: environment variables {_ONLY_IN_FILE}")
    elif isinstance(value, str) and HIDDEN in value:
        raise SettingsError(f"{place}: contains {HIDDEN}, which stands for a hidden value; write the value itself")


def _address_edits(
    camera: Mapping[str, Any], keys: tuple[str | int, ...], uri: Any, paths: Sequence[str]
) -> list[tuple[tuple[str | int, ...], Any]]:
    """A login belongs to its host: another host does not get it."""
    old_uri = str(camera.get("uri"))
    start, new_login, rest = _split_login(str(uri))
    has_login = bool(new_login) or any(path.endswith(".username") for path in paths)
    if not has_login and is_same_host(old_uri, str(uri)):
        return [(keys, f"{start}{_split_login(old_uri)[1]}{rest}")]
    old = [name for name in ("username", "password") if name in camera]
    return [(keys, uri), *(((*keys[:-1], name), None) for name in old)]


def is_same_host(one: str, other: str) -> bool:
    """Whether two addresses have the same scheme, host and port."""
    (start, _, rest), (other_start, _, other_rest) = map(_split_login, (one, other))
    return (start, rest.partition("/")[0].lower()) == (other_start, other_rest.partition("/")[0].lower())


def _split_login(uri: str) -> tuple[str, str, str]:
    """The scheme, the login with its '@', and the rest."""
    scheme, mark, rest = uri.partition("://") if "://" in uri else ("", "", uri)
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    at = rest.rfind("@", 0, end) + 1
    return f"{scheme.lower()}{mark}", rest[:at], rest[at:]


def _without_comments(text: str) -> tuple[str, list[str]]:
    """``text`` without the comments before its tables, whose headers get the number of theirs: tomlkit puts a new table
    between these comments and their table."""
    kept: list[str] = []
    blocks: list[str] = []
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            start = len(kept)
            while start and (not kept[start - 1].strip() or kept[start - 1].lstrip().startswith("#")):
                start -= 1
            end = len(line.rstrip("\r\n"))
            line = f"{line[:end]} {_MARK}{len(blocks)}{line[end:]}"
            blocks.append("".join(kept[start:]))
            del kept[start:]
        kept.append(line)
    return "".join(kept), blocks


def _with_comments(text: str, blocks: list[str]) -> str:
    """The inverse of ``_without_comments``. A new table gets an empty line before it."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        found = re.search(f" {_MARK}([0-9]+)", line)
        if found:
            lines.append(blocks[int(found[1])])
            blocks[int(found[1])] = ""  # tomlkit may copy a header
            line = line[: found.start()] + line[found.end() :]
        elif _HEADER.match(line) and lines and lines[-1].strip():
            lines.append("\n")
        lines.append(line)
    return "".join(lines)


def _without_table(text: str, keys: tuple[str | int, ...]) -> str:
    """``text`` without one table of a list: tomlkit would remove the comments before the next table too. '' if the
    tables are not written one below the other."""
    place = ".".join(map(str, keys[:-1]))
    lines = text.splitlines(keepends=True)
    heads = [(i, match[1].replace(" ", "")) for i, line in enumerate(lines) if (match := _HEADER.match(line))]
    own = [i for i, name in heads if name == place and lines[i].lstrip().startswith("[[")]
    if not isinstance(keys[-1], int) or keys[-1] >= len(own):
        return ""
    start = own[keys[-1]]
    end = next((i for i, name in heads if i > start and not name.startswith(f"{place}.")), len(lines))
    while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#"):
        end -= 1
    while start and end < len(lines) and not (lines[start - 1].strip() or lines[end].strip()):
        start -= 1
    return "".join(lines[:start] + lines[end:])


def _check_effect(text: str, settings: Settings, changes: Sequence[Change]) -> None:
    """Raises SettingsError if a flag or the environment sets what was to be changed."""
    tables = tomllib.loads(text)
    alone = Settings.model_validate(tables)
    same_cameras = [each.name for each in alone.camera] == [each.name for each in settings.camera]
    for change in changes:
        parts = _parts(change.path, tables, change.value)
        if _value(alone, parts) != _value(settings, parts) or (parts[:1] == CAMERAS and not same_cameras):
            raise SettingsError(
                f"{change.path}: a flag or an environment variable sets it; start maskwatch without that"
            )


def _value(model: Any, parts: Sequence[str]) -> Any:
    """The setting at ``parts``; None if there is no such camera or channel."""
    for part in parts:
        if isinstance(model, tuple):
            model = next((each for each in model if each.name == part), None)
        else:
            model = getattr(model, part, None)
    return model
