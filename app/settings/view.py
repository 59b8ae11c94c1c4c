"""Settings of the display."""

from pathlib import Path

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
        1280, ge=160, le=7680, description="maximum width of the image in the window; its height is at most 9/16 of it"
    )
