"""Settings of finding, naming and following faces."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DetectorSettings(BaseModel):
    """``[detector]``. The default is the shipped network, which finds masked faces too. Haar's defaults are the paper's
    (scale factor 1.10, 4 neighbours)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["haar", "cnn", "yunet"] = "cnn"
    model: Path | None = Field(None, description="detector file; the bundled one where not given")
    working_width_px: int = Field(640, ge=64, le=4096, description="wider frames are shrunk to it before detection")
    min_face_px: int = Field(30, ge=8, description="smallest face looked for, in source pixels")
    score: float | None = Field(None, ge=0, le=1, description="cnn, yunet: lowest score; the model's own if not given")
    scale_factor: float = Field(1.10, gt=1.0, le=2.0, description="haar: step between window sizes")
    min_neighbors: int = Field(4, ge=0, le=50, description="haar: overlapping hits that make a face")
    equalize: bool = Field(False, description="haar: equalise the histogram first")
    full_look_s: float = Field(
        0.25,
        ge=0,
        le=10,
        description="between looks at the whole picture, only faces like those known are sought; 0: off",
    )
    still_look_s: float = Field(
        0.5, ge=0, le=10, description="a picture in which nothing moves is looked at again after it; 0: at once"
    )
    threads: int = Field(2, ge=1, le=64, description="most cores for one call; fewer where cameras share them")


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
