"""Settings of a node of a fleet."""

import platform
import re
from typing import Self

from pydantic import Field, model_validator

from app.settings.alerts import SiteName
from app.settings.table import GivenPath, SettingsTable, Url


def default_node() -> str:
    """The name of this machine, with other characters than letters, digits, '-' and '_' replaced."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", platform.node().partition(".")[0])[:60].strip("-") or "node"


class FleetSettings(SettingsTable):
    """``[fleet]``: the hub that this machine reports to. 'maskwatch fleet join' writes it. It adds a channel 'fleet' of
    kind 'nats', unless there is a channel of this kind."""

    hub: Url = Field(
        default="",
        pattern=r"^(tls://[^@/]+)?$",
        description="address of the hub, such as tls://hub.example:7422; empty: no fleet",
    )
    site: SiteName = Field(default="site", description="name of the site, as in its credentials")
    node: SiteName = Field(default_factory=default_node, description="name of this machine at the site")
    creds_file: GivenPath | None = Field(default=None, description="credentials file of the site")
    heartbeat_s: float = Field(default=5.0, ge=0.1, le=3600, description="how often the health is reported")
    accept_settings: bool = Field(
        default=False, description="use the policy, tracking and monitor settings that the hub sends"
    )
    accept_models: bool = Field(
        default=False,
        description="use the classifier and the detector that the hub sends, after a self-test on this machine",
    )
    failover: bool = Field(
        default=False,
        description="share the live cameras with other nodes of the site: each camera is watched by the node that has "
        "its lease; a node that cannot reach the hub for lease_s stops watching them",
    )
    lease_s: int = Field(default=15, ge=2, le=600, description="how long the lease of a camera lasts unless renewed")

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        if self.hub and self.creds_file is None:
            raise ValueError("hub needs creds_file; use 'maskwatch fleet join'")
        return self
