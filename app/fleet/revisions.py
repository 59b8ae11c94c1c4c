"""The settings and the classifier that the hub sent to this node, kept in a folder, and what became of them."""

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from app.core.errors import SettingsError
from app.core.files import atomic_write, write_text
from app.core.own_command import own_command
from app.fleet.messages import MODELS, Applied, Desired, Revision
from app.settings.fleet import FleetSettings
from app.settings.pushed import read_pushed

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

SELF_TEST_LIMIT_S = 120.0
TryModel = Callable[[Path], Awaitable[str]]
PARTS = ("settings", "model")


class _Kept(BaseModel):
    """The content of the file. ``before``: the model before ``model``, which is ``on_trial`` until it has worked for
    some time. ``bad``: a model that ended the program."""

    settings: Revision = Revision()
    model: Revision = Revision()
    before: Revision = Revision()
    on_trial: bool = False
    bad: Applied = Applied()


class NodeRevisions:
    """``offer``, ``refuse`` and ``applied`` are called by the fleet's thread too, all else by the main thread."""

    def __init__(self, settings: FleetSettings, folder: Path, try_model: TryModel | None = None) -> None:
        """``try_model`` returns why a model does not work on this machine, or ''; default: ``self_test``."""
        self._settings = settings
        self._folder = folder
        self._file = folder / "revisions.json"
        self._try_model = try_model or self_test
        self._offers: deque[tuple[str, Revision]] = deque()
        self._refused = dict.fromkeys(PARTS, Applied())
        try:
            self._kept = _Kept.model_validate_json(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            self._kept = _Kept()
        if self._kept.on_trial:
            self.roll_back("the program ended while it tried the model")
        if self._kept.model.content and not self._path(self._kept.model.content).is_file():
            self._kept.model = Revision()  # somebody deleted the file: it is read again
        self._refused["model"] = self._kept.bad
        self._offered = {part: max(self._number(part), self._refused[part].refused) for part in PARTS}

    def _number(self, part: str) -> int:
        revision: Revision = getattr(self._kept, part)
        is_used = self._settings.accept_settings if part == "settings" else self._settings.accept_models
        return revision.number if is_used else 0

    @property
    def settings_text(self) -> str:
        """The settings in use, as TOML."""
        return self._kept.settings.content if self._settings.accept_settings else ""

    @property
    def model(self) -> Path | None:
        """The model in use; None for the node's own."""
        name = self._kept.model.content if self._settings.accept_models else ""
        path = self._path(name)
        return path if name and path.is_file() else None

    @property
    def is_on_trial(self) -> bool:
        return self._kept.on_trial

    def applied(self) -> dict[str, Applied]:
        """For the health of the node."""
        return {part: self._refused[part].model_copy(update={"number": self._number(part)}) for part in PARTS}

    # -- from the hub ------------------------------------------------------------------------------------------------

    async def offer(self, stream: "JetStreamContext", desired: Desired) -> None:
        """Checks what is new, and keeps it for ``take`` or refuses it. Raises the errors of the connection."""
        for part in PARTS:
            revision: Revision = getattr(desired, part)
            if revision.is_for(self._settings.node) and revision.number != self._offered[part]:
                check = self._check_settings if part == "settings" else self._check_model
                fault = await check(stream, revision)
                self._offered[part] = revision.number
                if fault:
                    self.refuse(part, revision, fault)
                else:
                    self._offers.append((part, revision))

    async def _check_settings(self, stream: "JetStreamContext", revision: Revision) -> str:  # noqa: ARG002 - as a model
        if not self._settings.accept_settings:
            return "this node does not accept settings (accept_settings)"
        try:
            read_pushed(revision.content)
        except SettingsError as error:
            return str(error)
        return ""

    async def _check_model(self, stream: "JetStreamContext", revision: Revision) -> str:
        if not self._settings.accept_models:
            return "this node does not accept models (accept_models)"
        if not revision.content:
            return ""
        content = bytearray()
        sequence = 0
        while len(content) < revision.size:
            subject = f"$O.{MODELS}.C.{revision.nuid}"
            part = await stream.get_msg(f"OBJ_{MODELS}", seq=sequence + 1, subject=subject, direct=True, next=True)
            content += part.data or b""
            sequence = part.seq
        if hashlib.sha256(content).hexdigest() != revision.content:
            return "the model has another SHA-256 than the hub says"
        path = self._path(revision.content)
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
            return await self._try_model(path)
        except OSError as error:
            return f"cannot write {path.name}: {error.strerror or error}"

    # -- the main thread -------------------------------------------------------------------------------------------

    def take(self) -> tuple[str, Revision] | None:
        """The next part (``settings`` or ``model``) to use, and its revision; then ``accept`` or ``refuse`` it."""
        return self._offers.popleft() if self._offers else None

    def path_of(self, revision: Revision) -> Path | None:
        """The file of a model; None for the node's own."""
        return self._path(revision.content) if revision.content else None

    def accept(self, part: str, revision: Revision) -> None:
        changes: dict[str, object] = {part: revision}
        if part == "model":
            before = self._kept.before if self._kept.on_trial else self._kept.model  # only one that has worked
            changes |= {"before": before, "on_trial": bool(revision.content), "bad": Applied()}
        self._refused[part] = Applied()
        self._keep(changes)
        log.warning("%s revision %d of the hub is used now", part, revision.number)

    def refuse(self, part: str, revision: Revision, reason: str) -> None:
        self._refused[part] = Applied(refused=revision.number, reason=reason[:500])
        log.error("%s revision %d of the hub is refused: %s", part, revision.number, reason)

    def end_trial(self) -> None:
        """The model has worked for some time: older files are deleted."""
        self._keep({"on_trial": False})
        for path in self._folder.glob("*.tflite"):
            if path.stem not in (self._kept.model.content, self._kept.before.content):
                with suppress(OSError):
                    path.unlink()

    def roll_back(self, reason: str) -> None:
        """Uses the model before the one on trial."""
        self.refuse("model", self._kept.model, reason)
        self._keep({"model": self._kept.before, "on_trial": False, "bad": self._refused["model"]})

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.tflite"

    def _keep(self, changes: dict[str, object]) -> None:
        self._kept = self._kept.model_copy(update=changes)
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            write_text(self._file, self._kept.model_dump_json(indent=1))
        except OSError as error:
            log.error("cannot keep what the hub sent: %s; it is used until maskwatch ends", error.strerror or error)


async def self_test(path: Path) -> str:
    """Runs the self-test with a classifier, as a process of its own: a damaged model may end it. Returns its fault."""
    only = (argument for subject in ("detector", "classifier", "picture") for argument in ("--only", subject))
    argv = (*own_command(), "self-test", "--json", *only, "--backend", "litert", "--model", str(path))
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
