"""Settings of the web view."""

import ipaddress
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from app.core.errors import SettingsError
from app.core.secrets import read_secret
from app.settings.source import Language
from app.settings.table import GivenPath, SettingsTable, Url, checked_url

_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
_ANCESTOR = re.compile(r"'self'|https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5}|:\*)?|https?://\[[0-9A-Fa-f:]+\](:\d{1,5})?")
_OWN_PATHS = re.compile(
    r"/(wall|events|review|label|trends|health|fleet|scan|setup|healthz|readyz|login|logout|first-user|account|users|"
    r"audit(\.csv)?|static|metrics|api|api/v1(/.*)?)"
)
"""With one of these as root path, a request would have two meanings."""
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080
MIN_TOKEN_CHARS = 16
"""16 letters and digits have 95 bits, too many to guess."""


_HEADER = r"^[A-Za-z0-9-]*$"


class OidcSettings(SettingsTable):
    """``[web.oidc]``. The secret of the client comes from an environment variable or a file."""

    issuer: Url = Field("", pattern=r"^(https?://[^\s?#]+)?$", description="URL of the provider; empty: no OIDC")
    client_id: str = Field("", description="id under which the provider knows maskwatch")
    client_secret_env: str | None = Field(
        None, min_length=1, description="environment variable that contains the secret of the client"
    )
    client_secret_file: GivenPath | None = Field(None, description="file that contains the secret of the client")
    name_claim: str = Field("preferred_username", min_length=1, description="claim with the user name")
    groups_claim: str = Field("groups", min_length=1, description="claim with the groups of the user")


