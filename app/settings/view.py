"""Settings of the display."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ViewSettings(BaseModel):
    """``[view]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    headless: bool = False
    blur: bool = Field(False, description="blur all faces that are shown, recorded or saved")
    fullscreen: bool = False
    keys: bool = Field(False, description="show the list of keys at the start")
    snapshots: Path = Field(Path(), description="folder for snapshots (key s) and recordings (key r)")
    max_width_px: int = Field(
        1280, ge=160, le=7680, description="maximum width of a new window; its height is at most 9/16 of it"
    )
    theme: Literal["dark", "light"] = Field("dark", description="colours of everything but the labels of faces")
    large_text: bool = Field(False, description="larger text, for people who read it from a distance")
    verbose: bool = Field(False, description="show probabilities, numbers of people and frame rates (key v)")
