"""What the user chose in the start screen, kept for the next start. Cameras are kept by name: numbers change."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from app.capture.cameras import CameraDevice, camera_with
from app.core.files import write_json
from app.core.user_folders import data_folder


class ChoiceKind(StrEnum):
    CAMERA = "camera"
    ADDRESS = "address"
    FILE = "file"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Choice:
    """``value``: the key of a camera, an address or a path. ``name``: what people call it."""

    kind: ChoiceKind
    value: str = ""
    name: str = ""

    def uri(self, cameras: Sequence[CameraDevice]) -> str:
        """What ``--source`` takes; '' for a camera that is not connected."""
        if self.kind is ChoiceKind.CAMERA:
            camera = camera_with(self.value, cameras)
            return camera.uri if camera else ""
        return "demo" if self.kind is ChoiceKind.DEMO else self.value


def choice_file() -> Path:
    return data_folder() / "last-choice.json"


def load_choice(path: Path) -> Choice | None:
    """None if nothing was kept, or the file is damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        choice = Choice(ChoiceKind(kept["kind"]), kept["value"], kept["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return choice if isinstance(choice.value, str) and isinstance(choice.name, str) else None


def save_choice(path: Path, choice: Choice) -> None:
    """Only this user may read it, because an address may contain a password. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    write_json(path, asdict(choice))
