"""Settings of the detector, the classifier and the tracker."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from app.settings.table import GivenPath, SettingsTable

DEFAULT_WIDTH_PX = 640
DEFAULT_MIN_FACE_PX = 30
DEFAULT_THREADS = 2
MAX_WIDTH_PX = 4096
LEAST_FACE_PX = 8
"""Smaller faces look like noise."""

SURE_SCORE = 0.75
"""Score with which the detector reports a sure face."""


def _pixels(value: object) -> object:
    """``40px`` is 40, because people write the unit. Raises ValueError for other text."""
    if not isinstance(value, str):
        return value
    digits = value.strip().removesuffix("px").strip()
    if not digits.isdecimal():
        raise ValueError(f"{value!r} is not a number of pixels; write 40 or 40px")
    return digits


def _numbers(value: object) -> object:
    """Split ``0,0.2,1,0.6`` from the command line. Raises ValueError if there are not four numbers."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise ValueError("a region has four numbers: x, y, width, height")
    return parts


DetectorBackend = Literal["auto", "litert", "openvino", "onnx", "onnx-cuda", "onnx-directml", "onnx-coreml"]
Pixels = Annotated[int, BeforeValidator(_pixels)]
Region = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers)]


class DetectorSettings(SettingsTable):
    """``[detector]``. The default is the bundled network, which also finds masked faces. The defaults for Haar are
    those of the paper (scale factor 1.10, 4 neighbours)."""

    kind: Literal["haar", "cnn"] = "cnn"
    model: GivenPath | None = Field(None, description="detector file; the bundled one if not given")
    backend: DetectorBackend = Field(
        "litert",
        description="cnn: library that runs the network; auto: the fastest that 'maskwatch doctor' has measured here",
    )
    precision: Literal["auto", "int8", "float32"] = Field(
        "auto",
        description="cnn: number format of the bundled network; auto: the faster one that 'maskwatch doctor' has "
        "measured here, before that int8",
    )
    working_width_px: Pixels | None = Field(
        None,
        ge=64,
        le=MAX_WIDTH_PX,
        description="wider frames are shrunk to this width before detection; if not given, it follows from "
        f"min_face_px or is {DEFAULT_WIDTH_PX}",
    )
    min_face_px: Pixels | None = Field(
        None,
        ge=LEAST_FACE_PX,
        description="smallest face that is searched, in source pixels; frames are shrunk as far as it allows, unless "
        f"working_width_px or tiles is given; {DEFAULT_MIN_FACE_PX} if not given",
    )
    tiles: str | None = Field(
        None,
        description="search wide scenes as a whole and in overlapping tiles, each at the working width: '3x1' for 3 "
        "columns and 1 row, 'auto' for as many as min_face_px needs",
    )
    region: Region | None = Field(
        None, description="search only this part of the frame: [x, y, width, height] as fractions from 0 to 1"
    )
    score: float | None = Field(
        None, ge=0, le=1, description="cnn: minimum score of a face; the model's value if not given"
    )
    sure_score: float = Field(
        SURE_SCORE,
        ge=0,
        le=1,
        description="cnn: score of a sure face; a person needs tracking.confirm_after of them, or more of lower score",
    )
    scale_factor: float = Field(1.10, gt=1.0, le=2.0, description="haar: step between window sizes")
    min_neighbors: int = Field(4, ge=0, le=50, description="haar: number of overlapping detections that make a face")
    equalize: bool = Field(False, description="haar: equalise the histogram before detection")
    profile: bool = Field(False, description="haar: also search faces in profile")
    full_look_s: float = Field(
        1.0,
        ge=0,
        le=10,
        description="time between detection passes over the whole frame; between them, only the surroundings of "
        "tracked faces and, every 0.2 s, the parts that moved are searched; 0: every pass covers the whole frame",
    )
    still_look_s: float = Field(
        1.0,
        ge=0,
        le=10,
        description="time after which a frame without motion is searched again, twice as long while nobody is in view; "
        "0: every frame is searched",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="maximum cores per inference, fewer if several cameras share them; if not given, what 'maskwatch "
        f"doctor' has measured here, before that {DEFAULT_THREADS}",
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _was_yunet(cls, kind: object) -> object:
        """Raises ValueError for a kind of version 0.1.0."""
        if kind == "yunet":
            raise ValueError("'yunet' is the default now, as 'cnn'; remove this setting, and model if it is set")
        return kind

    @field_validator("tiles")
    @classmethod
    def _is_a_grid(cls, tiles: str | None) -> str | None:
        if tiles is not None and tiles != "auto" and not re.fullmatch(r"[2-9]x[1-9]", tiles):
            raise ValueError("tiles must be 'auto', or 2 to 9 columns and 1 to 9 rows, such as '2x1'")
        return tiles

    @field_validator("region")
    @classmethod
    def _is_inside(cls, region: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if region is not None:
            x, y, width, height = region
            if not (
                x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= 1 + 1e-6 and y + height <= 1 + 1e-6
            ):
                raise ValueError("a region is x, y, width, height from 0 to 1 and must be inside the frame")
        return region

    @property
    def max_threads(self) -> int:
        """The maximum cores per inference, or its default."""
        return DEFAULT_THREADS if self.threads is None else self.threads

    @property
    def width_px(self) -> int:
        """The working width, or its default."""
        return DEFAULT_WIDTH_PX if self.working_width_px is None else self.working_width_px

    @property
    def sets_width(self) -> bool:
        """Whether the settings decide how far frames are shrunk."""
        return any(each is not None for each in (self.working_width_px, self.min_face_px, self.tiles))

    @property
    def least_px(self) -> int:
        """The smallest face to report, in source pixels, or its default."""
        return DEFAULT_MIN_FACE_PX if self.min_face_px is None else self.min_face_px


class ClassifierSettings(SettingsTable):
    """``[classifier]``."""

    backend: Literal[DetectorBackend, "keras"] = Field(
        "litert",
        description="library that runs the network; auto: the fastest that 'maskwatch doctor' has measured here",
    )
    model: GivenPath | None = Field(None, description="model file; a bundled one if not given")
    models: Literal["default", "open"] = Field(
        "default",
        description="bundled models; open: its classifier learned only from data published for commercial use too",
    )
    max_batch: int = Field(32, ge=1, le=256, description="maximum crops per inference")
    threads: int = Field(2, ge=1, le=64, description="maximum cores per inference")


class TrackingSettings(SettingsTable):
    """``[tracking]``. All times are stream time."""

    confirm_after: int = Field(3, ge=1, le=100, description="detections that confirm a face")
    lost_after_s: float = Field(1.5, gt=0, le=60, description="a face that is not detected for this time has left")
    shown_for_s: float = Field(
        0.4, ge=0, le=10, description="a face that is not detected for this time is no longer drawn"
    )
    smooth_s: float = Field(0.5, gt=0, le=10, description="time constant of the label smoothing")
    settled_confidence: float = Field(
        0.9, ge=0.5, le=1, description="smoothed probability above which a label is settled"
    )
    settled_after: int = Field(4, ge=1, le=100, description="equal labels in a row that settle a label")
    recheck_s: float = Field(1.0, gt=0, le=60, description="time after which a settled, still face is classified again")
    recheck_moving_s: float = Field(0.25, gt=0, le=60, description="the same time for a settled face that moves")
