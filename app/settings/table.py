"""The base of all settings."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict


class SettingsTable(BaseModel):
    """Settings that cannot be changed. An unknown name is an error, and no error shows a value, which may be secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def checked_url(url: str) -> str:
    """Returns ``url``. Raises ValueError if it cannot be read, or its port is not 1 to 65535."""
    try:
        port = urlsplit(url).port
    except ValueError:  # its message may quote a part of the URL
        port = 0
    if port == 0:
        raise ValueError("has no valid host and port; check both")
    return url


def _given(path: object) -> object:
    if path == "":
        raise ValueError("is empty; give a path, or leave it out")
    return path


GivenPath = Annotated[Path, BeforeValidator(_given)]
"""An empty path, as from a variable that is not set, would be the current folder."""
Url = Annotated[str, AfterValidator(checked_url)]
