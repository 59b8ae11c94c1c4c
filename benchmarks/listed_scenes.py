"""Reads annotated scenes: all of a file, or those in a list of ``models/held_back.json``."""

import json
from pathlib import Path

from app.training.detector.scene_reader import read_scenes
from app.training.types import Scene

HELD_BACK = Path(__file__).resolve().parents[1] / "models" / "held_back.json"


def listed_scenes(annotations: Path, pictures: str | None) -> list[Scene]:
    scenes = read_scenes(annotations)
    if pictures is None:
        return scenes
    names = set(json.loads(HELD_BACK.read_text("utf-8"))[pictures])
    return [scene for scene in scenes if scene.path.name in names]
