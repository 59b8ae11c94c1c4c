"""Sends each alert to the browsers that subscribed to it (web push: RFC 8030, 8188, 8291 and 8292)."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.alerts.event_records import iso_time
from app.alerts.hook import ENDS, Alert, require
from app.alerts.push_store import Device, PushStore, from_base64url, to_base64url
from app.core.errors import HookError
from app.core.schedule import is_open, parse_hours
from app.core.secrets import redact_url
from app.core.translation import using
from app.settings.alerts import PushChannel

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

TOKEN_S = 12 * 3600
"""Validity of a signature; at most a day (RFC 8292)."""
MAX_TTL_S = 28 * 86_400
MAX_TEXT_CHARS = 300
"""A push service accepts 4096 bytes in all, so a snapshot does not fit: the browser fetches it from the web view."""
MAX_ATTEMPTS = 3
"""Attempts for a device whose push service fails while others work: it must not delay their next alerts."""
CONNECTIONS = 20
GONE = (404, 410)
REFUSED = (400, 401, 403, 413)
"""Answers that will be the same next time."""


def encrypt(text: bytes, device_key: bytes, auth: bytes, own: Any = None, salt: bytes = b"") -> bytes:
    """The body of a message, encrypted for one device (RFC 8291). ``own`` (a P-256 key) and ``salt`` are new for each
    message; tests give them. Raises ValueError if ``device_key`` is not a point of the curve."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    own, salt = own or ec.generate_private_key(ec.SECP256R1()), salt or os.urandom(16)
    public = public_point(own)
    shared = own.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), device_key))
    secret = _hkdf(auth, shared, b"WebPush: info\0" + device_key + public, 32)
    key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)
    header = salt + struct.pack(">IB", 4096, len(public)) + public
    return header + bytes(AESGCM(key).encrypt(nonce, text + b"\x02", None))


def _hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)[:length]


def signing_key(private: int) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.derive_private_key(private, ec.SECP256R1())


def public_point(key: Any) -> bytes:
    """The public part of a P-256 key as an uncompressed point: what a browser needs to subscribe."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def authorization(endpoint: str, key: Any, contact: str) -> str:
    """The header that says who sends (VAPID, RFC 8292)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": int(time.time()) + TOKEN_S, "sub": contact}
    token = ".".join(to_base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ES256"}, claims))
    numbers = utils.decode_dss_signature(key.sign(token.encode(), ec.ECDSA(hashes.SHA256())))
    signature = b"".join(number.to_bytes(32, "big") for number in numbers)
    return f"vapid t={token}.{to_base64url(signature)}, k={to_base64url(public_point(key))}"


def push_address(endpoint: str, allow_private: bool) -> str:
    """The IP address of the push service of ``endpoint``. A browser names the endpoint, so it must not lead into the
    own network. May wait for the name server. Raises ValueError with the reason."""
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("the endpoint is no URL") from None
    if not allow_private and (parts.scheme != "https" or port not in (None, 443) or parts.username is not None):
        raise ValueError("the endpoint must be an https URL without a port or user name")
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f"the name of the push service {redact_url(endpoint)} cannot be resolved") from None
    addresses = [str(each[4][0]) for each in found]
    if not allow_private and not all(map(_is_public, addresses)):
        raise ValueError(f"the push service {redact_url(endpoint)} has a private address")
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_global and not ip.is_multicast


