"""Settings of finding, naming and following faces."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

DEFAULT_WIDTH_PX = 640
DEFAULT_LEAST_PX = 30
MOST_WIDTH_PX = 4096


def _pixels(value: object) -> object:
    """``40px`` is 40: people write the unit. Raises ValueError for other words."""
    if not isinstance(value, str):
        return value
    digits = value.strip().removesuffix("px").strip()
    if not digits.isdecimal():
        raise ValueError(f"{value!r} is no number of pixels, such as 40 or 40px")
    return digits


def _numbers(value: object) -> object:
    """``0,0.2,1,0.6``, as on a command line, is a list. Raises ValueError where there are not four."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise ValueError("a region is four numbers: x, y, width, height")
    return parts


Pixels = Annotated[int, BeforeValidator(_pixels)]
Region = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers)]


class DetectorSettings(BaseModel):
    """``[detector]``. The default is the shipped network, which finds masked faces too. Haar's defaults are the paper's
    (scale factor 1.10, 4 neighbours)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["haar", "cnn"] = "cnn"
    model: Path | None = Field(None, description="detector file; the bundled one where not given")
    precision: Literal["int8", "float32"] = Field(
        "int8",
        description="cnn: arithmetic of the bundled network; float32 is faster on processors without int8 dot products",
    )
    working_width_px: Pixels | None = Field(
        None,
        ge=64,
        le=MOST_WIDTH_PX,
        description=f"wider frames are shrunk to it before detection; {DEFAULT_WIDTH_PX} if not given, unless "
        "min_face_px chooses it",
    )
    min_face_px: Pixels | None = Field(
        None,
        ge=8,
        description="smallest face looked for, in source pixels; frames are shrunk as far as it allows, unless "
        f"working_width_px or tiles is given; {DEFAULT_LEAST_PX} if not given",
    )
    tiles: str | None = Field(
        None,
        description="wide scenes are looked at whole and in overlapping tiles, each at the working width: '3x1' for 3 "
        "columns, 1 row; 'auto' for as many as min_face_px needs",
    )
    region: Region | None = Field(
        None, description="only this part of the picture is searched: [x, y, width, height] as fractions from 0 to 1"
    )
    score: float | None = Field(None, ge=0, le=1, description="cnn: lowest score; the model's own if not given")
    scale_factor: float = Field(1.10, gt=1.0, le=2.0, description="haar: step between window sizes")
    min_neighbors: int = Field(4, ge=0, le=50, description="haar: overlapping hits that make a face")
    equalize: bool = Field(False, description="haar: equalise the histogram first")
    profile: bool = Field(False, description="haar: look for faces seen from the side too")
    full_look_s: float = Field(
        0.25,
        ge=0,
        le=10,
        description="between looks at the whole picture, only faces like those known are sought; 0: off",
    )
    still_look_s: float = Field(
        1.0, ge=0, le=10, description="a picture in which nothing moves is looked at again after it; 0: at once"
    )
    threads: int = Field(2, ge=1, le=64, description="most cores for one call; fewer where cameras share them")

    @field_validator("tiles")
    @classmethod
    def _is_a_grid(cls, tiles: str | None) -> str | None:
        if tiles is not None and tiles != "auto" and not re.fullmatch(r"[2-9]x[1-9]", tiles):
            raise ValueError("tiles are 'auto', or 2 to 9 columns and 1 to 9 rows, such as '2x1'")
        return tiles

    @field_validator("region")
    @classmethod
    def _is_inside(cls, region: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        if region is not None:
            x, y, width, height = region
            if not (
                x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= 1 + 1e-6 and y + height <= 1 + 1e-6
            ):
                raise ValueError("a region is x, y, width, height from 0 to 1 and lies inside the picture")
        return region

    @property
    def width_px(self) -> int:
        """The working width where nothing chooses another."""
        return DEFAULT_WIDTH_PX if self.working_width_px is None else self.working_width_px

    @property
    def least_px(self) -> int:
        """The smallest face to report, source pixels."""
        return DEFAULT_LEAST_PX if self.min_face_px is None else self.min_face_px


class ClassifierSettings(BaseModel):
    """``[classifier]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["litert", "keras"] = "litert"
    model: Path | None = Field(None, description="model file; the bundled one where not given")
    max_batch: int = Field(32, ge=1, le=256, description="most crops of one frame that are asked at once")
    threads: int = Field(2, ge=1, le=64, description="processor cores that one call may use")


class TrackingSettings(BaseModel):
    """``[tracking]``. Times are stream times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confirm_after: int = Field(3, ge=1, le=100, description="detections before a face counts")
    lost_after_s: float = Field(1.5, gt=0, le=60, description="a face unseen for so long has left")
    shown_for_s: float = Field(0.4, ge=0, le=10, description="a face unseen for so long is no longer drawn")
    smooth_s: float = Field(0.5, gt=0, le=10, description="time constant of the label's smoothing")
    settled_confidence: float = Field(0.9, ge=0.5, le=1, description="smoothed probability that settles a label")
    settled_after: int = Field(4, ge=1, le=100, description="labels of one kind that settle it")
    recheck_s: float = Field(1.0, gt=0, le=60, description="a settled, still face is classified again after it")
    recheck_moving_s: float = Field(0.25, gt=0, le=60, description="the same for a settled face that moves")
