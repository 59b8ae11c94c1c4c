"""Authentication: the token, the sessions that it opens, and the CSRF secret of each session."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

MAX_SESSIONS = 1000
MAX_ADDRESSES = 1000
MAX_FAILURES, FAILURE_PERIOD_S = 10, 60.0
"""An address that sends this many wrong tokens within this many seconds has to wait."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. ``csrf`` is the secret that its forms must carry.

    ``by_token`` marks a program that sends the token itself: a page of another site cannot forge that.
    """

    session: str
    csrf: str
    signed_in: bool
    by_token: bool = False
    is_new: bool = False


class Authenticator:
    """Token, sessions and failed attempts. Not thread-safe. Without a token every caller is signed in."""

    def __init__(self, token: str | None, session_s: float, now_s: Callable[[], float] = monotonic) -> None:
        self._token = None if token is None else _digest(token)
        self._session_s = session_s
        self._now_s = now_s
        self._key = secrets.token_bytes(32)
        self._sessions: OrderedDict[str, float] = OrderedDict()  # session id -> end
        self.failed: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def is_token(self, given: str) -> bool:
        """Compares digests of equal length in constant time, so that the duration reveals no part of the token."""
        return self._token is not None and hmac.compare_digest(_digest(given), self._token)

    def caller(self, session: str, bearer: str) -> Caller:
        """The caller with this session cookie and this bearer token; pass "" for a missing one."""
        if bearer and self.is_token(bearer):
            return Caller("", "", signed_in=True, by_token=True)
        is_new = not session
        session = session or secrets.token_urlsafe(32)
        signed_in = not self.needs_token or self._is_open(session)
        return Caller(session, self._csrf(session), signed_in, is_new=is_new)

    def open_session(self) -> str:
        """Id of a new session; never one that the client sent, against session fixation."""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = self._now_s() + self._session_s
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def close_session(self, session: str) -> None:
        self._sessions.pop(session, None)

    def _is_open(self, session: str) -> bool:
        end_s = self._sessions.get(session)
        if end_s is not None and end_s <= self._now_s():
            del self._sessions[session]
            return False
        return end_s is not None

    def _csrf(self, session: str) -> str:
        return hmac.new(self._key, session.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    @staticmethod
    def csrf_matches(caller: Caller, given: str) -> bool:
        return hmac.compare_digest(_digest(given), _digest(caller.csrf))

    def may_attempt(self, address: str) -> bool:
        since_s = self._now_s() - FAILURE_PERIOD_S
        return sum(at_s > since_s for at_s in self.failed.get(address, ())) < MAX_FAILURES

    def record_failure(self, address: str) -> None:
        self.failed[address] = [*self.failed.pop(address, ())[-MAX_FAILURES:], self._now_s()]
        while len(self.failed) > MAX_ADDRESSES:
            self.failed.popitem(last=False)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
