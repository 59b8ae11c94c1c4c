"""Authentication: who sends a request, by session, token or proxy; sign-in, slowed down against guessing; and the CSRF
secret of each session."""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.web.people import LOCAL, TOKEN, Account, People, PeopleError, User, user_name

MAX_ADDRESSES = 1000
MAX_FAILURES, FAILURE_PERIOD_S = 10, 60.0
"""An address that sends this many wrong tokens or passwords within this many seconds has to wait."""
NAME_PERIOD_S, FREE_FAILURES, MAX_DELAY_S = 900.0, 3, 8.0
"""More wrong passwords for a name within this time, from any address, delay each attempt, but refuse none."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request. ``csrf`` is the secret that its forms must carry.

    ``user``: None if the sender must sign in first. ``by_token`` marks a program that sends a token itself: a page of
    another site cannot forge that. ``by_proxy``: a listed proxy names the user. ``session_id``: 0 if there is no stored
    session.
    """

    session: str
    csrf: str
    user: User | None
    by_token: bool = False
    by_proxy: bool = False
    is_new: bool = False
    session_id: int = 0

    @property
    def signed_in(self) -> bool:
        return self.user is not None


class Authenticator:
    """Tokens, sign-in and failed attempts. Not thread-safe. Without a token and users every caller is an admin."""

    def __init__(
        self,
        token: str | None,
        session_s: float,
        now_s: Callable[[], float] = time.time,
        people: People | None = None,
        is_open: bool = True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``is_open``: nobody has to sign in while there is neither a token nor a user."""
        self._token = None if token is None else _digest(token)
        self._token_name = "" if self._token is None else f"(token {self._token.hex()[:12]})"
        self._session_s = session_s
        self._now_s = now_s
        self.people = people or People(None)
        self._is_open = is_open
        self._sleep = sleep
        self._key = self.people.csrf_key()
        self._hashing = asyncio.Semaphore(1)  # argon2 needs a processor and 64 MiB
        self.failed: OrderedDict[str, list[float]] = OrderedDict()
        self._right_tokens: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._first_code = None if is_open or token is not None else secrets.token_urlsafe(32)

    @property
    def needs_login(self) -> bool:
        return self._token is not None or not self._is_open or self.people.has_users

    @property
    def takes_token(self) -> bool:
        """Whether a person signs in with the token: only while there are no users."""
        return self._token is not None and not self.people.has_users

    @property
    def first_code(self) -> str | None:
        """The secret with which the first admin can be added; None if there is another way, or an admin."""
        return None if self.people.has_admin else self._first_code

    def is_first_code(self, given: str) -> bool:
        return self.first_code is not None and hmac.compare_digest(_digest(given), _digest(self.first_code))

    def is_token(self, given: str) -> bool:
        """Compares digests of equal length in constant time, so that the duration reveals no part of the token."""
        return self._token is not None and hmac.compare_digest(_digest(given), self._token)

    def caller(self, session: str, bearer: str, proxy_user: User | None = None) -> Caller:
        """The caller with this session cookie and this bearer token; pass "" for a missing one."""
        if bearer and self.is_token(bearer):
            return Caller("", "", TOKEN, by_token=True)
        if bearer and (found := self.people.session(bearer, self._now_s(), is_program=True)) is not None:
            return Caller("", "", self._user(found.name), by_token=True)
        is_new = not session
        session = session or secrets.token_urlsafe(32)
        csrf = self._csrf(session)
        if proxy_user is not None:
            return Caller(session, csrf, proxy_user, by_proxy=True, is_new=is_new)
        found = None if is_new else self.people.session(session, self._now_s())
        user = None if found is None else self._user(found.name)
        if user is None and not self.needs_login:
            user = LOCAL
        return Caller(session, csrf, user, is_new=is_new, session_id=found.id if found is not None else 0)

    def _user(self, name: str) -> User | None:
        if name == self._token_name:
            return TOKEN
        account = self.people.account(name)
        return None if account is None or account.disabled else account.user

    def session_name(self, user: User) -> str:
        """The name under which the sessions of ``user`` are stored: a new token ends those of the old one."""
        return self._token_name if user is TOKEN else user.name

    def open_session(self, user: User = TOKEN, address: str = "", browser: str = "") -> str:
        """Secret of a new session; never one that the client sent, against session fixation."""
        now_s = self._now_s()
        return self.people.open_session(self.session_name(user), now_s, now_s + self._session_s, address, browser)

    def close_session(self, caller: Caller) -> None:
        if caller.user is not None:
            self.people.end_session(self.session_name(caller.user), caller.session_id)

    def _csrf(self, session: str) -> str:
        return hmac.new(self._key, session.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    @staticmethod
    def csrf_matches(caller: Caller, given: str) -> bool:
        return hmac.compare_digest(_digest(given), _digest(caller.csrf))

    # -- sign-in ---------------------------------------------------------------------------------------------------

    async def sign_in(self, text: str, password: str, code: str, address: str) -> Account | None:
        """The user with this name, password and code; None if one of them is wrong. Takes as long for an unknown name.
        The caller asks ``may_attempt`` first."""
        try:
            name = user_name(text)
        except PeopleError:
            name = ""
        account = await self._verified(name, password, address)
        if account is None or not self.people.use_code(name, code, self._now_s()):
            return None
        self._forget_failure(name, address)
        return account

    async def is_password_of(self, account: Account, password: str, address: str) -> bool:
        """For a signed-in user; guesses are slowed down as those of strangers."""
        if await self._verified(account.name, password, address) is None:
            return False
        self._forget_failure(account.name, address)
        return True

    async def _verified(self, name: str, password: str, address: str) -> Account | None:
        delay_s = self.delay_s(name)
        for each in (address, _name_key(name)):
            self.record_failure(each)  # at once: attempts at the same time count too
        await self._sleep(delay_s)
        passwords = self.people.passwords
        async with self._hashing:
            account = self.people.account(name)
            stored = "" if account is None or account.disabled else account.password
            if not await asyncio.to_thread(passwords.matches, stored, password):
                return None
            if passwords.is_outdated(stored):
                self.people.rehash(name, await asyncio.to_thread(passwords.hash, password))
        account = self.people.account(name)
        return None if account is None or account.disabled else account

    def _forget_failure(self, name: str, address: str) -> None:
        for key in (network_of(address), _name_key(name)):
            if self.failed.get(key):
                self.failed[key].pop()

    def delay_s(self, name: str) -> float:
        """How long an attempt to sign in with this name has to wait."""
        failures = self._failures(_name_key(name), NAME_PERIOD_S)
        return 0.0 if failures < FREE_FAILURES else min(0.5 * 2.0 ** (failures - FREE_FAILURES), MAX_DELAY_S)

    def may_attempt(self, address: str) -> bool:
        return self._failures(network_of(address), FAILURE_PERIOD_S) < MAX_FAILURES

    def admits_token(self, bearer: str, address: str, is_right: bool) -> bool:
        """Whether a token of a header counts; otherwise its sender has to wait, right or wrong. A program whose
        token was right before does not wait because of others at its address, and a person who signs in neither."""
        key = f"token {network_of(address)}"
        known = key, _digest(bearer)
        if is_right and known in self._right_tokens:
            return True
        if not self.may_attempt(key):
            return False
        if is_right:
            self._right_tokens[known] = None
            while len(self._right_tokens) > MAX_ADDRESSES:
                self._right_tokens.popitem(last=False)
        else:
            self.record_failure(key)
        return True

    def _failures(self, key: str, period_s: float) -> int:
        now_s = self._now_s()  # a clock that is set back must lock nobody out
        return sum(now_s - period_s < at_s <= now_s for at_s in self.failed.get(key, ()))

    def record_failure(self, address: str) -> None:
        key = network_of(address)
        self.failed[key] = [*self.failed.pop(key, ())[-MAX_FAILURES:], self._now_s()]
        while len(self.failed) > MAX_ADDRESSES:
            self.failed.popitem(last=False)


def network_of(address: str) -> str:
    """The address, or the network of an IPv6 address, in which one host has many."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _name_key(name: str) -> str:
    """A key that is no address."""
    return f"name {name}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
