"""The models that ``improve`` has made: a file each, named by its fingerprint, with a record beside it."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.errors import ModelError, SettingsError
from app.core.files import atomic_write, files_in, is_file, write_json


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """``result``: what the comparison said. ``replaces``: the file that was in use before it, '' for the bundled one,
    None if it was never in use."""

    fingerprint: str
    created_s: float
    result: str
    replaces: str | None = None


class ModelVersions:
    """The versions in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, version: ModelVersion) -> Path:
        return self.folder / f"{version.fingerprint}.tflite"

    def add(self, fingerprint: str, write: Callable[[Path], None], result: str) -> ModelVersion:
        """``write`` writes the model. Raises OSError."""
        version = ModelVersion(fingerprint, time.time(), result)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(self.file(version)) as partial:
            write(partial)
        self.record(version)
        return version

    def record(self, version: ModelVersion) -> None:
        """Raises OSError."""
        write_json(self.file(version).with_suffix(".json"), asdict(version))

    def all(self) -> Iterator[ModelVersion]:
        """Oldest first. A record that cannot be read, or whose model is missing, is left out. Raises ModelError if the
        folder cannot be read."""
        found = []
        try:
            paths = files_in(self.folder, ".json")
        except OSError as error:
            raise ModelError(f"cannot read {self.folder}: {error.strerror}; check its permissions") from error
        for path in paths:
            try:
                version = ModelVersion(**json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError):
                continue
            if is_file(self.file(version)):
                found.append(version)
        yield from sorted(found, key=lambda each: each.created_s)

    def find(self, name: str) -> ModelVersion:
        """The version whose fingerprint begins with ``name``. Raises SettingsError if it is not one."""
        found = [each for each in self.all() if each.fingerprint.startswith(name)]
        if len(found) != 1:
            known = ", ".join(each.fingerprint for each in self.all()) or "none; 'maskwatch improve' makes them"
            raise SettingsError(f"no version {name!r}; there are: {known}")
        return found[0]

    def at(self, path: Path) -> ModelVersion | None:
        """The version whose file is ``path``."""
        return next((each for each in self.all() if self.file(each).absolute() == path.absolute()), None)
