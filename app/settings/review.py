"""Settings of what is kept for review: clips of events, and collected faces."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from app.settings.table import GivenPath, SettingsTable


class ClipSettings(SettingsTable):
    """``[clips]``: a short video of each event. Nothing leaves the memory unless ``enabled``."""

    enabled: bool = Field(False, description="store a short video of each stored event")
    before_s: float = Field(5.0, ge=0, le=15, description="length of the video before the event")
    after_s: float = Field(5.0, ge=0, le=15, description="length of the video after the event")
    faces: Literal["blur_others", "blur_all", "show"] = Field(
        "blur_others", description="blur all faces but that of the event, all faces, or none; view.blur blurs all"
    )
    annotated: bool = Field(False, description="draw boxes and labels into the video; else the review page shows them")
    max_fps: float = Field(10.0, ge=1, le=25, description="maximum images per second")
    max_width_px: int = Field(1280, ge=160, le=1920, description="wider images are shrunk to this width")
    ring_mb: float = Field(
        20.0, ge=1, le=20, description="maximum memory for the images of one camera; the JPEG quality follows it"
    )
    folder: GivenPath | None = Field(
        None, description="folder of the videos; if not given, a folder beside the event file: events.db.clips"
    )
    keep_days: float = Field(7.0, gt=0, description="days after which videos are deleted")
    max_mb: float = Field(1000.0, ge=1, description="maximum size of the folder; the oldest videos are deleted")

    def folder_of(self, store: Path) -> Path:
        """Where the videos of the events in ``store`` are."""
        return self.folder if self.folder is not None else store.with_name(f"{store.name}.clips")


class CollectSettings(SettingsTable):
    """``[collect]``: faces that are kept to improve the model. Nothing is kept unless ``enabled``."""

    enabled: bool = Field(False, description="keep pictures of faces that the model is unsure or wrong about")
    per_day: int = Field(50, ge=1, le=1000, description="maximum faces per day; half of them are for events")
    random_per_day: float = Field(5.0, ge=0, le=100, description="faces per day that are chosen at random")
    scenes: bool = Field(True, description="keep the whole picture too, with all other faces blurred; else only crops")
    folder: GivenPath | None = Field(
        None, description="folder of the faces; if not given, a folder beside the event file: events.db.collected"
    )
    keep_days: float = Field(30.0, gt=0, description="days after which faces are deleted")
    max_mb: float = Field(500.0, ge=1, description="maximum size of the folder; the oldest faces are deleted")

    def folder_of(self, store: Path) -> Path:
        """Where the faces that are collected beside ``store`` are."""
        return self.folder if self.folder is not None else store.with_name(f"{store.name}.collected")


class DriftSettings(SettingsTable):
    """``[drift]``: compares what a live camera sees with its first week. Only numbers are kept, no pictures."""

    enabled: bool = Field(
        False, description="report a camera that is darker, blurred, covered or moved, or sees faces in another way"
    )
    learn_days: float = Field(7.0, ge=1, le=60, description="days from which the usual state of a camera is learned")
    every_s: float = Field(10.0, ge=1, le=600, description="time between two measured images")
