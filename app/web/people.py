"""Users, their sessions and the audit log, in one SQLite file beside the event file."""

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from app.alerts.push_store import PushStore
from app.alerts.store_types import EventFilter, StoreError
from app.core.errors import SettingsError
from app.core.files import is_file
from app.core.translation import gettext, marked
from app.settings.alerts import push_file
from app.web.audit import AuditLog, UsersFile, digest_of
from app.web.passwords import Passwords, password_fault, step_of_code

SESSIONS_PER_USER = 100
SEEN_S = 60.0
"""How exactly the last use of a session is stored."""
NO_CAMERA = "\x00"
"""Matches no camera; an empty filter would match all."""
_NAME = re.compile(r"(?!\.{1,2}$)[\w.@+-]{1,64}")  # a browser resolves . and .. in an address
_SESSION = "id, name, is_program, label, address, created_s, seen_s, end_s"


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)

    @classmethod
    def of_groups(cls, groups: Iterable[str], roles: Mapping[str, str]) -> "Role | None":
        """The highest role that ``roles`` gives to one of the groups; None if there is none."""
        given = {roles[each.strip()] for each in groups if each.strip() in roles}
        return next((role for role in reversed(cls) if role.value in given), None)


@dataclass(frozen=True, slots=True)
class User:
    """Who sends a request. ``cameras``: the names that the user may see; None for all."""

    name: str
    role: Role
    cameras: frozenset[str] | None = None

    def sees(self, camera: str) -> bool:
        return self.cameras is None or camera in self.cameras

    def narrow(self, query: EventFilter) -> EventFilter:
        """``query`` without the cameras that the user may not see."""
        if self.cameras is None:
            return query
        wanted = self.cameras & set(query.cameras) if query.cameras else self.cameras
        return replace(query, cameras=tuple(sorted(wanted)) or (NO_CAMERA,))


LOCAL = User("(local)", Role.ADMIN)
"""Everybody, as long as nobody has to sign in."""
TOKEN = User("(token)", Role.ADMIN)
NOBODY = User("", Role.VIEWER, frozenset())