class WebSettings(SettingsTable):
    """``[web]``. The token comes from an environment variable or a file and is never written here."""

    enabled: bool = Field(False, description="serve the web view too")
    host: str = Field(
        DEFAULT_HOST, min_length=1, description="address to listen on; other than 127.0.0.1 needs a token or users"
    )
    port: int = Field(DEFAULT_PORT, ge=0, le=65_535, description="port to listen on; 0 chooses a free port")
    token_env: str | None = Field(None, min_length=1, description="environment variable that contains the token")
    token_file: GivenPath | None = Field(None, description="file that contains the token")
    users: bool = Field(
        False, description="people must sign in with name and password; the first user is added with a printed link"
    )
    allowed_hosts: tuple[str, ...] = Field((), description="host names of this server, in addition to its address")
    tls_cert: GivenPath | None = Field(None, description="certificate (PEM); turns on https")
    tls_key: GivenPath | None = Field(None, description="private key of the certificate (PEM)")
    behind_tls: bool = Field(False, description="a proxy in front serves https; cookies are marked Secure")
    root_path: str = Field("", description="path under which a proxy serves the web view, such as /masks")
    root_path_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="header in which the proxy sends that path, such as X-Forwarded-Prefix; clients can send it too",
    )
    frame_ancestors: tuple[str, ...] = Field(
        (), description="origins whose pages may show the web view in a frame; 'self' is its own origin; empty: none"
    )
    language: Language | Literal["auto"] = Field(
        "auto", description="language of the pages, such as de; auto: what the browser asks for"
    )
    scan: GivenPath | None = Field(
        None, description="folder of an archive scan, whose report becomes a page of the web view"
    )
    session_h: float = Field(12.0, gt=0, le=24 * 365, description="hours after which a user must sign in again")
    audit_days: float = Field(365.0, gt=0, le=36_500, description="days for which the audit log is kept")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="addresses or networks of proxies that may say who the user is and where a request comes from"
    )
    proxy_user_header: str = Field(
        "", pattern=_HEADER, description="header in which such a proxy sends the user name, such as Remote-User"
    )
    proxy_groups_header: str = Field(
        "", pattern=_HEADER, description="header in which it sends the groups of the user, separated by commas"
    )
    roles: dict[str, Literal["viewer", "operator", "admin"]] = Field(
        {}, description="roles by group of the proxy or of OIDC, such as {staff = 'viewer'}"
    )
    oidc: OidcSettings = Field(OidcSettings(), description="sign-in through an OpenID Connect provider")
    max_width_px: int = Field(960, ge=160, le=3840, description="maximum width of the images sent")
    max_fps: float = Field(11.0, gt=0, le=60, description="maximum images per second of one camera")
    jpeg_quality: int = Field(75, ge=10, le=95, description="JPEG quality of the images sent")
    max_viewers: int = Field(32, ge=1, le=1000, description="maximum live views at a time, of all cameras together")
    max_connections: int = Field(128, ge=4, le=10_000, description="maximum open connections; more are refused")
    max_body_bytes: int = Field(16_384, ge=1024, le=1_048_576, description="maximum size of a request body")
    stall_s: float = Field(
        20.0, gt=0, le=600, description="a viewer that receives no data for this time is disconnected"
    )

    @field_validator("root_path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        """``masks``, ``/masks`` and ``/masks/`` are the same."""
        path = f"/{path.strip('/')}" if path.strip("/") else ""
        if path and not is_root_path(path):
            raise ValueError(f"{path!r} is not a path, or is one of the web view itself; write it such as /masks")
        return path

    @field_validator("frame_ancestors")
    @classmethod
    def _are_origins(cls, ancestors: tuple[str, ...]) -> tuple[str, ...]:
        quoted = tuple("'self'" if each == "self" else each.removesuffix("/") for each in ancestors)
        for each in quoted:
            if not _ANCESTOR.fullmatch(each):
                raise ValueError(f"{each!r} is not an origin; write 'self' or https://home.example:8123")
            checked_url(each.removesuffix(":*"))
        return quoted

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for each in proxies:
            try:
                ipaddress.ip_network(each)
            except ValueError:
                raise ValueError(f"{each!r} is not an address or a network; write it such as 10.0.0.0/8") from None
        return proxies

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.proxy_user_header or self.proxy_groups_header) and not self.trusted_proxies:
            raise ValueError("proxy_user_header needs trusted_proxies: everybody else could send that header too")
        if self.oidc.issuer and not self.oidc.client_id:
            raise ValueError("oidc.issuer needs oidc.client_id")
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("give one of token_env and token_file, not both")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def needs_users(self) -> bool:
        """Whether people must sign in even while there is no user."""
        return self.users or bool(self.proxy_user_header) or bool(self.oidc.issuer)

    def is_proxy(self, address: str) -> bool:
        """Whether ``address`` is that of a listed proxy."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in ipaddress.ip_network(each) for each in self.trusted_proxies)

    @property
    def is_secure(self) -> bool:
        return self.tls_cert is not None or self.behind_tls


def is_root_path(path: str) -> bool:
    """Whether ``path`` can stand before the paths of the web view: '/' is '', and '//host' would be another site."""
    return _ROOT_PATH.fullmatch(path) is not None and _OWN_PATHS.fullmatch(path) is None


def read_token(settings: WebSettings) -> str | None:
    """The token; None if none is set and only this machine can connect, or users must sign in.

    Raises SettingsError if the token is missing, unreadable, too short or has invalid characters.
    """
    token = read_secret("web token", None, settings.token_env, settings.token_file)
    if token is None:
        if settings.is_loopback or settings.needs_users:
            return None
        raise SettingsError(
            f"the web view on {settings.host} is open to the network and has no token; give --web-token-file FILE "
            "or --web-token-env NAME, let people sign in with --web-users, or use 127.0.0.1"
        )
    if len(token) < MIN_TOKEN_CHARS:
        raise SettingsError(f"the web token is too short; use at least {MIN_TOKEN_CHARS} characters")
    if not (token.isascii() and token.isprintable()) or " " in token:  # it is sent in a header
        raise SettingsError("the web token may contain only ASCII letters, digits and punctuation, without spaces")
    return token


def people_file(store: Path) -> Path:
    """The file of the users and the audit log that belongs to the event file ``store``."""
    return store.with_name(f"{store.name}.users")


def parse_address(text: str) -> dict[str, str | int]:
    """Parse ``HOST:PORT``, ``HOST``, ``PORT`` or ``[IPv6]:PORT`` into settings. Raises SettingsError."""
    host, colon, port = text.strip().rpartition(":")
    if text.strip().isdecimal():
        host, port = "", text.strip()
    elif not colon or text.strip().endswith("]"):
        host, port = text.strip(), ""
    if (port and not port.isdecimal()) or (":" in host and not host.startswith("[")):
        raise SettingsError(f"--web {text}: not an address; write HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}")
    found: dict[str, str | int] = {}
    if host:
        found["host"] = host.strip("[]")
    if port:
        found["port"] = int(port)
    return found
