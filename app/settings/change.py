"""Changes the settings file for the web view: what may be changed there, how it is written, and the way back.

The file stays the source of truth and keeps its comments. What runs programs, loads plugins or models, or opens files
cannot be changed here by anybody: settings with a path, an environment variable or a program stay in the file.
"""

import hashlib
import json
import os
import re
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import pairwise
from operator import getitem
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from app.core.errors import SettingsError
from app.core.files import atomic_write, existing_parent, exists, is_file
from app.core.secrets import HIDDEN
from app.settings.alerts import AlertSettings
from app.settings.error_messages import models_in, nearest
from app.settings.load import read_settings_file
from app.settings.root import Settings

TABLES = ("camera", "detector", "tracking", "policy", "monitor", "alerts", "clips", "collect", "drift", "view")
"""The others stay in the file: who may connect, to which hub, and which model is loaded."""
CAMERAS, CHANNELS = ("camera",), ("alerts", "channels")
"""The lists of tables with a name, which stands in a path instead of the position."""
MAX_VERSIONS = 20

_LOCAL_NAME = re.compile(r"backend|allow_private|\w+_(env|file)")
"""``backend``: GStreamer runs what it is given. ``allow_private``: any user could reach the own network."""
_CAMERA_URI = re.compile(r"[0-9]{1,2}|(rtsps?|https?)://\S+", re.IGNORECASE)
_PARAMETER = r"(to|from|name|user|pass|smtp|mode|cc|bcc|reply|priority|tags|format)=[^&;?#\s]*"
_APPRISE_URL = re.compile(
    rf"(ntfys?|mailtos?|gotifys?|tgram|pover|slack|discord)://[^?#;\s]+(\?{_PARAMETER}(&{_PARAMETER})*)?", re.IGNORECASE
)
"""Other services of Apprise, and other parameters, start programs or open files of this machine."""
_ADDRESS = ("url", "host", "port", "tls")
_PARTS_OF_URI = re.compile(r"([a-z]+://|)([^/?#]*@|)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
"""Scheme, login, host with port, and the rest."""
_ONLY_IN_FILE = "cannot be changed in the web view, because it names a program, a file or an access; edit the file"
_ADVICE = "check the permissions of the file and its folder, or edit it by hand"
_MARK = "#@maskwatch:"
_HEADER = re.compile(r"\s*\[\[?[A-Za-z0-9_.\"' -]+\]\]?\s*(#.*)?$")


class ConflictError(SettingsError):
    """The settings file is not in the state that a change needs: it has changed, or cannot be written."""


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
        self._lock = threading.Lock()
        """The web view and the window change the file in different threads."""

    def read(self) -> str:
        """The text; empty if there is no file yet. Raises SettingsError."""
        return read_settings_file(self.path) if exists(self.path) else ""

    @property
    def fault(self) -> str:
        """Why the file cannot be written; '' if it can."""
        if not exists(self.path):
            folder = existing_parent(self.path)
            return "" if os.access(folder, os.W_OK) else f"cannot write {self.path}; {_ADVICE}"
        can_write = is_file(self.path) and os.access(self.path, os.W_OK) and self.path.stat().st_mode & 0o222
        return "" if can_write else f"the settings file {self.path} is read-only; {_ADVICE}"

    def change(self, revision: str, changes: Sequence[Change]) -> Settings:
        """Writes ``changes``, all or none. Returns the settings of the run. Raises ConflictError if the file is not
        that of ``revision`` any more or read-only, SettingsError if a change is invalid or not allowed."""
        with self._lock:
            text = self._checked(revision)
            new = changed_text(text, changes)
            settings = self.load(new)
            _check_effect(new, settings, changes)
            if new != text:
                self._write(new, [*self._versions(), {"revision": revision_of(new), "before": text}][-MAX_VERSIONS:])
            return settings

    def undo(self, revision: str) -> Settings:
        """Takes the last change back. Raises ConflictError, also if there is none."""
        with self._lock:
            text, versions = self._checked(revision), self._versions()
            if not versions or versions[-1]["revision"] != revision_of(text):
                raise ConflictError("there is no change of the web view to undo, or the file was edited after it")
            settings = self.load(versions[-1]["before"])
            self._write(versions[-1]["before"], versions[:-1])
            return settings

    @property
    def can_undo(self) -> bool:
        versions = self._versions()
        return bool(versions) and versions[-1]["revision"] == revision_of(self.read())

    def _checked(self, revision: str) -> str:
        if self.fault:
            raise ConflictError(self.fault)
        text = self.read()
        if revision != revision_of(text):
            raise ConflictError("the settings file has changed in the meantime; load the page again")
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
        if change.path.splitlines() != [change.path]:
            raise SettingsError("a path is one line, such as policy.dwell_s")
        try:
            wanted = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"the settings file is not valid TOML: {error}; edit it by hand") from error
        parts = _parts(change, wanted)
        _check(change, parts, wanted)
        keys = _keys(parts, wanted)
        is_new = isinstance(keys[-1], int) and change.value is not None
        edits = [(keys, {"name": parts[-1], **change.value} if is_new else change.value)]
        if parts[:1] == CAMERAS and parts[2:] == ("uri",):
            edits = _address_edits(_at(wanted, keys[:-1]), keys, change.value, [each.path for each in changes])
        elif parts[:1] == CAMERAS and parts[2:] == ("name",):
            edits += _channel_edits(wanted, parts[1], change.value)
        try:
            marked, blocks = _without_comments(text)
            document = tomlkit.parse(marked)
            for place, value in edits:
                _set(wanted, place, value)
                _set(document, place, value)
            text = _with_comments(tomlkit.dumps(document), blocks)
            if tomllib.loads(text) != wanted:
                raise ValueError("its tables are written in an unusual way")
        except (TOMLKitError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SettingsError(f"cannot change {change.path} in this file ({error}); edit it by hand") from error
    return text


@cache
def editable() -> frozenset[str]:
    """The paths of all settings that can be changed; '*' stands for the name of a camera or channel."""
    return frozenset(_paths(Settings, ""))


def _paths(model: type[BaseModel], before: str, all_of_them: bool = False) -> Iterator[str]:
    for name, field in model.model_fields.items():
        place = f"{before}{name}"
        is_local = _LOCAL_NAME.fullmatch(name) or _has_path(field.annotation) or not (before or name in TABLES)
        if is_local and not all_of_them:
            continue
        models = [each for each in models_in(field.annotation) if all_of_them or _can_change(each)]
        star = "*." if tuple(place.split(".")) in (CAMERAS, CHANNELS) else ""
        if models and (star or get_origin(field.annotation) is not tuple):
            for each in models:
                yield from _paths(each, f"{place}.{star}", all_of_them)
        elif all({*_paths(each, "-")} == {*_paths(each, "-", True)} for each in models):  # other lists: as a whole
            yield place


def _has_path(annotation: Any) -> bool:
    return annotation is Path or any(map(_has_path, get_args(annotation)))


def _can_change(model: type[BaseModel]) -> bool:
    return not getattr(model, "only_in_file", False)


def _names(place: tuple[str, ...], tables: Mapping[str, Any]) -> list[str]:
    """The names of the tables in a list of the file. Raises SettingsError if a camera is invalid."""
    if place == CHANNELS:
        return [str(each.get("name")) for each in tables.get("alerts", {}).get("channels", ())]
    try:
        return [each.name for each in Settings(camera=tables["camera"]).camera] if "camera" in tables else []
    except ValidationError as error:
        raise SettingsError("a camera of the settings file is invalid; see 'maskwatch config check'") from error


def _parts(change: Change, tables: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts of a path. A name may contain dots: the longest one that exists counts, or all for a new camera."""
    for place in (CAMERAS, CHANNELS):
        prefix = f"{'.'.join(place)}."
        if change.path.startswith(prefix):
            rest = change.path.removeprefix(prefix)
            known = [name for name in _names(place, tables) if rest == name or rest.startswith(f"{name}.")]
            name = max(known, key=len, default=rest)
            if place == CAMERAS and isinstance(change.value, Mapping):
                name = rest
            return (*place, name, *filter(None, rest[len(name) + 1 :].split(".")))
    return tuple(change.path.split("."))


def _keys(parts: tuple[str, ...], tables: Mapping[str, Any]) -> tuple[str | int, ...]:
    """``parts`` with the position instead of the name; the one after the last if there is no such name."""
    for place in (CAMERAS, CHANNELS):
        if parts[: len(place)] == place:
            names, (name, *rest) = _names(place, tables), parts[len(place) :]
            return (*place, names.index(name) if name in names else len(names), *rest)
    return parts


def _at(tables: Any, keys: Sequence[str | int]) -> Any:
    return reduce(getitem, keys, tables)


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
    path, value = change.path, change.value
    place = next((each for each in (CAMERAS, CHANNELS) if parts[: len(each)] == each and len(parts) > len(each)), None)
    if place is None:
        _check_value(path, path, value)
        return
    names, (name, *rest) = _names(place, tables), parts[len(place) :]
    is_new = name not in names
    if is_new and (rest or not name.strip() or not isinstance(value, Mapping)):
        raise SettingsError(f"{path}: the settings file has no {name!r}; it has {', '.join(names) or 'none'}")
    if not (is_new or rest or value is None):
        raise SettingsError(f"{path}: this name is in use; choose another name")
    given = value if is_new else {".".join(rest): value} if rest else {}
    if place == CHANNELS:
        _check_channel(path, {} if is_new else _at(tables, _keys((*place, name), tables)), given)
    elif "uri" not in given and is_new:
        raise SettingsError(f"{path}: a camera needs its uri; add it")
    elif not given and len(names) == 1:
        raise SettingsError("the last camera cannot be removed; add another one first")
    elif "uri" in given and not _CAMERA_URI.fullmatch(str(given["uri"])):
        raise SettingsError(
            f"{path}: give an address with rtsp://, rtsps://, http:// or https://, or the number of a camera of this "
            "machine; a file stays in the settings file"
        )
    elif given.get("main_uri") is not None:  # it gets the login of uri
        uri = given.get("uri") or _at(tables, _keys((*place, name), tables)).get("uri")
        if not is_same_host(str(uri), str(given["main_uri"])):
            raise SettingsError(f"{path}: give an address with the scheme, host and port of uri, which has the login")
    for setting, each in given.items():
        _check_value(f"{path}.{setting}" if is_new else path, ".".join((*place, "*", setting)), each, is_new)


def _check_channel(path: str, old: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """``given``: what is set of the channel ``old``, or of a new one."""
    kind = old.get("kind", given.get("kind"))
    models = filter(_can_change, models_in(AlertSettings.model_fields["channels"].annotation))
    is_known = any(kind in get_args(model.model_fields["kind"].annotation) for model in models)
    fixed = {"kind", "name", *(() if may_change_address(old) else _ADDRESS)} if old else set()
    if not is_known or fixed & given.keys():
        raise SettingsError(f"{path}: {_ONLY_IN_FILE}")
    if kind == "apprise" and "url" in given and not _APPRISE_URL.fullmatch(str(given["url"])):
        raise SettingsError(
            f"{path}: give an address with ntfy, mailto, gotify, tgram, pover, slack or discord, without other "
            "parameters than those of the sender and the receivers; others stay in the settings file"
        )


def may_change_address(channel: Mapping[str, Any]) -> bool:
    """Whether ``channel`` has no secret that would go to the new address."""
    given = {name for name, value in channel.items() if value}
    return "headers" not in given and not any(map(_LOCAL_NAME.fullmatch, given))


def _check_value(path: str, place: str, value: Any, is_new: bool = False) -> None:
    """``place``: ``path`` with '*' for a name. Only what is new may have tables in it."""
    known = {*_paths(Settings, "", True)}
    if inner := sorted(each for each in known if each.startswith(f"{place}.")):
        if not (is_new and isinstance(value, Mapping)):
            raise SettingsError(f"{path}: give single settings of this table, such as {inner[0]}")
        for name, each in value.items():
            _check_value(f"{path}.{name}", f"{place}.{name}", each, is_new)
    elif place not in known:
        near = nearest(place, editable()).rpartition(".")[2]
        raise SettingsError(f"{path}: unknown setting{f'; did you mean {near}?' if near else ''}")
    elif place not in editable():
        raise SettingsError(f"{path}: {_ONLY_IN_FILE}")
    elif (text := json.dumps(value)) and "${" in text:
        raise SettingsError(f"{path}: environment variables stay in the settings file")
    elif HIDDEN in text:
        raise SettingsError(f"{path}: {HIDDEN} stands for a hidden value; write the value itself")


def _address_edits(
    camera: Mapping[str, Any], keys: tuple[str | int, ...], uri: str, paths: Sequence[str]
) -> list[tuple[tuple[str | int, ...], Any]]:
    """A login belongs to its host: another host does not get it. The main stream is that of the camera."""
    old_uri = str(camera.get("uri"))
    start, login, host, rest = _split(uri)
    if not (login or any(path.endswith(".username") for path in paths)) and is_same_host(old_uri, uri):
        return [(keys, f"{start}{_split(old_uri)[1]}{host}{rest}")]
    old = ("username", "password") if is_same_host(old_uri, uri) else ("username", "password", "main_uri")
    return [(keys, uri), *(((*keys[:-1], name), None) for name in old if name in camera)]


def _channel_edits(tables: Mapping[str, Any], old: str, new: str) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The channels that name a camera go on with it when it gets another name."""
    for number, channel in enumerate(tables.get("alerts", {}).get("channels", ())):
        if old in (names := channel.get("cameras", ())):
            yield (*CHANNELS, number, "cameras"), [new if name == old else name for name in names]


def is_same_host(one: str, other: str) -> bool:
    """Whether two addresses have the same scheme, host and port."""
    (start, _, host, _), (other_start, _, other_host, _) = map(_split, (one, other))
    return (start.lower(), host.lower()) == (other_start.lower(), other_host.lower())


def _split(uri: str) -> tuple[str, ...]:
    match = _PARTS_OF_URI.fullmatch(str(uri))
    assert match is not None
    return match.groups()


def _without_comments(text: str) -> tuple[str, list[str]]:
    """``text`` without the comments before its tables, and these comments, whose numbers the headers get: tomlkit puts
    what it adds between them and their table, and removes them with the table before."""
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
    """The inverse of ``_without_comments``. The comments of removed tables stay; a new table gets an empty line before
    it."""
    lines: list[str] = []
    done = 0
    for line in text.splitlines(keepends=True):
        if found := re.search(f" {_MARK}([0-9]+)", line):
            number = int(found[1])
            lines += [block for block in blocks[done:number] if block.strip()] + blocks[max(done, number) : number + 1]
            done = max(done, number + 1)  # tomlkit may copy a header
            line = line[: found.start()] + line[found.end() :]
        elif _HEADER.match(line) and lines and lines[-1].strip():
            lines.append("\n")
        lines.append(line)
    return "".join(lines + [block for block in blocks[done:] if block.strip()])


def _check_effect(text: str, settings: Settings, changes: Sequence[Change]) -> None:
    """Raises SettingsError if a flag or the environment sets what was to be changed."""
    tables = tomllib.loads(text)
    alone = Settings.model_validate(tables)
    same_cameras = [each.name for each in alone.camera] == [each.name for each in settings.camera]
    for change in changes:
        parts = _parts(change, tables)
        is_camera = parts[:1] == CAMERAS  # flags such as --fps set a part of each camera
        is_same = (is_camera and len(parts) == 2) or _value(alone, parts) == _value(settings, parts)
        if not is_same or (is_camera and not same_cameras):
            raise SettingsError(f"{change.path}: a flag or an environment variable sets it; start without that")


def _value(model: Any, parts: Sequence[str]) -> Any:
    """The setting at ``parts``, a table as a dict; None if there is no such camera or channel."""
    for part in parts:
        if isinstance(model, tuple):
            model = next((each for each in model if each.name == part), None)
        else:
            model = getattr(model, part, None)
    return model.model_dump() if isinstance(model, BaseModel) else model
