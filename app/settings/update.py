"""Where ``maskwatch update --check`` asks for the newest version."""

from pydantic import BaseModel, ConfigDict, Field


class UpdateSettings(BaseModel):
    """``[update]``: used by 'maskwatch update --check' only. No other command asks for versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+(/\S*)?$",
        description="what is asked: the JSON of a GitHub release "
        "(https://api.github.com/repos/OWNER/NAME/releases/latest), or of a package index",
    )