@dataclass(frozen=True, slots=True)
class Account:
    """A stored user. ``password`` and ``recovery`` are hashes, ``secret`` is that of the codes ('' for none).
    ``subject``: who the OIDC provider says it is. ``by_groups``: groups gave the role. Times are Unix, 0 for never."""

    name: str
    role: Role
    cameras: frozenset[str] | None
    password: str = field(repr=False)
    disabled: bool = False
    secret: str = field(default="", repr=False)
    used_step: int = 0
    recovery: tuple[str, ...] = field(default=(), repr=False)
    subject: str = ""
    by_groups: bool = False
    signed_in_s: float = 0.0

    @property
    def user(self) -> User:
        return User(self.name, self.role, self.cameras)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in, or the token of a program (``is_program``)."""

    id: int
    name: str
    is_program: bool
    label: str
    address: str
    created_s: float
    seen_s: float
    end_s: float


NO_ACCESS = marked("you have no access here; an admin can add you, or give your group a role")


class PeopleError(SettingsError):
    """A change of the users that is not possible."""


def user_name(text: str) -> str:
    """The name as it is stored. Raises PeopleError."""
    name = unicodedata.normalize("NFKC", text).strip().casefold()
    if not _NAME.fullmatch(name):
        raise PeopleError(gettext("a user name has 1 to 64 letters, digits or the signs . _ @ + -; choose another one"))
    return name


class People:
    """The open file. Raises StoreError if it cannot be read or written. Without ``path`` it is in memory."""

    def __init__(self, path: Path | None, passwords: Passwords | None = None, keep_days: float = 365.0) -> None:
        self._file = UsersFile(path)
        self.path = path
        self.audit = AuditLog(self._file, keep_days)
        self.passwords = passwords or Passwords()

    def close(self) -> None:
        self._file.close()

    # -- users -----------------------------------------------------------------------------------------------------

    @property
    def has_users(self) -> bool:
        return bool(self._file.rows("SELECT 1 FROM users LIMIT 1"))

    @property
    def has_admin(self) -> bool:
        return bool(self._file.rows("SELECT 1 FROM users WHERE role = ? AND NOT disabled LIMIT 1", Role.ADMIN))

    def accounts(self) -> list[Account]:
        return [_account(row) for row in self._file.rows("SELECT * FROM users ORDER BY name")]

    def account(self, name: str) -> Account | None:
        rows = self._file.rows("SELECT * FROM users WHERE name = ?", name)
        return _account(rows[0]) if rows else None

    def known(self, name: str) -> Account:
        """Raises PeopleError if there is no such user."""
        account = self.account(name)
        if account is None:
            raise PeopleError(gettext("no user %(name)s; see 'maskwatch users list'", name=repr(name)))
        return account

    def add(self, text: str, role: Role, cameras: frozenset[str] | None, password_hash: str) -> str:
        """Adds a user and returns the name; the first one must be an admin, or nobody could add the next. An empty hash
        is that of somebody who signs in elsewhere. Raises PeopleError."""
        name, is_first = user_name(text), not self.has_users
        if role is Role.ADMIN:
            cameras = None
        elif is_first:
            raise PeopleError(gettext("the first user must be an admin; choose that role"))
        stored = None if cameras is None else json.dumps(sorted(cameras))
        with self._file.transaction() as db:
            if db.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
                raise PeopleError(gettext("there is a user %(name)s already; choose another name", name=repr(name)))
            columns, values = "name, role, cameras, password", (name, role, stored, password_hash)
            db.execute(f"INSERT INTO users ({columns}) VALUES (?,?,?,?)", values)
        if is_first:
            self._remove_devices(LOCAL.name, TOKEN.name)
        return name

    def hash_password(self, name: str, password: str) -> str:
        """Slow on purpose. Raises PeopleError if ``password`` is too weak."""
        if fault := password_fault(name, password):
            raise PeopleError(fault)
        return self.passwords.hash(password)

    def change(self, name: str, role: Role, cameras: frozenset[str] | None, disabled: bool) -> None:
        """Also ends the sessions of the user. Raises PeopleError."""
        old = self.known(name)
        cameras = None if role is Role.ADMIN else cameras
        if (role, cameras, disabled) == (old.role, old.cameras, old.disabled):
            return
        with self._file.transaction() as db:
            stored = None if cameras is None else json.dumps(sorted(cameras))
            db.execute("UPDATE users SET role=?, cameras=?, disabled=? WHERE name=?", (role, stored, disabled, name))
            db.execute("DELETE FROM sessions WHERE name = ?", (name,))
            self._check_admins(old)
        self._remove_devices(name)

    def _remove_devices(self, *names: str) -> None:
        """Ends the alerts on the devices of users who may not see the same cameras any more."""
        if (devices := self._devices) is not None:
            for name in names:
                devices.remove_user(name)

    @property
    def _devices(self) -> PushStore | None:
        path = None if self.path is None else push_file(self.path.with_suffix(""))
        return PushStore(path) if path is not None and is_file(path) else None

    def rename_cameras(self, names: Mapping[str, str]) -> None:
        """Users and their devices keep a camera that has another name now. ``names``: the new names by the old ones."""
        for account in self.accounts():
            if account.cameras is not None and account.cameras & names.keys():
                stored = json.dumps(sorted(names.get(each, each) for each in account.cameras))
                self._file.execute("UPDATE users SET cameras = ? WHERE name = ?", stored, account.name)
        if (devices := self._devices) is not None:
            devices.rename_cameras(names)

    def remove(self, name: str, may_be_last: bool = False) -> None:
        """Raises PeopleError. ``may_be_last``: afterwards nobody may be left."""
        old = self.known(name)
        with self._file.transaction() as db:
            db.execute("DELETE FROM users WHERE name = ?", (name,))
            db.execute("DELETE FROM sessions WHERE name = ?", (name,))
            if not may_be_last or db.execute("SELECT 1 FROM users").fetchone():
                self._check_admins(old)
        self._remove_devices(name)

    def _check_admins(self, changed: Account) -> None:
        if changed.role is Role.ADMIN and not self.has_admin:
            raise PeopleError(gettext("this is the last admin; make another user admin first"))

    def set_password(self, name: str, password_hash: str, kept: int = 0, keeps_code: bool = True) -> None:
        """Ends all sessions of the user except ``kept``. Raises PeopleError."""
        self.known(name)
        with self._file.transaction() as db:
            db.execute("UPDATE users SET password = ? WHERE name = ?", (password_hash, name))
            if not keeps_code:
                db.execute("UPDATE users SET secret = '', recovery = '[]' WHERE name = ?", (name,))
            db.execute("DELETE FROM sessions WHERE name = ? AND id != ?", (name, kept))

    def rehash(self, name: str, password_hash: str) -> None:
        self._file.execute("UPDATE users SET password = ? WHERE name = ?", password_hash, name)

    def set_secret(self, name: str, secret: str, used_step: int, recovery: list[str]) -> None:
        """Turns on the codes of an authenticator app; an empty secret turns them off."""
        digests = json.dumps([digest_of(code) for code in recovery])
        statement = "UPDATE users SET secret = ?, used_step = ?, recovery = ? WHERE name = ?"
        self._file.execute(statement, secret, used_step, digests, name)

    def use_code(self, name: str, code: str, now_s: float) -> bool:
        """Whether ``code`` is right, or not needed. A code or a recovery code is right once."""
        with self._file.transaction() as db:
            account, code = self.known(name), "".join(code.split())
            if not account.secret:
                return True
            step = step_of_code(account.secret, code, now_s, account.used_step)
            if step is not None:
                db.execute("UPDATE users SET used_step = ? WHERE name = ?", (step, name))
                return True
            digest = digest_of(code.casefold())
            if digest not in account.recovery:
                return False
            left = json.dumps([each for each in account.recovery if each != digest])
            db.execute("UPDATE users SET recovery = ? WHERE name = ?", (left, name))
            return True

    def external(self, text: str, role: Role | None, subject: str = "") -> Account | None:
        """The user whom a proxy or a provider names; added, or given ``role``, if its groups say one. None if the user
        may not sign in, or not any more. Raises PeopleError."""
        name = user_name(text)
        rows = self._file.rows("SELECT name FROM users WHERE subject = ?", subject) if subject else []
        account = self.account(str(rows[0][0])) if rows else self.account(name)
        if account is not None and account.subject != subject:
            if account.password or account.subject:
                raise PeopleError(
                    gettext("the user %(name)s is somebody else here; an admin can remove that user", name=repr(name))
                )
            # An admin added the user for this sign-in.
            self._file.execute("UPDATE users SET subject = ? WHERE name = ?", subject, name)
        if account is None and role is not None:
            if not self.has_users:
                self._remove_devices(LOCAL.name, TOKEN.name)
            columns = "name, role, password, by_groups, subject"
            self._file.execute(f"INSERT INTO users ({columns}) VALUES (?,?,'',1,?)", name, role, subject)
        elif account is not None and role not in (None, account.role) and not account.disabled:
            with self._file.transaction() as db:
                db.execute("UPDATE users SET role = ? WHERE name = ?", (role, account.name))
                db.execute("DELETE FROM sessions WHERE name = ?", (account.name,))
            self._remove_devices(account.name)
        account = self.account(account.name if account else name)
        if account is None or account.disabled or (account.by_groups and role is None):
            return None
        return account

    # -- sessions --------------------------------------------------------------------------------------------------

    def csrf_key(self) -> bytes:
        """The key of the CSRF secrets. It is stored: a page that stays open while maskwatch restarts can still act."""
        query = "SELECT value FROM keys WHERE name = 'csrf'"
        with suppress(StoreError):
            if not self._file.rows(query):
                with self._file.transaction() as db:
                    db.execute("INSERT OR IGNORE INTO keys VALUES ('csrf', ?)", (secrets.token_hex(32),))
            return str(self._file.rows(query)[0][0]).encode()
        return secrets.token_bytes(32)  # on a full disk people must still see

    def open_session(
        self, name: str, now_s: float, end_s: float, address: str = "", label: str = "", is_program: bool = False
    ) -> str:
        """The secret of a new session, of which only the hash is stored."""
        secret = secrets.token_urlsafe(32)
        values = (digest_of(secret), name, is_program, label[:200], address, now_s, now_s, end_s)
        columns = "digest, name, is_program, label, address, created_s, seen_s, end_s"
        oldest = "SELECT id FROM sessions WHERE name = ? AND is_program = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
        with self._file.transaction() as db:
            db.execute("DELETE FROM sessions WHERE end_s <= ?", (now_s,))
            db.execute(f"INSERT INTO sessions ({columns}) VALUES (?,?,?,?,?,?,?,?)", values)
            db.execute(f"DELETE FROM sessions WHERE id IN ({oldest})", (name, is_program, SESSIONS_PER_USER))
            db.execute("UPDATE users SET signed_in_s = ? WHERE name = ? AND NOT ?", (now_s, name, is_program))
        return secret

    def session(self, secret: str, now_s: float, is_program: bool = False) -> Session | None:
        """The open session with this secret."""
        query = f"SELECT {_SESSION} FROM sessions WHERE digest = ? AND is_program = ? AND end_s > ?"
        rows = self._file.rows(query, digest_of(secret), is_program, now_s)
        if not rows:
            return None
        found = Session(*rows[0])  # type: ignore[arg-type]
        if now_s - found.seen_s >= SEEN_S:
            with suppress(StoreError):  # on a full disk people must still see
                self._file.execute("UPDATE sessions SET seen_s = ? WHERE id = ?", now_s, found.id)
        return found

    def sessions(self, name: str, now_s: float) -> list[Session]:
        """The open ones, newest first."""
        query = f"SELECT {_SESSION} FROM sessions WHERE name = ? AND end_s > ? ORDER BY id DESC"
        return [Session(*row) for row in self._file.rows(query, name, now_s)]  # type: ignore[arg-type]

    def end_session(self, name: str, session_id: int) -> None:
        self._file.execute("DELETE FROM sessions WHERE name = ? AND id = ?", name, session_id)

    def end_sessions(self, name: str, kept: int) -> None:
        """Ends all sessions of the user except ``kept``, also those of programs."""
        self._file.execute("DELETE FROM sessions WHERE name = ? AND id != ?", name, kept)


def _account(row: tuple[object, ...]) -> Account:
    name, role, cameras, password, disabled, secret, used_step, recovery, subject, by_groups, signed_in_s = row
    listed = None if cameras is None or role == Role.ADMIN else frozenset(json.loads(str(cameras)))
    codes = tuple(json.loads(str(recovery)))
    return Account(
        str(name), Role(str(role)), listed, str(password), bool(disabled), str(secret), int(str(used_step)), codes,
        str(subject), bool(by_groups), float(str(signed_in_s)),
    )  # fmt: skip
