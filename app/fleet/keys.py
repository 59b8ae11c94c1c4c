"""Keys, tokens and certificates of a fleet: NKeys (Ed25519), the JWTs of NATS that they sign, and X.509 certificates.

Formats: https://github.com/nats-io/nkeys and https://docs.nats.io/running-a-nats-service/configuration/securing_nats/jwt
"""

import base64
import binascii
import hashlib
import ipaddress
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.alerts.nats_client import BEGIN_JWT, BEGIN_SEED
from app.alerts.push_store import to_base64url

PREFIXES = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
"""The first byte of a public NKey, so that its text begins with O, A or U."""
SEED_PREFIX = 18 << 3
CERTIFICATE_DAYS = 3650
_NO_LIMITS = {**dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1), "wildcards": True}
_STREAMS = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An NKey of ``kind`` operator, account or user. ``raw`` are the 32 secret bytes."""

    kind: str
    raw: bytes

    def __repr__(self) -> str:
        return f"KeyPair({self.kind}, {self.public})"

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.raw)

    @property
    def public(self) -> str:
        return _encoded(bytes((PREFIXES[self.kind],)) + self._key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        """The secret key as text; begins with S."""
        prefix = PREFIXES[self.kind]
        return _encoded(bytes((SEED_PREFIX | prefix >> 5, (prefix & 31) << 3)) + self.raw)

    def token(self, subject: str, name: str, nats: Mapping[str, Any]) -> str:
        """A JWT about ``subject`` (a public key), signed by this key."""
        claims: dict[str, Any] = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": subject}
        claims["nats"] = {**nats, "version": 2}
        digest = hashlib.sha512(json.dumps(claims, sort_keys=True).encode()).digest()[:32]
        claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
        parts = [to_base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)]
        signed = ".".join(parts)
        return f"{signed}.{to_base64url(self._key.sign(signed.encode()))}"


def new_key(kind: str) -> KeyPair:
    return KeyPair(kind, Ed25519PrivateKey.generate().private_bytes_raw())


def key_from_seed(seed: str) -> KeyPair:
    """Raises ValueError if ``seed`` is not the text of a secret NKey."""
    raw = _decoded(seed)
    prefix = (raw[0] & 7) << 5 | raw[1] >> 3
    kind = next((kind for kind, byte in PREFIXES.items() if byte == prefix), "")
    if raw[0] & 0xF8 != SEED_PREFIX or not kind or len(raw) != 34:
        raise ValueError("not a secret key")
    return KeyPair(kind, raw[2:])


def operator_token(operator: KeyPair) -> str:
    return operator.token(operator.public, "maskwatch", {"type": "operator"})


def account_token(operator: KeyPair, account: KeyPair, name: str, revoked: Mapping[str, int] | None = None) -> str:
    """The token of an account. With ``revoked`` it has streams: public keys of users with the Unix time until which
    their tokens are refused. A server needs an account without streams too, for the system."""
    limits = _NO_LIMITS if revoked is None else {**_NO_LIMITS, **_STREAMS}
    return operator.token(
        account.public, name, {"type": "account", "limits": limits, "revocations": dict(revoked or {})}
    )


def user_token(account: KeyPair, user: KeyPair, name: str, publish: Iterable[str], subscribe: Iterable[str]) -> str:
    """The token of a user that may only use these subjects."""
    claims = {
        "type": "user",
        "pub": {"allow": list(publish)},
        "sub": {"allow": list(subscribe)},
        **dict.fromkeys(("subs", "data", "payload"), -1),
    }
    return account.token(user.public, name, claims)


def credentials_text(token: str, user: KeyPair, ca_pem: str) -> str:
    """A credentials file in the format of NATS, followed by the certificate of the authority to trust."""
    end_jwt, end_seed = (begin.replace("BEGIN", "END") for begin in (BEGIN_JWT, BEGIN_SEED))
    return (
        f"{BEGIN_JWT}\n{token}\n{end_jwt}\n\n# Secret: who has this file can send as this site.\n"
        f"{BEGIN_SEED}\n{user.seed}\n{end_seed}\n\n{ca_pem}"
    )


def _encoded(content: bytes) -> str:
    crc = binascii.crc_hqx(content, 0)  # CRC-16/XMODEM
    return base64.b32encode(content + crc.to_bytes(2, "little")).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    if len(raw) < 4 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        raise ValueError("not a key")
    return raw[:-2]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its secret key, both in PEM."""

    certificate_pem: str
    key_pem: str


def new_authority() -> Certificate:
    """A certificate authority of one fleet."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maskwatch fleet")])
    builder = _certificate(name, name, key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _signed(builder, key, key)


def server_certificate(authority: Certificate, names: Iterable[str]) -> Certificate:
    """A certificate for a server with these host names and IP addresses."""
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem.encode())
    issuer_key = serialization.load_pem_private_key(authority.key_pem.encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maskwatch hub")])
    builder = _certificate(subject, issuer.subject, key.public_key())
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    return _signed(builder, key, issuer_key)


def _certificate(subject: x509.Name, issuer: x509.Name, public_key: Any) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False),
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer_key: ec.EllipticCurvePrivateKey
) -> Certificate:
    certificate = builder.sign(issuer_key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem.decode())
