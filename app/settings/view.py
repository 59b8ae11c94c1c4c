"""Settings of what is shown."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ViewSettings(BaseModel):
    """``[view]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    headless: bool = False
    blur: bool = Field(False, description="blur faces in what is shown, recorded and saved")
    fullscreen: bool = False
    keys: bool = Field(False, description="begin with the list of keys shown")
    snapshots: Path = Field(Path(), description="folder for snapshots (s) and recordings (r)")
    max_width_px: int = Field(
        1280, ge=160, le=7680, description="widest picture drawn in the window, whose height is 9/16 of it at most"
    )
