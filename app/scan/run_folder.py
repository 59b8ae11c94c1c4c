"""The folder of one scan: what is planned, what is done and what failed. Only the process that holds its lock writes.

``manifest.parquet`` and ``recordings.parquet`` are written once. A shard is done when its line is in ``done.jsonl`` and
``shards/ID.parquet`` has the bytes that the line says; the file is renamed into place before the line is written.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from app import __version__
from app.alerts.file_lock import StoreLock
from app.capture.recording_reader import Part
from app.core.errors import OutputError, SettingsError
from app.core.files import atomic_write, output_errors, write_json
from app.scan import tables
from app.scan.analysis import Shard, ShardResult
from app.scan.tables import Row
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

SCHEMA = 1
_TABLES = ("detector", "classifier", "tracking", "policy")
_OF_CAMERA = {"rotate", "flip", "aspect_ratio", "timezone", "detector", "policy", "tracking"}
_OF_SCAN = {"every_s", "key_frames", "timezone"}


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """The settings of a scan. ``common`` and ``cameras`` (by name) contain only what the user has set, and nothing of
    alerts and addresses. ``models``: the hash of the models of each camera, '' for cameras without own settings."""

    common: dict[str, Any]
    camera: dict[str, Any]
    cameras: dict[str, dict[str, Any]]
    models: dict[str, str]
    thumbnails: bool = False

    @classmethod
    def of(cls, settings: Settings, template: CameraSettings, models: dict[str, str], thumbnails: bool) -> Self:
        """``template``: the settings of all cameras of the scan."""
        common = settings.model_dump(mode="json", include=set(_TABLES), exclude_unset=True)
        own = {
            each.name: each.model_dump(mode="json", include=_OF_CAMERA, exclude_unset=True) for each in settings.camera
        }
        every = template.model_dump(mode="json", include=_OF_CAMERA | _OF_SCAN, exclude_unset=True)
        return cls(common, every, {name: values for name, values in own.items() if values}, models, thumbnails)

    def load(self, camera: str) -> tuple[Settings, CameraSettings]:
        """Raises SettingsError if another version wrote settings that do not exist here."""
        try:
            own = {**self.camera, **self.cameras.get(camera, {}), "uri": "scan", "name": camera}
            return Settings(**self.common), CameraSettings(**own)
        except ValidationError as error:
            raise SettingsError(f"the settings of this scan are of another version of maskwatch: {error}") from error

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """``start_from``: where the time of its start is from. ``estimate_core_s``: expected processor time."""

    shard: Shard
    start_from: str
    lead_in_s: float
    estimate_core_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """``hours``: length of all videos. ``files``: their number, without those that are ``unreadable``."""

    settings: ScanSettings
    shards: tuple[PlannedShard, ...]
    hours: float
    files: int
    unreadable: tuple[UnreadableFile, ...]


@dataclass(frozen=True, slots=True)
class DoneShard:
    """A line of ``done.jsonl``: who analysed a shard, how fast, and the hash of its result."""

    shard_id: str
    node: str
    seconds: float
    cpu_s: float
    frames: int
    sha256: str
    attempt: int


@dataclass(frozen=True, slots=True)
class FailedShard:
    """A line of ``failed.jsonl``."""

    shard_id: str
    path: str
    attempt: int
    reason: str


class RunFolder:
    """Raises OutputError if a file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _shards(self) -> Path:
        return self.path / "shards"

    def create(self, plan: Plan) -> None:
        """Writes the plan. The results of shards that are in both plans stay. Raises OutputError."""
        recordings: dict[str, Row] = {}
        manifest: list[Row] = []
        for each in plan.shards:
            shard = each.shard
            for part in shard.parts:
                recordings[f"{shard.origin} {part.offset_s} {part.uri}"] = {"recording": shard.origin, **asdict(part)}
            manifest.append(
                {
                    "shard_id": shard.id,
                    "recording": shard.origin,
                    "path": shard.path,
                    "size": sum(part.size for part in shard.parts),
                    "camera": shard.camera,
                    "start_wall_s": shard.wall_s,
                    "start_from": each.start_from,
                    "start_s": shard.start_s,
                    "end_s": shard.end_s,
                    "lead_in_s": each.lead_in_s,
                    "estimate_core_s": each.estimate_core_s,
                }
            )
        with output_errors(f"to {self.path}", "free some space or choose another --out, then plan again"):
            self._shards.mkdir(parents=True, exist_ok=True)
            _write(self.path / "recordings.parquet", tables.encode(list(recordings.values()), tables.RECORDINGS))
            _write(self.path / "manifest.parquet", tables.encode(manifest, tables.MANIFEST))
            write_json(
                self.path / "run.json",
                {
                    "schema": SCHEMA,
                    "version": __version__,
                    "hours": plan.hours,
                    "files": plan.files,
                    "settings": asdict(plan.settings),
                    "unreadable": [asdict(each) for each in plan.unreadable],
                },
            )

    def plan(self) -> Plan:
        """Raises OutputError if the folder has no plan."""
        try:
            run = json.loads((self.path / "run.json").read_text("utf-8"))
            manifest = self._table("manifest.parquet")
            recordings = self._table("recordings.parquet")
        except FileNotFoundError as error:
            raise OutputError(f"{self.path} is no planned scan; run 'maskwatch scan plan ARCHIVE --out DIR'") from error
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read the plan in {self.path}: {error}; plan again") from error
        if run.get("schema") != SCHEMA:
            raise OutputError(f"{self.path} was planned by another version of maskwatch; plan again")
        parts: dict[str, list[Part]] = {}
        for row in recordings:
            parts.setdefault(row.pop("recording"), []).append(Part(**row))
        shards = [
            PlannedShard(
                Shard(
                    id=row["shard_id"],
                    origin=row["recording"],
                    camera=row["camera"],
                    wall_s=row["start_wall_s"],
                    start_s=row["start_s"],
                    end_s=row["end_s"],
                    parts=tuple(parts[row["recording"]]),
                ),
                row["start_from"],
                row["lead_in_s"],
                row["estimate_core_s"],
            )
            for row in manifest
        ]
        unreadable = tuple(UnreadableFile(**each) for each in run["unreadable"])
        return Plan(ScanSettings(**run["settings"]), tuple(shards), run["hours"], run["files"], unreadable)

    def _table(self, name: str) -> list[Row]:
        return tables.decode((self.path / name).read_bytes(), str(self.path / name))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock, and deletes what a killed run has left. Raises OutputError if another process holds it."""
        lock = StoreLock(self.path / "scan")
        if not lock.take():
            raise OutputError(f"another maskwatch is scanning {self.path}; wait for it, or stop it")
        try:
            for partial in self._shards.glob(".*.part.parquet"):
                partial.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def done(self) -> dict[str, DoneShard]:
        """The shards whose result is complete, by id."""
        lines = (DoneShard(**line) for line in self._lines("done.jsonl"))
        return {line.shard_id: line for line in lines if self.content(line) is not None}

    def content(self, line: DoneShard) -> bytes | None:
        """The result of a shard as it was written; None if it is missing or has changed."""
        try:
            content = self._result(line.shard_id).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == line.sha256 else None

    def result(self, line: DoneShard) -> ShardResult | None:
        content = self.content(line)
        return None if content is None else tables.decode_result(content, str(self._result(line.shard_id)))

    def failed(self) -> dict[str, FailedShard]:
        """The last failure of each shard that is not done, by id."""
        done = self.done()
        lines = (FailedShard(**line) for line in self._lines("failed.jsonl"))
        return {line.shard_id: line for line in lines if line.shard_id not in done}

    def commit(self, line: DoneShard, content: bytes) -> None:
        """Writes the result of a shard, then its line. Raises OutputError."""
        with _output_errors(self.path):
            _write(self._result(line.shard_id), content)
            self._append("done.jsonl", asdict(line))

    def fail(self, line: FailedShard) -> None:
        """Raises OutputError."""
        with _output_errors(self.path):
            self._append("failed.jsonl", asdict(line))

    def forget_failures(self) -> None:
        with _output_errors(self.path):
            (self.path / "failed.jsonl").unlink(missing_ok=True)

    def _result(self, shard_id: str) -> Path:
        return self._shards / f"{shard_id}.parquet"

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of a file; the last one may be incomplete after a kill and is then left out."""
        try:
            text = (self.path / name).read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"cannot read {self.path / name}: {error.strerror or error}; check it") from error
        lines = []
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines

    def _append(self, name: str, record: dict[str, Any]) -> None:
        """An incomplete line before it, after a kill or a full disk, is ended first."""
        with (self.path / name).open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _output_errors(folder: Path) -> AbstractContextManager[None]:
    return output_errors(f"to {folder}", f"free some space, then run 'maskwatch scan resume {folder}'")
