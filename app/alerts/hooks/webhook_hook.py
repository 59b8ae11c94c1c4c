"""Sends each alert as a JSON POST request."""

import hashlib
import hmac
import logging
import re
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.alerts.hook import Alert, RetryLater
from app.core.errors import HookError, SettingsError
from app.core.secrets import read_secret, redact_url, scrub, url_secrets
from app.settings.alerts import WebhookChannel, check_headers

if TYPE_CHECKING:
    import httpx

RESPONSE_LIMIT_BYTES = 64_000
LONGEST_PAUSE_S = 3600.0
MAX_ANSWER_CHARS = 200
_PRINTABLE = "".join(map(chr, range(32, 127)))


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the hex HMAC SHA-256 of ``timestamp + "." + body``. The timestamp prevents replays."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookHook:
    """A 2xx response means success; any other is retried. Redirects are not followed, so a signed alert is sent only
    to its own URL. httpx limits each read; ``TimeoutHook`` limits the whole request by ``abort``."""

    def __init__(self, channel: WebhookChannel) -> None:
        """Raises SettingsError if the URL, a secret or the certificate cannot be read."""
        what = f"channel {channel.name!r}"
        self._channel = channel
        url = read_secret(f"{what} url", channel.url, channel.url_env, channel.url_file)
        if not url or not url.startswith(("http://", "https://")):
            raise SettingsError(f"{what}: the url must start with http:// or https://")
        self._url = url
        self._secret = read_secret(f"{what} secret", None, channel.secret_env, channel.secret_file)
        self._headers = dict(channel.headers)
        for header, variable in channel.headers_env.items():
            self._headers[header] = read_secret(f"{what} header {header}", None, variable, None) or ""
        try:
            check_headers(self._headers)  # also those of the environment
        except ValueError as error:
            raise SettingsError(f"{what}: {error}") from None
        self._hidden = [*url_secrets(what, url), *(value for value in self._headers.values() if len(value) >= 4)]
        self._client = self._make_client()
        self._stream: Any = None
        self._aborted = False

    def _make_client(self) -> "httpx.Client":
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # at lower levels it logs whole URLs
        tls: Any = True
        if self._channel.ca_file is not None:
            import ssl

            try:
                tls = ssl.create_default_context(cafile=self._channel.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(
                    f"channel {self._channel.name!r}: cannot use ca_file {self._channel.ca_file}: {error}"
                ) from error
        # Connections are not kept alive: alerts are rare, and a stale connection would make the next attempt fail.
        return httpx.Client(
            verify=tls, timeout=self._channel.timeout_s, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def send(self, alert: Alert) -> None:
        import httpx

        body = alert.to_json().encode()
        timestamp = str(int(time.time()))
        headers = {
            "User-Agent": "maskwatch",
            **self._headers,
            "Content-Type": "application/json",
            "Idempotency-Key": quote(alert.idempotency_key, safe=_PRINTABLE),  # headers are ASCII
            "X-Maskwatch-Timestamp": timestamp,
        }
        if self._secret is not None:
            headers["X-Maskwatch-Signature"] = signature(self._secret, timestamp, body)
        self._aborted = False
        try:
            request = self._client.build_request("POST", self._url, content=body, headers=headers)
            request.extensions["trace"] = self._remember_stream
            response = self._client.send(request, stream=True)
            try:
                self._check_response(response)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            # ``from None``: httpx errors carry the request, and with it the secret parts of the URL.
            raise HookError(f"{self._peer}: {self._reason(error)}") from None
        finally:
            self._stream = None

    def _remember_stream(self, name: str, details: dict[str, Any]) -> None:
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = details["return_value"]
            if self._aborted:
                self._shut_down_socket()

    def _check_response(self, response: "httpx.Response") -> None:
        if response.is_success:
            return
        body = bytearray()
        for part in response.iter_raw(4096):
            body += part
            if len(body) > RESPONSE_LIMIT_BYTES:
                break
        text = scrub(_plain_text(bytes(body)), self._hidden)[:MAX_ANSWER_CHARS]
        if response.is_redirect:
            text = f"{text or 'a redirect'}; redirects are not followed, so use the new address"
        message = f"{self._peer} answered {response.status_code}{f': {text}' if text else ''}"
        if response.status_code in (429, 503):
            with suppress(ValueError):
                pause_s = float(response.headers.get("Retry-After", ""))
                raise RetryLater(message, min(max(pause_s, 0.0), LONGEST_PAUSE_S))
        raise HookError(message)

    @property
    def _peer(self) -> str:
        return f"webhook {redact_url(self._url)}"

    def _reason(self, error: Exception) -> str:
        if self._aborted:
            return "stopped"
        return scrub(str(error), self._hidden) or type(error).__name__

    def _shut_down_socket(self) -> None:
        stream = self._stream
        found = stream.get_extra_info("socket") if stream is not None else None
        if isinstance(found, socket.socket):
            with suppress(OSError):  # already closed by the peer
                found.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        self._aborted = True
        self._shut_down_socket()


def _plain_text(body: bytes) -> str:
    """The first words of an answer, also of a page in HTML."""
    text = re.sub(r"(?is)<(style|script|title)\b.*?(?:</\1>|\Z)|<[^>]*>?", " ", body.decode("utf-8", "replace"))
    return " ".join(text.split())
