"""Logs in to HTTP and RTSP servers: basic and digest authentication, and servers that reject a login."""

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from app.core.errors import LoginError, RetryLaterError, SourceError
from app.settings.source import SourceSettings

_HASHES: dict[str, Callable[[bytes], "hashlib._Hash"]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_POLL_S = 0.05


class Login:
    """Answers the challenges of one server (RFC 7616: MD5, SHA-256; RFC 7617). It is used for one address, because a
    redirect may lead to a server that must not learn the password."""

    def __init__(self, settings: SourceSettings) -> None:
        self._username = settings.username
        self._password = settings.password.get_secret_value() if settings.password else ""
        self._scheme = ""
        self._challenge: dict[str, str] = {}
        self._count = 0

    def accept_challenge(self, headers: Iterable[str]) -> bool:
        """Choose the best of the ``WWW-Authenticate`` headers. Returns False if there is no user name, or if no scheme
        is supported."""
        if self._username is None:
            return False
        found = list(challenges(headers))
        digests = [values for scheme, values in found if scheme == "digest" and _is_supported(values)]
        if digests:
            self._challenge = max(digests, key=lambda values: _algorithm(values)[0] == "SHA-256")
            self._scheme, self._count = "digest", 0
        elif any(scheme == "basic" for scheme, _ in found):
            self._scheme = "basic"
        else:
            return False
        return True

    def header(self, method: str, uri: str) -> str | None:
        """The value of ``Authorization``; None before a challenge."""
        if self._scheme == "basic":
            return "Basic " + base64.b64encode(f"{self._username}:{self._password}".encode()).decode("ascii")
        return self._digest(method, uri) if self._scheme == "digest" else None

    def _digest(self, method: str, uri: str) -> str:
        algorithm, is_session = _algorithm(self._challenge)
        realm, nonce = self._challenge.get("realm", ""), self._challenge.get("nonce", "")
        self._count += 1
        count, client_nonce = f"{self._count:08x}", os.urandom(8).hex()

        def hashed(text: str) -> str:
            return _HASHES[algorithm](text.encode()).hexdigest()

        secret = hashed(f"{self._username}:{realm}:{self._password}")
        if is_session:
            secret = hashed(f"{secret}:{nonce}:{client_nonce}")
        request = hashed(f"{method}:{uri}")
        # Quotes cannot be escaped for the old parsers of cameras, so a user name with quotes cannot work.
        fields = [f'username="{self._username}"', f'realm="{realm}"', f'nonce="{nonce}"', f'uri="{uri}"']
        if "qop" in self._challenge:
            answer = hashed(f"{secret}:{nonce}:{count}:{client_nonce}:auth:{request}")
            fields += ["qop=auth", f"nc={count}", f'cnonce="{client_nonce}"']
        else:
            answer = hashed(f"{secret}:{nonce}:{request}")
            fields += [f'cnonce="{client_nonce}"'] if is_session else []
        fields.append(f'response="{answer}"')
        if "algorithm" in self._challenge:
            fields.append(f"algorithm={self._challenge['algorithm']}")
        if "opaque" in self._challenge:
            fields.append(f'opaque="{self._challenge["opaque"]}"')
        return "Digest " + ", ".join(fields)


def challenges(headers: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(scheme in lower case, its parameters) of each challenge; one header may contain several."""
    from urllib.request import parse_http_list  # imported late: it imports ssl

    current: tuple[str, list[str]] | None = None
    for header in headers:
        for item in parse_http_list(header):
            word, _, rest = item.strip().partition(" ")
            if "=" not in word:  # a new scheme, maybe with its first parameter
                if current is not None:
                    yield current[0], _parameters(current[1])
                current = word.lower(), [rest] if rest else []
            elif current is not None:
                current[1].append(item)
        if current is not None:
            yield current[0], _parameters(current[1])
            current = None


def _parameters(items: list[str]) -> dict[str, str]:
    pairs = (item.partition("=") for item in items)
    return {key.strip().lower(): value.strip().strip('"') for key, equals, value in pairs if equals}


def _algorithm(challenge: dict[str, str]) -> tuple[str, bool]:
    """(the name of the hash, whether it is a session algorithm)."""
    name = challenge.get("algorithm", "MD5").upper()
    return name.removesuffix("-SESS"), name.endswith("-SESS")


def _is_supported(challenge: dict[str, str]) -> bool:
    modes = [mode.strip().lower() for mode in challenge.get("qop", "auth").split(",")]
    return _algorithm(challenge)[0] in _HASHES and "auth" in modes


class _Logins:
    """The logins that servers have rejected, for all sources of the process: the channels of one recorder share an
    account, and each try with a wrong password brings the account closer to being locked."""

    def __init__(self) -> None:
        self._rejected_s: dict[object, float] = {}
        self._accepted: set[object] = set()
        self._trying: dict[object, object] = {}

    @contextmanager
    def one_at_a_time(self, settings: SourceSettings, address: str) -> Iterator[None]:
        """Raises LoginError if ``address`` has rejected this login within ``login_retry_s``. While a login is tried
        for the first time, other sources wait for its result, for at most the time limit of opening."""
        key = (address, settings.username, settings.password)
        me = object()
        end_s = time.monotonic() + 2 * settings.open_timeout_s
        while key not in self._accepted and self._trying.setdefault(key, me) is not me and time.monotonic() < end_s:
            time.sleep(_POLL_S)
        try:
            self._check(key, settings, address)
            try:
                yield
            except LoginError:
                self._rejected_s[key] = time.monotonic()
                self._accepted.discard(key)
                raise
            self._rejected_s.pop(key, None)
            self._accepted.add(key)
        finally:
            if self._trying.get(key) is me:
                del self._trying[key]

    def _check(self, key: object, settings: SourceSettings, address: str) -> None:
        rejected_s = self._rejected_s.get(key)
        left_s = 0.0 if rejected_s is None else rejected_s + settings.login_retry_s - time.monotonic()
        if left_s > 0:
            raise LoginError(
                f"cannot open {settings.shown}: {address} has rejected the user name and password; check both", left_s
            )


LOGINS = _Logins()  # cameras lock accounts by host, so there is only one


def rejected(settings: SourceSettings, address: str, code: int = 401) -> RetryLaterError:
    """The error for a login that ``address`` has rejected."""
    if code == 403 and settings.username is not None:  # maybe for this path only, so not a LoginError
        reason = "forbids this user to see the stream; check the rights of the user, or wait until it is unlocked"
        return RetryLaterError(f"cannot open {settings.shown}: {address} {reason}", settings.login_retry_s)
    if settings.username is None:
        reason = "requires a user name and password; give both in the settings or the address"
    else:
        reason = "rejects the user name and password; check both"
    return LoginError(f"cannot open {settings.shown}: {address} {reason}", settings.login_retry_s)


def unsupported(settings: SourceSettings, address: str, headers: Iterable[str]) -> SourceError:
    """The error for a server that asks for a scheme that is not supported."""
    return LoginError(
        f"cannot open {settings.shown}: {address} offers no supported login ({offered(headers)}); "
        "set the camera to digest (MD5) or basic",
        settings.login_retry_s,
    )


def offered(headers: Iterable[str]) -> str:
    """The schemes in words, such as 'digest SHA-256'."""
    return ", ".join(sorted({_name(scheme, values) for scheme, values in challenges(headers)})) or "none"


def _name(scheme: str, values: dict[str, str]) -> str:
    return f"{scheme} {values['algorithm']}" if "algorithm" in values else scheme
