"""Settings of the display."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from app.settings.table import GivenPath, SettingsTable

LANGUAGES = ("en", "de", "fr", "es", "pt", "id", "zh", "ja", "ar")
"""The languages of the kiosk's sentences."""


class KioskSentences(SettingsTable):
    """``[view.sentences]``: the user's own sentences; an empty one is taken from the language."""

    thank_you: str = Field("", max_length=200, description="said to people who wear a mask")
    wear_mask: str = Field("", max_length=200, description="said to people without a mask")
    cover_nose: str = Field("", max_length=200, description="said to people whose nose or mouth is bare")
    unsure: str = Field("", max_length=200, description="said while the label is not certain")
    idle: str = Field("", max_length=200, description="said below the clock while nobody is in view")


class ViewSettings(SettingsTable):
    """``[view]``."""

    headless: bool = False
    blur: bool = Field(False, description="blur all faces that are shown, recorded or saved")
    fullscreen: bool = False
    keys: bool = Field(False, description="show the list of keys at the start")
    snapshots: GivenPath = Field(Path(), description="folder for snapshots (key s) and recordings (key r)")
    max_width_px: int = Field(
        1280, ge=160, le=7680, description="maximum width of a new window; its height is at most 9/16 of it"
    )
    theme: Literal["dark", "light"] = Field("dark", description="colours of everything but the labels of faces")
    large_text: bool = Field(False, description="larger text, for people who read it from a distance")
    verbose: bool = Field(False, description="show probabilities, numbers of people and frame rates (key v)")
    kiosk: bool = Field(False, description="full screen for an entrance: one large sentence to the people in view")
    language: str = Field("", description=f"language of the kiosk: {', '.join(LANGUAGES)}; empty: that of the system")
    sentences: KioskSentences = KioskSentences()
    kiosk_sound: Literal["off", "chime", "voice"] = Field(
        "chime", description="sound of the kiosk when its sentence changes: none, a chime, or the voice of the system"
    )
    kiosk_mirror: bool = Field(True, description="mirror the picture of the kiosk, so that people see themselves")
    keep_awake: bool = Field(
        True, description="while a window is open, keep the screen from blanking and the machine from sleeping"
    )

    @model_validator(mode="after")
    def _kiosk_has_a_window(self) -> Self:
        if self.kiosk and self.headless:
            raise ValueError("kiosk needs a window, and headless has none; set one of them")
        return self

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str) -> str:
        short = language.strip().lower().replace("_", "-").partition("-")[0]
        if language.strip() and short not in LANGUAGES:
            raise ValueError(
                f"{language!r} has no sentences; choose from {', '.join(LANGUAGES)}, or write [view.sentences]"
            )
        return short
