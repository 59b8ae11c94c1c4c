"""The base of all settings."""

from pydantic import BaseModel, ConfigDict


class SettingsTable(BaseModel):
    """Settings that cannot be changed. An unknown name is an error, and no error shows a value, which may be secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