class PushHook:
    """A device that unsubscribed is removed. An alert is retried until a device gets it, at most ``MAX_ATTEMPTS`` times
    for the others and for devices that refuse it; those that have it do not get it again."""

    def __init__(self, channel: PushChannel) -> None:
        """Raises HookError if cryptography is not installed."""
        require("cryptography", "cryptography", f"channel {channel.name!r}", "push")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at lower levels it logs whole URLs
        self._channel = channel
        self._store = PushStore(channel.store)
        self._key, self._done = "", set[str]()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def send(self, alert: Alert) -> None:
        devices = [each for each in self._store.devices() if self._is_for(each, alert)]
        if alert.is_test and not devices:
            raise HookError(
                "no device is subscribed; open the live page on a phone or computer and turn alerts on there"
            )
        if self._key != alert.idempotency_key:
            self._key, self._done = alert.idempotency_key, set()
        left = [each for each in devices if each.endpoint not in self._done]
        try:  # name servers are asked here, since a thread of asyncio could not be abandoned
            answers = asyncio.run(self._send_all(alert, left, list(map(self._address, left)))) if left else []
        except asyncio.CancelledError:
            raise HookError("stopped") from None
        finally:
            self._running = None
        self._check(alert, left, answers)

    def _is_for(self, device: Device, alert: Alert) -> bool:
        event = alert.event
        if alert.is_test:
            return True
        if device.cameras is not None and event.camera not in device.cameras:
            return False
        is_quiet = bool(device.quiet) and is_open(map(parse_hours, device.quiet), event.wall_s, device.timezone)
        return not is_quiet or (device.urgent and event.kind in self._channel.urgent)

    def _address(self, device: Device) -> str | ValueError:
        try:
            return push_address(device.endpoint, self._channel.allow_private)
        except ValueError as error:
            return error

    async def _send_all(
        self, alert: Alert, devices: Sequence[Device], addresses: Sequence[str | ValueError]
    ) -> list[int | str]:
        import httpx

        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        # A push service that hangs must not use up the time of the others.
        limits = httpx.Limits(max_connections=CONNECTIONS)
        key = signing_key(self._store.private_key())
        headers = {
            "Content-Encoding": "aes128gcm",
            "TTL": str(int(min(self._channel.give_up_after_s, MAX_TTL_S))),
            "Urgency": "normal" if alert.event.kind in ENDS else "high",
        }
        async with httpx.AsyncClient(
            headers=headers, timeout=self._channel.timeout_s * 0.7, limits=limits, trust_env=False
        ) as client:
            pairs = zip(devices, addresses, strict=True)
            return await asyncio.gather(*(self._send_one(client, *pair, key, alert) for pair in pairs))

    async def _send_one(
        self, client: "httpx.AsyncClient", device: Device, address: str | ValueError, key: Any, alert: Alert
    ) -> int | str:
        """The status of the answer, or why there is none."""
        import httpx

        if isinstance(address, ValueError):
            return str(address)
        url = httpx.URL(device.endpoint)
        signed = authorization(device.endpoint, key, self._channel.contact)
        headers = {"Host": url.netloc.decode(), "Authorization": signed}
        try:
            with using(device.language):
                text = self.message(alert)
            body = encrypt(text, from_base64url(device.p256dh), from_base64url(device.auth))
            # To the address that was checked: the name could have another one by now.
            answer = await client.post(
                url.copy_with(host=address), content=body, headers=headers, extensions={"sni_hostname": url.host}
            )
        except (httpx.HTTPError, OSError, ValueError) as error:
            return type(error).__name__
        return answer.status_code

    def message(self, alert: Alert) -> bytes:
        """What the service worker of the web view gets, as JSON, in the language of the context."""
        event = alert.event
        message = {
            "title": alert.title,
            "text": alert.text[:MAX_TEXT_CHARS],
            "camera": event.camera,
            "at": iso_time(event.wall_s),
            "event": "" if alert.is_test else event.id,
            "tag": event.resolves or event.id,
            "picture": alert.snapshot_jpeg is not None,
        }
        return json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")

    def _check(self, alert: Alert, devices: Sequence[Device], answers: Sequence[int | str]) -> None:
        """Removes devices that unsubscribed. Raises HookError if the alert is to be retried."""
        faults: list[str] = []
        may_help = False
        for device, answer in zip(devices, answers, strict=True):
            if answer in GONE:
                log.info("channel %s: a device has unsubscribed and is removed", self._channel.name)
                self._store.remove(device.endpoint)
            elif isinstance(answer, int) and 200 <= answer < 300:
                self._done.add(device.endpoint)
            else:
                faults.append(f"{redact_url(device.endpoint)}: {answer}")
                may_help |= answer not in REFUSED
        if not faults:
            return
        message = f"{len(faults)} of {len(faults) + len(self._done)} devices did not get the alert ({faults[0]})"
        # Without an answer from anybody the network may be down: such an alert is retried like that of any channel.
        if alert.is_test or sum((may_help, not self._done, alert.attempt < MAX_ATTEMPTS)) >= 2:
            raise HookError(message)
        log.error("channel %s: %s; it is not sent to them again", self._channel.name, message)

    def abort(self) -> None:
        if self._running is not None:
            loop, task = self._running
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(task.cancel)
