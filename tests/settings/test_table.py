"""Checks that settings of several tables share."""

import pytest
from pydantic import ValidationError

from app.settings.alerts import NatsChannel, WebhookChannel
from app.settings.fleet import FleetSettings
from app.settings.root import UpdateSettings
from app.settings.table import SettingsTable
from app.settings.web import OidcSettings, WebSettings


@pytest.mark.parametrize(
    ("table", "name", "address", "more"),
    [
        (WebhookChannel, "url", "https://hook.example:{}/a", {"kind": "webhook", "name": "a"}),
        (NatsChannel, "url", "tls://hub.example:{}", {"kind": "nats", "name": "a", "site": "a"}),
        (FleetSettings, "hub", "tls://hub.example:{}", {"creds_file": "a.creds"}),
        (UpdateSettings, "address", "https://index.example:{}/", {}),
        (OidcSettings, "issuer", "https://login.example:{}/realm", {}),
        (WebSettings, "frame_ancestors", "https://home.example:{}", {}),
    ],
)
def test_a_port_is_a_number_from_1_to_65535(
    table: type[SettingsTable], name: str, address: str, more: dict[str, str]
) -> None:
    def made(port: str) -> SettingsTable:
        url = address.format(port)
        return table.model_validate({name: [url] if name == "frame_ancestors" else url, **more})

    for port in ("0", "65536", "99999"):
        with pytest.raises(ValidationError, match="no valid host and port"):
            made(port)
    made("65535")
