"""A fake browser that subscribes to web push, and reads what a push service got for it."""

import hashlib
import hmac
import json
import os
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fakes_alerts import Request

from app.alerts.push_store import from_base64url, to_base64url


def point(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    found = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(found, info + b"\x01", hashlib.sha256).digest()[:length]


@dataclass
class Browser:
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def keys(self) -> dict[str, str]:
        return {"p256dh": to_base64url(point(self.key)), "auth": to_base64url(self.auth)}

    def decrypt(self, body: bytes) -> bytes:
        """RFC 8291: the text of a message with one record."""
        salt, (record_size, length), rest = body[:16], struct.unpack(">IB", body[16:21]), body[21:]
        public, sealed = rest[:length], rest[length:]
        assert len(sealed) <= record_size
        assert len(body) <= 4096
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public))
        secret = hkdf(self.auth, shared, b"WebPush: info\0" + point(self.key) + public, 32)
        key = hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        text = AESGCM(key).decrypt(hkdf(salt, secret, b"Content-Encoding: nonce\0", 12), sealed, None)
        return text.rstrip(b"\0").removesuffix(b"\x02")

    def read(self, request: Request) -> Any:
        assert request.headers["content-encoding"] == "aes128gcm"
        return json.loads(self.decrypt(request.body))


def signed_claims(request: Request) -> tuple[str, Any]:
    """The public key and the claims of the VAPID header (RFC 8292); raises InvalidSignature."""
    scheme, _, parts = request.headers["authorization"].partition(" ")
    assert scheme == "vapid"
    fields = dict(part.strip().split("=", 1) for part in parts.split(","))
    signed, _, signature = fields["t"].rpartition(".")
    numbers = from_base64url(signature)
    assert len(numbers) == 64
    encoded = utils.encode_dss_signature(int.from_bytes(numbers[:32], "big"), int.from_bytes(numbers[32:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(fields["k"]))
    key.verify(encoded, signed.encode(), ec.ECDSA(hashes.SHA256()))
    header, claims = (json.loads(from_base64url(part)) for part in signed.split("."))
    assert header == {"typ": "JWT", "alg": "ES256"}
    return fields["k"], claims
