"""Passwords (argon2id) and the one-time codes of an authenticator app (RFC 6238)."""

import base64
import hmac
import secrets
import struct
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from app.core.translation import gettext

MIN_CHARS, MAX_CHARS = 10, 200
STEP_S = 30
RECOVERY_CODES = 8


class Passwords:
    """Hashes and verifies. An unknown user takes as long as a known one."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """``hasher``: the parameters of argon2-cffi if it is not given."""
        self._hasher = hasher or PasswordHasher()
        self._of_nobody = ""

    def hash(self, password: str) -> str:
        return self._hasher.hash(_normalized(password))

    def matches(self, stored: str, password: str) -> bool:
        """``stored``: the hash, or '' for a user who does not exist or has no password."""
        self._of_nobody = self._of_nobody or self.hash(secrets.token_hex())
        try:
            self._hasher.verify(stored or self._of_nobody, _normalized(password))
        except (Argon2Error, InvalidHashError):
            return False
        return bool(stored)

    def is_outdated(self, stored: str) -> bool:
        """Whether ``stored`` was made with other parameters."""
        return self._hasher.check_needs_rehash(stored)


def password_fault(name: str, password: str) -> str:
    """Why ``password`` cannot be used, or ''."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        return gettext(
            "the password must have %(least)s to %(most)s characters; choose another one",
            least=MIN_CHARS,
            most=MAX_CHARS,
        )
    return (
        gettext("the password must not be the name; choose another one")
        if password.casefold() == name.casefold()
        else ""
    )


def _normalized(password: str) -> str:
    """Keyboards compose the same letter in different ways."""
    return unicodedata.normalize("NFKC", password)


def new_secret() -> str:
    return base64.b32encode(secrets.token_bytes(20)).decode()


def code_at(secret: str, step: int) -> str:
    """The six digits that an authenticator app with this base32 ``secret`` shows in a time step. Raises ValueError."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), "sha1")
    (number,) = struct.unpack_from(">I", digest, digest[-1] & 15)
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def step_of_code(secret: str, code: str, now_s: float, used_step: int) -> int | None:
    """The time step to which ``code`` belongs: the present one or a neighbour; None if it is wrong, or was used."""
    now, given = int(now_s // STEP_S), code.encode("utf-8", "replace")
    steps = (step for step in (now - 1, now, now + 1) if step > used_step)
    return next((step for step in steps if hmac.compare_digest(code_at(secret, step).encode(), given)), None)


def new_recovery_codes() -> list[str]:
    """Codes that replace the app once each; 60 random bits."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789x"
    return ["".join(secrets.choice(letters) for _ in range(12)) for _ in range(RECOVERY_CODES)]
