"""Users: passwords, codes, guessing, sessions, the first user, proxies, and the audit log."""

import csv
import io
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fakes_web import CHEAP, LIMIT_S, TOKEN, FakeMonitor, Running, make_event, serving, wait_until

from app.alerts.push_store import Device, PushStore
from app.cli.main import main
from app.core.errors import SettingsError
from app.settings.alerts import push_file
from app.settings.load import load_settings
from app.settings.web import people_file
from app.web import auth, middleware
from app.web.assets import browser_name
from app.web.audit import DELETED
from app.web.auth import MAX_DELAY_S, MAX_FAILURES, Authenticator
from app.web.passwords import STEP_S, Passwords, code_at, new_secret, step_of_code
from app.web.people import People, PeopleError, Role, User

PASSWORD = "correct horse battery"
NEW_PASSWORD = "quite another password"


@pytest.fixture
def people() -> People:
    return People(None, CHEAP)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    """A web view with an admin, an operator and a viewer of one camera."""
    with serving(tmp_path, FakeMonitor("door", "yard")) as running:
        add_users(running.server.site.people)
        yield running


def add_users(people: People) -> None:
    people.add("boss", Role.ADMIN, None, CHEAP.hash(PASSWORD))
    people.add("anna", Role.OPERATOR, None, CHEAP.hash(PASSWORD))
    people.add("vera", Role.VIEWER, frozenset(["door"]), CHEAP.hash(PASSWORD))


class Browser:
    """A browser without JavaScript: it sends the forms of pages."""

    def __init__(self, running: Running, address: str = "127.0.0.1", **headers: str) -> None:
        transport = httpx.HTTPTransport(verify=False, local_address=address)
        self.client = httpx.Client(base_url=running.base, timeout=LIMIT_S, transport=transport, headers=headers)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def send(self, path: str, page: str = "", **fields: str) -> httpx.Response:
        """Sends a form with the secret of ``page``."""
        csrf = self.get(page or path).text.partition('name="csrf" content="')[2].partition('"')[0]
        return self.client.post(path, data={"csrf": csrf, **fields})

    def sign_in(self, name: str, password: str = PASSWORD, code: str = "") -> httpx.Response:
        return self.send("/login", name=name, password=password, code=code)


@contextmanager
def browser(running: Running, name: str = "", **more: Any) -> Iterator[Browser]:
    """A browser in which ``name`` has signed in."""
    found = Browser(running, **more)
    with found.client:
        if name:
            response = found.sign_in(name)
            assert (response.status_code, response.headers["location"]) == (303, "/"), response.text
        yield found


def entries(running: Running, what: str = "") -> list[tuple[str, str, str]]:
    """(who, what, target) of the audit log, oldest first."""
    found = list(running.server.site.people.audit.entries(what=what))[::-1]
    return [(entry.who, entry.what, entry.target) for entry in found]


