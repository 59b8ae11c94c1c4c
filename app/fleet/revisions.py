"""The settings and the models that the hub sent to this node, kept in a folder, and what became of them."""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from app.core.errors import SettingsError
from app.core.files import atomic_write, is_file, write_text
from app.core.own_command import own_command
from app.fleet.messages import MODELS, PARTS, TABLES, Applied, Desired, Revision
from app.settings.fleet import FleetSettings
from app.settings.pushed import read_pushed

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

SELF_TEST_LIMIT_S = 120.0
KEEP_S = 3600.0
"""A model that is not used is deleted when it is older: until then it may be tested, or wait."""
TryModel = Callable[[str, Path], Awaitable[str]]
_FLAGS = {"model": ("--backend", "litert", "--model"), "detector": ("--detector-backend", "litert", "--detector-model")}


class _Used(Revision):
    """A revision in use. ``before``: the one to go back to as long as this one, a model, is on trial. ``bad``: one that
    failed its trial."""

    before: Revision | None = None
    bad: Applied = Applied()


class _Kept(BaseModel):
    """The content of the file."""

    settings: _Used = _Used()
    model: _Used = _Used()
    detector: _Used = _Used()

    def of(self, part: str) -> _Used:
        used: _Used = getattr(self, part)
        return used


class NodeRevisions:
    """``offer``, ``refuse`` and ``applied`` are called by the fleet's thread too, all else by the main thread."""

    def __init__(self, settings: FleetSettings, folder: Path, try_model: TryModel | None = None) -> None:
        """``try_model`` returns why the model of a part does not work here, or ''; default: ``self_test``."""
        self._settings = settings
        self._folder = folder
        self._file = folder / "revisions.json"
        self._try_model = try_model or self_test
        self._offers: dict[str, Revision] = {}
        try:
            self._kept = _Kept.model_validate_json(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            self._kept = _Kept()
        self._refused = {part: self._kept.of(part).bad for part in PARTS}
        while self.on_trial:
            self.roll_back("the program ended while it tried the model")
        for part in TABLES:
            used = self._kept.of(part)
            if used.content and not is_file(self._path(used.content)):  # somebody deleted it: it is read again
                self._kept = self._kept.model_copy(update={part: _Used(bad=used.bad)})
        self._offered = {part: max(self._used(part).number, self._refused[part].refused) for part in PARTS}

    def _used(self, part: str) -> Revision:
        """What the settings of this machine allow of it."""
        is_used = self._settings.accept_settings if part == "settings" else self._settings.accept_models
        return self._kept.of(part) if is_used else Revision()

    @property
    def settings_text(self) -> str:
        """The settings in use, as TOML."""
        return self._used("settings").content

    def model(self, part: str) -> Path | None:
        """The model in use; None for the node's own."""
        path = self.path_of(self._used(part))
        return path if path is not None and is_file(path) else None

    @property
    def on_trial(self) -> str:
        """The part whose model is on trial, or ''."""
        return next((part for part in TABLES if self._kept.of(part).before is not None), "")

    def applied(self) -> dict[str, Applied]:
        """For the health of the node."""
        used = {part: self._used(part) for part in PARTS}
        return {
            part: self._refused[part].model_copy(update={"number": each.number, "fingerprint": each.fingerprint})
            for part, each in used.items()
        }

    # -- from the hub ------------------------------------------------------------------------------------------------

    async def offer(self, stream: "JetStreamContext", desired: Desired) -> None:
        """Checks what is new, and keeps it for ``take`` or refuses it. Raises the errors of the connection."""
        for part in PARTS:
            revision: Revision = getattr(desired, part)
            if revision.is_for(self._settings.node) and revision.number != self._offered[part]:
                is_model = part in TABLES
                fault = await self._check_model(stream, part, revision) if is_model else self._check_settings(revision)
                self._offered[part] = revision.number
                if fault:
                    self.refuse(part, revision, fault)
                else:
                    self._offers[part] = revision

    def _check_settings(self, revision: Revision) -> str:
        if not self._settings.accept_settings:
            return "this node does not accept settings (accept_settings)"
        try:
            read_pushed(revision.content)
        except SettingsError as error:
            return str(error)
        return ""

    async def _check_model(self, stream: "JetStreamContext", part: str, revision: Revision) -> str:
        if not self._settings.accept_models:
            return "this node does not accept models (accept_models)"
        if not revision.content:
            return ""
        content = bytearray()
        sequence = 0
        while len(content) < revision.size:
            subject = f"$O.{MODELS}.C.{revision.nuid}"
            chunk = await stream.get_msg(f"OBJ_{MODELS}", seq=sequence + 1, subject=subject, direct=True, next=True)
            content += chunk.data or b""
            sequence = chunk.seq
        if hashlib.sha256(content).hexdigest() != revision.content:
            return "the model has another SHA-256 than the hub says"
        path = self._path(revision.content)
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
            return await self._try_model(part, path)
        except OSError as error:
            return f"cannot write {path.name}: {error.strerror or error}"

    # -- the main thread -------------------------------------------------------------------------------------------

    def take(self) -> tuple[str, Revision] | None:
        """The next part to use, and its revision; then ``accept`` or ``refuse`` it. A model waits until that of another
        part is no longer on trial: a fault would say nothing about either."""
        for part in PARTS:
            if part in self._offers and (part not in TABLES or self.on_trial in ("", part)):
                return part, self._offers.pop(part)
        return None

    def path_of(self, revision: Revision) -> Path | None:
        """The file of a model; None for the node's own."""
        return self._path(revision.content) if revision.content else None

    def accept(self, part: str, revision: Revision) -> None:
        old, is_tried = self._kept.of(part), part in TABLES and revision.content
        before = (old.before or Revision(**dict(old))) if is_tried else None  # only one that has worked
        self._refused[part] = Applied()
        self._keep(part, _Used(**dict(revision), before=before))
        log.warning("%s revision %d of the hub is used now", TABLES.get(part, part), revision.number)

    def refuse(self, part: str, revision: Revision, reason: str) -> None:
        self._refused[part] = Applied(refused=revision.number, reason=reason[:500])
        log.error("%s revision %d of the hub is refused: %s", TABLES.get(part, part), revision.number, reason)

    def end_trial(self) -> None:
        """The model on trial has worked for some time: old files are deleted."""
        part, oldest_s = self.on_trial, time.time() - KEEP_S
        self._keep(part, self._kept.of(part).model_copy(update={"before": None}))
        used = {self._kept.of(part).content for part in TABLES}
        for path in self._folder.glob("*.tflite"):
            with suppress(OSError):
                if path.stem not in used and path.stat().st_mtime < oldest_s:
                    path.unlink()

    def roll_back(self, reason: str) -> None:
        """Uses the model before the one on trial."""
        part = self.on_trial
        tried = self._kept.of(part)
        assert tried.before is not None
        self.refuse(part, tried, reason)
        self._keep(part, _Used(**dict(tried.before), bad=self._refused[part]))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.tflite"

    def _keep(self, part: str, used: _Used) -> None:
        self._kept = self._kept.model_copy(update={part: used})
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            write_text(self._file, self._kept.model_dump_json(indent=1))
        except OSError as error:
            log.error("cannot keep what the hub sent: %s; it is used until maskwatch ends", error.strerror or error)


async def self_test(part: str, path: Path) -> str:
    """Runs the self-test with a model, as a process of its own: a damaged one may end it. Returns its fault."""
    only = (argument for subject in ("detector", "classifier", "picture") for argument in ("--only", subject))
    argv = (*own_command(), "self-test", "--json", *only, *_FLAGS[part], str(path))
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SELF_TEST_LIMIT_S)
        checks = json.loads(output)["checks"]
        return next((f"self-test: {each['subject']}: {each['words']}" for each in checks if not each["ok"]), "")
    except TimeoutError:
        return f"the self-test did not end within {SELF_TEST_LIMIT_S:.0f} s"
    except (ValueError, KeyError):
        return f"the self-test ended with code {process.returncode}"
    finally:
        if process.returncode is None:
            process.kill()
