"""The base of all settings."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict


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


Url = Annotated[str, AfterValidator(checked_url)]