# -- passwords and codes -----------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_standard() -> None:
    """The SHA-1 vectors of RFC 6238, appendix B, with their last six digits."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for time_s, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        assert code_at(secret, time_s // STEP_S) == code
        assert step_of_code(secret, code, time_s + STEP_S, 0) == time_s // STEP_S, "clocks may differ by a step"
        assert step_of_code(secret, code, time_s, time_s // STEP_S) is None, "it was used"
        assert step_of_code(secret, code, time_s + 3 * STEP_S, 0) is None, "it is too old"
    for wrong in ("", "000000", "28708", "२८७०८२"):
        assert step_of_code(secret, wrong, 59, 0) is None


def test_passwords_are_hashed_with_salt_and_compared_after_normalization() -> None:
    stored = CHEAP.hash("Grüße aus Köln")
    assert stored.startswith("$argon2id$")
    assert stored != CHEAP.hash("Grüße aus Köln")
    assert CHEAP.matches(stored, "Gru\u0308ße aus Ko\u0308ln")
    assert not CHEAP.matches(stored, "Grüße aus Bonn")
    assert not CHEAP.matches("", "Grüße aus Köln")
    assert not CHEAP.matches("no hash at all", "x")
    assert Passwords().is_outdated(stored), "the default costs more"
    assert not CHEAP.is_outdated(stored)


class CountedHasher(PasswordHasher):
    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, *given: Any) -> Any:
        self.verified += 1
        return super().verify(*given)


@pytest.mark.parametrize("name", ["boss", "nobody", "off", "external", "not a name!", ""])
def test_an_unknown_user_costs_as_much_as_a_known_one(name: str) -> None:
    """One verification for each attempt, so that its time says nothing."""
    import asyncio

    hasher = CountedHasher()
    people = People(None, Passwords(hasher))
    for each in ("boss", "off"):
        people.add(each, Role.ADMIN, None, people.hash_password(each, PASSWORD))
    people.change("off", Role.ADMIN, None, disabled=True)
    people.add("external", Role.VIEWER, None, "")
    access = Authenticator(None, 100.0, people=people)
    for password in (PASSWORD, "wrong", ""):
        before = hasher.verified
        account = asyncio.run(access.sign_in(name, password, "", "10.0.0.1"))
        assert (account is not None) == (name == "boss" and password == PASSWORD)
        assert hasher.verified == before + 1


@pytest.mark.parametrize("password", ["short", "x" * 201, "a-long-name"])
def test_weak_passwords_are_refused(people: People, password: str) -> None:
    with pytest.raises(PeopleError, match="password must"):
        people.hash_password("a-long-name", password)


# -- users -------------------------------------------------------------------------------------------------------------


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = people_file(tmp_path / "events.db")
    with serving(tmp_path) as running:
        running.server.site.people.add("boss", Role.ADMIN, None, CHEAP.hash(PASSWORD))
        assert path.name == "events.db.users"
        if sys.platform != "win32":
            assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("events.db.users*")} == {0o600}
        content = b"".join(each.read_bytes() for each in tmp_path.glob("events.db.users*"))
    assert b"boss" in content
    assert PASSWORD.encode() not in content


def test_the_first_user_and_the_last_admin(people: People) -> None:
    with pytest.raises(PeopleError, match="first user must be an admin"):
        people.add("anna", Role.VIEWER, None, "")
    assert people.add(" Böss@Example.org ", Role.ADMIN, frozenset(["door"]), "") == "böss@example.org"
    boss = people.account("böss@example.org")
    assert boss is not None
    assert boss.user == User("böss@example.org", Role.ADMIN, None), "an admin sees all cameras"
    with pytest.raises(PeopleError, match="already"):
        people.add("BÖSS@example.org", Role.VIEWER, None, "")
    for bad in ("", "two words", "<b>", "a/b", "(token)", "x" * 65, "a\nb"):
        with pytest.raises(PeopleError, match="user name"):
            people.add(bad, Role.VIEWER, None, "")
    people.add("anna", Role.VIEWER, None, "")
    for change in (
        lambda: people.remove(boss.name),
        lambda: people.change(boss.name, Role.OPERATOR, None, disabled=False),
        lambda: people.change(boss.name, Role.ADMIN, None, disabled=True),
    ):
        with pytest.raises(PeopleError, match="last admin"):
            change()
    people.change("anna", Role.ADMIN, None, disabled=False)
    people.remove(boss.name)
    with pytest.raises(PeopleError, match="no user 'nobody'"):
        people.remove("nobody")


@pytest.mark.parametrize("adds", [lambda people: people.add("boss", Role.ADMIN, None, ""),
                                  lambda people: people.external("boss", Role.ADMIN)])  # fmt: skip
def test_devices_from_before_the_first_user_get_no_more_alerts(tmp_path: Path, adds: Any) -> None:
    """They were those of anybody, and would get the alerts of all cameras for ever."""
    people, devices = People(people_file(tmp_path / "events.db"), CHEAP), PushStore(push_file(tmp_path / "events.db"))
    for name in ("(local)", "(token)"):
        devices.save(Device(f"https://push.example/{name}", "", "", name))
    adds(people)
    assert devices.devices() == []
    devices.save(Device("https://push.example/boss", "", "", "boss"))
    people.add("vera", Role.VIEWER, None, "")
    assert [device.user for device in devices.devices()] == ["boss"]
    people.close()


def test_cameras_narrow_a_filter() -> None:
    from app.alerts.store_types import EventFilter

    some, none = User("a", Role.VIEWER, frozenset("ab")), User("b", Role.VIEWER, frozenset())
    assert some.narrow(EventFilter()).cameras == ("a", "b")
    assert some.narrow(EventFilter(cameras=("b", "c"))).cameras == ("b",)
    for query in (none.narrow(EventFilter()), some.narrow(EventFilter(cameras=("c",)))):
        assert query.cameras, "an empty filter would match all"
        assert not set(query.cameras) & {"a", "b", "c"}
    assert User("c", Role.ADMIN).narrow(EventFilter(cameras=("c",))).cameras == ("c",)


def test_nobody_signs_in_until_the_owner_adds_a_user(running: Running) -> None:
    with browser(running) as owner:
        assert owner.get("/").status_code == 200
        assert "nobody has to sign in" in owner.get("/users").text
        assert owner.send("/users", name="anna", password=PASSWORD, role="viewer", all="1").status_code == 400
        assert owner.send("/users", name="anna", password="short", role="admin").status_code == 400
        assert owner.send("/users", name="Anna", password=PASSWORD, role="admin").status_code == 303
        assert owner.get("/").headers["location"] == "/login"
        assert owner.client.get("/api/v1/status").status_code == 401
        assert "Token" not in owner.get("/login").text
    with browser(running, "anna") as anna:
        assert anna.get("/users").status_code == 200
    assert ("(local)", "added a user", "anna: admin, all cameras") in entries(running)


def test_a_first_user_on_a_network_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path, host="0.0.0.0", users=True) as running:
        url, _, link = running.server.welcome.partition("\nadd the first user: ")
        assert url.startswith("web view: http://")
        path = "/first-user?code=" + link.partition("code=")[2]
        with browser(running) as owner:
            assert owner.get("/").headers["location"] == "/login"
            for wrong in ("/first-user", f"{path}x"):
                assert owner.get(wrong).status_code == 403
            fields = {"code": path.partition("=")[2], "name": "boss", "password": PASSWORD}
            assert owner.send("/first-user", path, **{**fields, "code": "wrong"}).status_code == 403
            assert "at least" in owner.get(path).text.lower()
            assert owner.send("/first-user", path, **{**fields, "password": "short"}).status_code == 400
            response = owner.send("/first-user", path, **fields)
            assert (response.status_code, response.headers["location"]) == (303, "/")
            assert owner.get("/users").status_code == 200, "signed in as admin"
        with browser(running) as stranger:
            assert stranger.get(path).status_code == 403, "the link is used"
            assert stranger.send("/first-user", "/login", **fields, name_="x").status_code == 403
        assert "add the first user" not in running.server.welcome
    assert fields["code"] not in caplog.text
    with serving(tmp_path, host="0.0.0.0", users=True) as running:
        assert "add the first user" not in running.server.welcome, "there is one"


def test_the_token_stays_the_way_of_programs(locked: Running) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert "code=" not in locked.server.welcome
    add_users(locked.server.site.people)
    with locked.client(headers=bearer) as client:
        assert client.get("/users").status_code == 200
    with browser(locked) as person:
        assert person.send("/login", token=TOKEN).status_code == 401, "people sign in with a name"
    with browser(locked, "boss") as boss:
        assert boss.get("/users").status_code == 200


def test_an_admin_changes_users(served: Running) -> None:
    with browser(served, "boss") as boss, browser(served, "anna") as anna, browser(served, "vera") as vera:
        assert anna.get("/users").status_code == vera.get("/audit").status_code == 403
        fields = {"role": "operator", "cameras": "door\r\nyard \r\n\r\n"}
        assert boss.send("/users/vera/change", "/users", **fields).status_code == 303
        assert vera.get("/").headers["location"] == "/login", "a changed role ends the sessions"
        changed = served.server.site.people.account("vera")
        assert changed is not None
        assert changed.user == User("vera", Role.OPERATOR, frozenset(["door", "yard"]))
        assert boss.send("/users/anna/password", "/users", password=NEW_PASSWORD).status_code == 303
        assert anna.get("/").status_code == 303, "so does a changed password"
        assert anna.sign_in("anna").status_code == 401
        assert anna.sign_in("anna", NEW_PASSWORD).status_code == 303
        assert boss.send("/users/anna/change", "/users", role="operator", all="1", disabled="1").status_code == 303
        assert anna.get("/").status_code == 303
        assert anna.sign_in("anna", NEW_PASSWORD).status_code == 401
        assert boss.send("/users/anna/remove", "/users").status_code == 303
        for path, more in (("remove", {}), ("change", {"role": "viewer"}), ("password", {"password": PASSWORD})):
            response = boss.send(f"/users/nobody/{path}", "/users", **more)
            assert response.status_code == 400
            assert "no user" in response.text
        assert "last admin" in boss.send("/users/boss/remove", "/users").text
        assert "no such role" in boss.send("/users/vera/change", "/users", role="king").text
    whats = [what for who, what, _ in entries(served) if (who == "boss" and "user" in what) or "reset" in what]
    assert whats == ["changed a user", "reset a password", "changed a user", "removed a user"]


# -- sign-in and guessing ----------------------------------------------------------------------------------------------


def test_sign_in_and_sign_out(served: Running) -> None:
    with browser(served) as person:
        before = person.get("/login").headers["set-cookie"]
        right = person.sign_in(" ANNA ")
        assert right.status_code == 303
        cookie = right.headers["set-cookie"]
        assert cookie.partition(";")[0] != before.partition(";")[0], "never the session that the client sent"
        assert cookie.partition(";")[2] == before.partition(";")[2]
        assert "HttpOnly; SameSite=Strict" in cookie
        assert person.get("/login").headers["location"] == "/"
        old = {"Cookie": cookie.partition(";")[0]}
        assert person.send("/logout", "/account").headers["location"] == "/login"
        assert person.client.get("/", headers=old).status_code == 303
        answers = {
            person.sign_in(*each).text.partition("</form>")[0] for each in (("anna", "wrong"), ("nobody", PASSWORD))
        }
        assert len({text.split("csrf")[-1][80:] for text in answers}) == 1, "the same message"
    assert entries(served) == [
        ("anna", "signed in", ""),
        ("anna", "signed out", ""),
        ("", "failed to sign in", "anna"),
        ("", "failed to sign in", "unknown name"),
    ]


def test_an_address_with_many_wrong_passwords_has_to_wait(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FAILURE_PERIOD_S", 3600.0)  # longer than the test
    with browser(served) as stranger:
        statuses = [stranger.sign_in(f"name-{number}", "wrong").status_code for number in range(MAX_FAILURES)]
        assert set(statuses) == {401}
        refused = stranger.sign_in("anna")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    with browser(served, "anna", address="127.0.0.2") as anna:
        assert anna.get("/").status_code == 200, "others are not locked out"


def test_guesses_for_one_name_get_slow_but_lock_nobody_out() -> None:
    import asyncio

    now_s, waited = [0.0], []
    people = People(None, CHEAP)
    add_users(people)

    async def run() -> None:
        async def sleep(delay_s: float) -> None:
            waited.append(delay_s)

        access = Authenticator(None, 100.0, lambda: now_s[0], people, sleep=sleep)
        for number in range(40):  # from as many addresses
            assert await access.sign_in("anna", "wrong", "", f"10.0.0.{number}") is None
        assert waited[:8] == [0, 0, 0, 0.5, 1, 2, 4, 8]
        assert set(waited[8:]) == {MAX_DELAY_S}
        account = await access.sign_in("anna", PASSWORD, "", "10.1.0.1")
        assert account is not None, "delayed, not refused"
        await access.sign_in("vera", PASSWORD, "", "10.1.0.1")
        assert waited[-1] == 0, "other names are not delayed"
        now_s[0] += auth.NAME_PERIOD_S + 1
        await access.sign_in("anna", PASSWORD, "", "10.1.0.1")
        assert waited[-1] == 0, "later it is fast again"
        # Attempts at the same time count too.
        waited.clear()
        await asyncio.gather(*(access.sign_in("vera", "wrong", "", f"10.2.0.{number}") for number in range(20)))
        assert sorted(waited)[-5:] == [MAX_DELAY_S] * 5
        for _ in range(MAX_FAILURES):
            access.record_failure("10.3.0.1")
        assert not access.may_attempt("10.3.0.1")
        now_s[0] -= 10_000
        assert access.may_attempt("10.3.0.1"), "a clock that is set back locks nobody out"
        now_s[0] += 10_000
        # The memory is bounded, and a network of IPv6 counts as one address.
        for number in range(3000):
            access.record_failure(f"10.{number // 256}.{number % 256}.1")
        assert len(access.failed) <= auth.MAX_ADDRESSES
        for number in range(MAX_FAILURES):
            access.record_failure(f"2001:db8::{number:x}")
        assert not access.may_attempt("2001:db8::ffff")
        assert access.may_attempt("2001:db8:0:1::1")
        assert access.may_attempt("::ffff:10.9.9.9")

    asyncio.run(run())


def test_an_outdated_hash_is_replaced_at_the_next_sign_in(served: Running) -> None:
    people = served.server.site.people
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    people.rehash("anna", old)
    with browser(served, "anna"):
        account = people.account("anna")
    assert account is not None
    assert account.password != old
    assert CHEAP.matches(account.password, PASSWORD)


def test_a_code_is_needed_and_right_once(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FREE_FAILURES", 1000)  # guesses are not slow in this test
    monkeypatch.setattr(auth, "MAX_FAILURES", 1000)
    with browser(served, "anna") as anna, browser(served) as phone:
        secret = anna.get("/account").text.partition("<code>")[2].partition("</code>")[0]

        def code(steps: int = 0) -> str:
            return code_at(secret, int(time.time() // STEP_S) + steps)

        turn_on = {"secret": secret, "current": PASSWORD}
        again = anna.send("/account/code", "/account", **turn_on, code="000000").text
        assert "code is wrong" in again
        assert f"<code>{secret}</code>" in again, "what the app knows now is still right"
        assert "code is wrong" in anna.send("/account/code", "/account", **turn_on | {"secret": "x" * 9000}).text
        assert (
            "code is wrong" in anna.send("/account/code", "/account", **{**turn_on, "secret": "x" * 32}, code="1").text
        )
        assert (
            "password is wrong" in anna.send("/account/code", "/account", secret=secret, current="x", code=code()).text
        )
        page = anna.send("/account/code", "/account", **turn_on, code=code(-1))
        recovery = [part.partition("</code>")[0] for part in page.text.split("<li><code>")[1:]]
        assert len(set(recovery)) == 8
        for wrong in ("", "123456", code(-1)):
            assert phone.sign_in("anna", PASSWORD, wrong).status_code == 401
        right = code()
        assert phone.sign_in("anna", "wrong", right).status_code == 401
        assert phone.sign_in("anna", PASSWORD, f"{right[:3]} {right[3:]}").status_code == 303
        phone.client.cookies.clear()
        assert phone.sign_in("anna", PASSWORD, right).status_code == 401, "a code is right once"
        assert phone.sign_in("anna", PASSWORD, recovery[0].upper()).status_code == 303
        phone.client.cookies.clear()
        assert phone.sign_in("anna", PASSWORD, recovery[0]).status_code == 401
        assert "7 recovery codes are left" in anna.get("/account").text
        assert anna.send("/account/code", "/account", current=PASSWORD).status_code == 303
        assert phone.sign_in("anna").status_code == 303
    assert [what for _, what, _ in entries(served) if "code" in what] == [
        "turned the sign-in code on",
        "turned the sign-in code off",
    ]


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_own_sessions_are_listed_and_ended(served: Running) -> None:
    agent = {"User-Agent": "Phone <b>1</b>"}
    with (
        browser(served, "anna") as desk,
        browser(served, "anna", address="127.0.0.3", **agent) as phone,
        browser(served, "boss") as boss,
    ):
        text = desk.get("/account").text
        assert "Phone &lt;b&gt;1&lt;/b&gt;" in text
        assert "127.0.0.3" in text
        assert text.count("This session") == 1
        sessions = served.server.site.people.sessions("boss", time.time())
        desk.send("/account/sessions/end", "/account", session=str(sessions[0].id))
        assert boss.get("/").status_code == 200, "those of others are not ended"
        newest = served.server.site.people.sessions("anna", time.time())[0]
        assert newest.address == "127.0.0.3"
        desk.send("/account/sessions/end", "/account", session=str(newest.id))
        assert phone.get("/").status_code == 303
        assert phone.sign_in("anna").status_code == 303
        desk.send("/account/sessions/end", "/account")
        assert phone.get("/").status_code == 303
        assert desk.get("/").status_code == 200
    assert ("anna", "ended sessions", str(newest.id)) in entries(served)


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
         "Chrome, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
         " Edg/156.0.0.0", "Edge, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
         "Mobile/15E148 Safari/604.1", "Safari, iPhone"),
        ("Mozilla/5.0 (Android 16; Mobile; rv:150.0) Gecko/150.0 Firefox/150.0", "Firefox, Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:150.0) Gecko/20100101 Firefox/150.0", "Firefox, macOS"),
        ("Mozilla/4.0 (unknown)", "Mozilla/4.0 (unknown)"),
        ("Grafana at Chrome/Linux", "Grafana at Chrome/Linux"),
    ],
)  # fmt: skip
def test_a_session_has_the_name_of_its_browser(agent: str, shown: str) -> None:
    assert browser_name(agent) == shown


def test_a_changed_password_ends_the_other_sessions(served: Running) -> None:
    with browser(served, "anna") as desk, browser(served, "anna") as phone:
        fields = {"current": PASSWORD, "password": NEW_PASSWORD}
        assert "password is wrong" in desk.send("/account/password", "/account", **{**fields, "current": "x"}).text
        assert "must have" in desk.send("/account/password", "/account", **{**fields, "password": "short"}).text
        assert phone.get("/").status_code == 200
        assert desk.send("/account/password", "/account", **fields).status_code == 303
        assert desk.get("/").status_code == 200
        assert phone.get("/").status_code == 303
        assert phone.sign_in("anna").status_code == 401
        assert phone.sign_in("anna", NEW_PASSWORD).status_code == 303


@pytest.mark.parametrize("path", ["/api/v1/stream", "/api/v1/live", "/api/v1/cameras/1/stream.mjpeg"])
def test_an_open_stream_ends_with_its_session(served: Running, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "RECHECK_S", 0.02)
    with browser(served, "vera") as vera, vera.client.stream("GET", path) as response:
        parts = response.iter_bytes()
        next(parts)
        served.server.site.people.change("vera", Role.VIEWER, frozenset(["yard"]), disabled=False)
        for _ in parts:
            pass  # the loop ends: the server closes the stream
    assert response.is_stream_consumed


def test_an_open_stream_of_everybody_ends_when_users_are_added(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "RECHECK_S", 0.02)
    with running.client() as client, client.stream("GET", "/api/v1/stream") as response:
        parts = response.iter_bytes()
        next(parts)
        add_users(running.server.site.people)
        for _ in parts:
            pass
    assert response.is_stream_consumed


def test_sessions_survive_a_restart_but_not_a_new_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with serving(tmp_path, token_env="PAGE_TOKEN") as running, browser(running) as person:
        assert person.send("/login", token=TOKEN).status_code == 303
        by_token = dict(person.client.cookies)
        add_users(running.server.site.people)
    with serving(tmp_path, token_env="PAGE_TOKEN") as running, running.client(cookies=by_token) as client:
        assert client.get("/").status_code == 200
        with browser(running, "anna") as anna:
            by_name = dict(anna.client.cookies)
    monkeypatch.setenv("PAGE_TOKEN", f"{TOKEN}-new")
    with serving(tmp_path, token_env="PAGE_TOKEN") as running:
        with running.client(cookies=by_token) as client:
            assert client.get("/").status_code == 303
        with running.client(cookies=by_name) as client:
            assert client.get("/").status_code == 200
        content = b"".join(each.read_bytes() for each in tmp_path.glob("events.db.users*"))
        assert by_name["maskwatch_session"].encode() not in content, "only its hash is stored"


def test_a_user_makes_a_token_for_a_program(served: Running) -> None:
    with browser(served, "anna") as anna:
        assert "password is wrong" in anna.send("/account/tokens", "/account", label="script", current="x").text
        page = anna.send("/account/tokens", "/account", label="script", current=PASSWORD).text
        token = page.partition("<p><code>")[2].partition("</code>")[0]
        bearer = {"Authorization": f"Bearer {token}"}
        assert anna.client.get("/", headers={"Cookie": f"maskwatch_session={token}"}).status_code == 303, "no cookie"
        with served.client(headers=bearer) as program:
            assert program.post("/api/v1/cameras/1/mute", json={"minutes": 5}).status_code == 200
            assert program.get("/users").status_code == 403
            assert "Token of a program" in anna.get("/account").text
            anna.send("/account/sessions/end", "/account")
            assert program.get("/api/v1/status").status_code == 401
    assert ("anna", "muted a camera", "door") in entries(served)


def test_pages_of_an_account_need_the_csrf_secret(served: Running) -> None:
    posts = ["/account/password", "/account/sessions/end", "/account/code", "/account/tokens"]
    posts += ["/users", "/users/anna/change", "/users/anna/password", "/users/anna/remove", "/login", "/first-user"]
    with browser(served, "boss") as boss, browser(served, "anna") as anna:
        foreign = anna.get("/").text.partition('name="csrf" content="')[2].partition('"')[0]
        for path in posts:
            for csrf in ("", "0" * 64, foreign):
                assert boss.client.post(path, data={"csrf": csrf}).status_code == 403, path
            cross = {"Origin": "https://evil.example"}
            own = boss.get("/").text.partition('name="csrf" content="')[2].partition('"')[0]
            assert boss.client.post(path, data={"csrf": own}, headers=cross).status_code == 403, path
        assert anna.get("/").status_code == 200


def test_a_viewer_sees_no_buttons(served: Running) -> None:
    with browser(served, "vera") as vera, browser(served, "anna") as anna:
        assert 'data-role="viewer"' in vera.get("/").text
        assert 'data-role="operator"' in anna.get("/").text
        assert "/users" not in vera.get("/").text
        assert '[data-role="viewer"]' in vera.get("/static/style.css").text


# -- proxies -----------------------------------------------------------------------------------------------------------

PROXY: dict[str, Any] = {
    "trusted_proxies": ["127.0.0.1"],
    "proxy_user_header": "Remote-User",
    "proxy_groups_header": "Remote-Groups",
    "roles": {"staff": "viewer", "guards": "operator"},
}


def test_a_listed_proxy_names_the_user(tmp_path: Path) -> None:
    with serving(tmp_path, FakeMonitor("door", "yard"), **PROXY) as running:
        add_users(running.server.site.people)
        anna = {"Remote-User": "Anna", "X-Forwarded-For": "203.0.113.9, 10.0.0.1"}
        with browser(running, **anna) as page:
            assert page.get("/").status_code == 200
            assert "Sign out" not in page.get("/").text
            assert page.send("/api/v1/cameras/1/mute", "/", minutes="15").status_code == 303
            assert page.client.post("/api/v1/cameras/1/mute", data={"minutes": "15"}).status_code == 403, "needs CSRF"
            assert page.get("/users").status_code == 403
        marked = [entry for entry in running.server.site.people.audit.entries() if entry.what == "muted a camera"]
        assert [(entry.who, entry.address) for entry in marked] == [("anna", "10.0.0.1")], (
            "the last hop that is no proxy"
        )
        with browser(running, **{"Remote-User": "gerd", "Remote-Groups": "other, guards,staff"}) as page:
            assert page.get("/account").text.count("operator") >= 1, "the highest role of the groups"
        with browser(running, **{"Remote-User": "gerd", "Remote-Groups": "staff"}) as page:
            assert page.send("/api/v1/cameras/1/mute", "/", minutes="15").status_code == 403, "the groups changed"
        with browser(running, **{"Remote-User": "gerd", "Remote-Groups": ""}) as page:
            assert page.get("/").status_code == 403, "the user left the groups"
        for refused in ({"Remote-User": "stranger"}, {"Remote-User": "two words", "Remote-Groups": "staff"}):
            with browser(running, **refused) as page:
                assert page.get("/api/v1/status").status_code == 403
        rebound = {**anna, "Host": f"evil.example:{running.port}"}
        with running.client(headers=rebound) as client:
            assert client.get("/api/v1/status").status_code == 400, "DNS rebinding"
        twice = [("Remote-User", "boss"), ("Remote-User", "anna")]
        assert httpx.get(f"{running.base}/api/v1/status", headers=twice).status_code == 400
        running.server.site.people.change("anna", Role.OPERATOR, None, disabled=True)
        with browser(running, **anna) as page:
            assert page.get("/api/v1/status").status_code == 403
        with browser(running, address="127.0.0.5", **{"Remote-User": "boss", "X-Forwarded-For": "1.2.3.4"}) as page:
            assert page.get("/api/v1/status").status_code == 401, "not a listed proxy"
        with browser(running) as page:
            assert page.get("/").headers["location"] == "/login", "the proxy names nobody"


@pytest.mark.parametrize(
    ("web", "expected"),
    [
        ({"proxy_user_header": "Remote-User"}, "needs trusted_proxies"),
        ({"trusted_proxies": ["proxy.example"]}, "not an address"),
        ({"roles": {"staff": "king"}}, "web.roles.staff"),
        ({"proxy_user_header": "Remote User"}, "web.proxy_user_header"),
        ({"oidc": {"issuer": "https://id.example"}}, "needs oidc.client_id"),
    ],
)
def test_unsafe_settings_of_a_proxy_are_refused(web: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        load_settings(None, {"web": web})


# -- audit log ---------------------------------------------------------------------------------------------------------


def test_what_people_do_is_recorded(tmp_path: Path) -> None:
    with serving(tmp_path, FakeMonitor("door", "yard"), {"snapshots": "blur_all"}) as served:
        add_users(served.server.site.people)
        event = served.add_event(make_event(), b"\xff\xd8")
        served.server.site.clips.create()
        served.server.site.clips.file(event.id, ".clip.mp4").write_bytes(b"clip")
        with browser(served, "anna") as anna:
            for _ in range(3):
                for path in ("/events?camera=door", "/api/v1/cameras/2/picture.jpg"):
                    anna.get(path)
                for name in ("picture.jpg", "clip.mp4"):
                    assert anna.get(f"/api/v1/events/{event.id}/{name}").status_code == 200
            assert anna.get("/api/v1/events/missing/picture.jpg").status_code == 404
            assert anna.get("/api/v1/events.csv?camera=door").status_code == 200
            assert anna.get("/api/v1/day.zip?day=2026-01-02").status_code == 200
            assert anna.send(f"/api/v1/alerts/{event.id}/acknowledge", "/account").status_code == 303
            assert anna.send("/api/v1/alerts/acknowledge", "/account", id=event.id).status_code == 303
            assert anna.send(f"/api/v1/events/{event.id}/verdict", "/account", verdict="right").status_code == 303
            anna.get("/users")
            record = anna.client.get(f"/api/v1/events/{event.id}").json()
            assert record["acknowledged_by"] == "anna at 127.0.0.1"
            assert record["verdict_by"] == "anna at 127.0.0.1"
        assert entries(served) == [
            ("anna", "signed in", ""),
            ("anna", "viewed events", "camera=door"),
            ("anna", "viewed live images", "yard"),
            ("anna", "viewed a snapshot", event.id),
            ("anna", "viewed a clip", event.id),
            ("anna", "exported events", "camera=door"),
            ("anna", "exported a day", "day=2026-01-02"),
            ("anna", "acknowledged", event.id),
            ("anna", "acknowledged", event.id),
            ("anna", "gave a verdict", event.id),
            ("anna", "viewed an event", event.id),
        ]


def test_the_page_shows_filters_and_exports_the_log(served: Running) -> None:
    people = served.server.site.people
    for number in range(230):
        people.audit.record("anna" if number % 2 else "=vera", "10.0.0.1", "viewed a clip", f"<b>event {number}</b>")
    with browser(served, "boss") as boss:
        first = boss.get("/audit").text
        assert "&lt;b&gt;event 229&lt;/b&gt;" in first
        assert "event 129&" not in first
        older = first.partition('href="/audit?before=')[2].partition('"')[0]
        assert "event 129&" in boss.get(f"/audit?before={older}").text
        one = boss.get("/audit?who=anna&what=viewed+a+clip").text
        assert "event 229&" in one
        assert "event 228&" not in one
        for query in ("since=2999-01-01", "until=2000-01-01", "who=missing"):
            assert "No entries match" in boss.get(f"/audit?{query}").text
        for query in ("since=x&until=9999-12-31&before=x", "before=99999999999999999999"):
            assert "event 229&" in boss.get(f"/audit?{query}").text
        rows = list(csv.DictReader(io.StringIO(boss.get("/audit.csv?what=viewed+a+clip").text)))
        assert len(rows) == 230
        assert (rows[0]["target"], rows[0]["who"]) == ("<b>event 229</b>", "anna")
        assert rows[1]["who"] == "'=vera", "no formula for a table program"
        assert "Somebody changed" not in boss.get("/audit").text
    assert ("boss", "exported the audit log", "what=viewed+a+clip") in entries(served)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE audit SET who = 'anna' WHERE number = 3", "entry 3 was changed"),
        ("UPDATE audit SET target = '' WHERE number = 1", "entry 1 was changed"),
        ("UPDATE audit SET at_s = at_s + 1 WHERE number = 6", "entry 6 was changed"),
        ("DELETE FROM audit WHERE number = 4", "entry 4 was removed"),
        ("DELETE FROM audit WHERE number = 6", "entry 6 was removed"),
        ("DELETE FROM audit WHERE number <= 2", "entry 2 was removed"),
        ("DELETE FROM audit", "entry 6 was removed"),
        (
            "INSERT INTO audit SELECT 7, at_s, who, address, what, target, previous, digest FROM audit WHERE number=6",
            "entry 7 was changed",
        ),
    ],
)
def test_a_change_of_the_log_shows(tmp_path: Path, change: str, fault: str) -> None:
    path = tmp_path / "people"
    people = People(path, CHEAP)
    for number in range(6):
        people.audit.record("boss", "10.0.0.1", "viewed a clip", f"event {number}")
    assert people.audit.fault() == ""
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()
    assert people.audit.fault() == fault
    people.audit.record("boss", "10.0.0.1", "signed in")
    assert people.audit.fault(), "later entries do not hide it"


def test_old_entries_are_deleted_and_the_rest_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now_s = tmp_path / "people", time.time()
    for days_ago in (40, 31, 1, 0):
        monkeypatch.setattr(time, "time", lambda days_ago=days_ago: now_s - days_ago * 86_400)
        people = People(path, CHEAP, keep_days=30)
        people.audit.record("boss", "10.0.0.1", "viewed a clip", f"{days_ago} days ago")
        people.close()
    people = People(path, CHEAP, keep_days=30)
    found = [(entry.what, entry.target) for entry in people.audit.entries()]
    kept, older = ("viewed a clip", "1 days ago"), (DELETED, "1")
    assert found == [("viewed a clip", "0 days ago"), (DELETED, "2"), kept, older]
    assert people.audit.fault() == ""


def test_the_web_view_works_on_a_disk_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with serving(tmp_path, alerts={"store": tmp_path / "file" / "events.db"}) as running:
        assert running.get("/audit").status_code == 200
    assert "kept only while maskwatch runs" in caplog.text


def test_damaged_users_stop_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people_file(tmp_path / "events.db").write_bytes(b"no database, or a damaged one" * 99)
    with pytest.raises(Exception, match=r"events\.db\.users"), serving(tmp_path):
        pass  # never open to everybody


# -- command line ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs ``maskwatch users``; returns (exit code, standard output, standard error)."""

    def run(*argv: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = main(["users", *argv, "--store", str(tmp_path / "events.db")])
        return code, *capsys.readouterr()

    return run


def test_users_on_the_command_line(command: Any, tmp_path: Path) -> None:
    code, _, error = command("add", "boss", typed="short\n")
    assert (code, error.count("\n")) == (2, 1)
    assert "10 to 200" in error
    code, _, error = command("add", "anna", "--role", "viewer", "--no-password")
    assert (code, "must be an admin" in error) == (2, True)
    assert command("add", "Boss", typed=f"{PASSWORD}\n")[:2] == (0, "boss is added as admin\n")
    assert command("add", "anna", "--camera", "door", "--camera", "yard", typed=f"{PASSWORD}\n")[0] == 0
    assert command("add", "eva", "--no-password", "--role", "operator")[0] == 0
    listed = command("list")[1]
    assert [" ".join(line.split()) for line in listed.splitlines()[1:]] == [
        "anna viewer door, yard no never",
        "boss admin all no never",
        "eva operator all no never",
    ]
    assert command("role", "anna", "operator")[0] == 0
    people = People(people_file(tmp_path / "events.db"), CHEAP)
    anna = people.account("anna")
    assert anna is not None
    assert anna.user == User("anna", Role.OPERATOR, frozenset(["door", "yard"])), "the cameras stay"
    assert command("role", "anna", "viewer", "--all-cameras", "--disable")[1] == "anna is viewer, disabled now\n"
    assert "viewer (disabled) all" in " ".join(command("list")[1].split())
    people.set_secret("anna", new_secret(), 0, [])
    assert command("reset", "anna", typed=f"{NEW_PASSWORD}\n")[0] == 0
    anna = people.account("anna")
    assert anna is not None
    assert CHEAP.matches(anna.password, NEW_PASSWORD)
    assert (anna.secret, anna.disabled) == ("", True)
    for argv in (("remove", "nobody"), ("role", "nobody", "viewer"), ("reset", "nobody"), ("role", "boss", "viewer")):
        assert command(*argv, typed=f"{PASSWORD}\n")[0] == 2, argv
    for name in ("anna", "eva"):
        assert command("remove", name)[0] == 0
    assert "no user any more" in command("remove", "boss")[1]
    assert {entry.who for entry in people.audit.entries()} == {"(command line)"}
    people.close()


def test_a_running_web_view_follows_the_command_line(tmp_path: Path, command: Any) -> None:
    with serving(tmp_path) as running:
        assert running.get("/").status_code == 200
        assert command("add", "boss", typed=f"{PASSWORD}\n")[0] == 0
        assert running.get("/").status_code == 303
        running.server.site.people.rehash("boss", CHEAP.hash(PASSWORD))
        with browser(running, "boss") as boss:
            assert command("reset", "boss", typed=f"{NEW_PASSWORD}\n")[0] == 0
            wait_until(lambda: boss.get("/").status_code == 303)


def test_a_full_disk_lets_people_see(served: Running, caplog: pytest.LogCaptureFixture) -> None:
    with browser(served, "anna") as anna:
        with sqlite3.connect(served.server.site.people.path) as db:
            db.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        db.close()
        for _ in range(3):
            assert anna.get("/events").status_code == 200
    assert caplog.text.count("is missing") == 1
    assert "an entry of the audit log is missing" in caplog.text
    assert "disk is full" in caplog.text


def test_the_link_of_the_first_user_works_until_there_is_an_admin(tmp_path: Path) -> None:
    with serving(tmp_path, users=True, **PROXY) as running:
        with browser(running, **{"Remote-User": "gerd", "Remote-Groups": "staff"}) as page:
            assert page.get("/").status_code == 200
        path = "/first-user?code=" + running.server.welcome.partition("code=")[2]
        with browser(running) as owner:
            fields = {"code": path.partition("=")[2], "name": "boss", "password": PASSWORD}
            assert owner.send("/first-user", path, **fields).status_code == 303
            assert owner.get("/users").status_code == 200
