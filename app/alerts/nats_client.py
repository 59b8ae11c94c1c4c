"""Connects to a NATS server with a credentials file, and names the subjects of a fleet."""

import asyncio
import base64
import binascii
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from app.core.errors import HookError, SettingsError
from app.core.secrets import read_secret

if TYPE_CHECKING:
    from nats.aio.client import Client

MESSAGE_ID = "Nats-Msg-Id"
NODE = "Maskwatch-Node"
BEGIN_JWT, BEGIN_SEED = "-----BEGIN NATS USER JWT-----", "-----BEGIN USER NKEY SEED-----"
CLOSE_LIMIT_S = 1.0
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\s*(.*?)\s*-+END \1-+", re.DOTALL)

# asyncio warns at every end of a TLS connection that nats-py opened
logging.getLogger("asyncio").addFilter(lambda record: "returning true from eof_received" not in str(record.msg))


def subject_of(kind: str, site: str, name: str) -> str:
    """``mw.event.SITE.CAMERA``; ``name_in`` returns its parts."""
    return f"mw.{kind}.{site}.{token_of(name)}"


def token_of(name: str) -> str:
    """``name`` percent-encoded, so that it is one token of a subject."""
    return quote_from_bytes(name.encode("utf-8", "surrogatepass"), safe="").replace(".", "%2E")


def name_in(subject: str) -> tuple[str, str, str]:
    """The kind, the site and the name of a subject. Raises ValueError if it is none of ``subject_of``."""
    parts = subject.split(".")
    if len(parts) != 4 or parts[0] != "mw":
        raise ValueError(f"{subject!r} is no subject of a fleet")
    return parts[1], parts[2], unquote_to_bytes(parts[3]).decode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of a credentials file: who connects, and which certificate authority it trusts ('': the system's)."""

    jwt: str = field(repr=False)
    seed: bytes = field(repr=False)
    ca_pem: str = field(repr=False)

    @property
    def site(self) -> str:
        """The name in the token. Raises SettingsError."""
        try:
            claims = self.jwt.split(".")[1]
            return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["name"])
        except (IndexError, ValueError, KeyError, TypeError):
            raise SettingsError("the credentials contain no site; use a file of 'maskwatch fleet init'") from None

    def sign(self, nonce: str) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return base64.b64encode(Ed25519PrivateKey.from_private_bytes(self.seed).sign(nonce.encode()))


def read_credentials(path: Path) -> Credentials:
    """Raises SettingsError, without the content, if the file cannot be read or is no credentials file."""
    text = read_secret("credentials", None, None, path) or ""
    blocks = {match[1]: match for match in _BLOCK.finditer(text)}
    try:
        encoded = blocks["USER NKEY SEED"][2]
        raw = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
        if len(raw) != 36 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
            raise ValueError
        ca_pem = f"{blocks['CERTIFICATE'][0]}\n" if "CERTIFICATE" in blocks else ""
        return Credentials(blocks["NATS USER JWT"][2], raw[2:34], ca_pem)
    except (KeyError, ValueError):
        raise SettingsError(
            f"{path} is not a credentials file of a fleet; use the file that 'maskwatch fleet init' wrote for this site"
        ) from None


def import_nats() -> None:
    """Raises HookError if a package is missing."""
    try:
        import cryptography  # noqa: F401
        import nats  # noqa: F401
    except ImportError as error:
        raise HookError(f"NATS needs the package {error.name}; install it: pip install 'maskwatch[fleet]'") from error


@asynccontextmanager
async def connected(
    url: str, credentials: Credentials | None, site: str, timeout_s: float, tls_name: str = ""
) -> "AsyncIterator[Client]":
    """A connection to ``url``, closed at the end. It is not opened again when it is lost. ``tls_name``: the name in the
    server's certificate, if it is not that of ``url``.

    Raises HookError, which names the server and the cause.
    """
    from nats.aio.client import Client
    from nats.errors import Error

    causes: list[Exception] = []

    async def on_error(error: Exception) -> None:
        causes[:] = [error]

    options: dict[str, Any] = {}
    if credentials is not None:
        options = {"user_jwt_cb": lambda: credentials.jwt.encode(), "signature_cb": credentials.sign}
    if url.startswith("tls://"):
        options["tls_handshake_first"] = True  # otherwise nats-py goes on without TLS if the peer asks for that
        options["tls"] = ssl.create_default_context(cadata=(credentials.ca_pem if credentials else "") or None)
    if tls_name:
        options["tls_hostname"] = tls_name
    client = Client()
    try:
        try:
            await client.connect(
                url,
                error_cb=on_error,
                name=f"maskwatch {site}",
                inbox_prefix=f"_INBOX.{site}",
                connect_timeout=max(int(timeout_s), 1),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.01,
                **options,
            )
        except (Error, OSError, TimeoutError, ValueError) as error:
            raise HookError(f"NATS server {url}: {reason_of(causes[0] if causes else error)}") from None
        yield client
    finally:
        with suppress(TimeoutError):  # after a failed TLS handshake asyncio waits for ever
            await asyncio.wait_for(client.close(), CLOSE_LIMIT_S)


def reason_of(error: Exception) -> str:
    """One line. A refused user sees only 'authorization violation' from the server."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if "authorization" in text.casefold():
        return f"{text}; the credentials are not of this hub or were revoked: use a new credentials file"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{text}; use the host name that is in the hub's certificate ('maskwatch fleet init --name')"
    return text
