"""Users: passwords, the first user, changes, proxies, and the command line."""

import getpass
import io
import sqlite3
import stat
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fakes_alerts import alert, make_event
from fakes_people import NEW_PASSWORD, PASSWORD, add_users, browser, entries
from fakes_web import CHEAP, TOKEN, FakeMonitor, Running, serving, wait_until

from app.alerts.event_store import EventStore
from app.alerts.push_store import Device, PushStore
from app.cli.main import main
from app.core.errors import SettingsError
from app.settings.alerts import push_file
from app.settings.load import load_settings
from app.settings.web import people_file
from app.web.auth import Authenticator
from app.web.passwords import STEP_S, Passwords, code_at, new_secret, step_of_code
from app.web.people import People, PeopleError, Role, User


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
    for bad in ("", ".", "..", "two words", "<b>", "a/b", "(token)", "x" * 65, "a\nb"):
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


def test_groups_that_make_a_user_admin_show_all_cameras_and_only_as_long(tmp_path: Path) -> None:
    people, devices = People(people_file(tmp_path / "events.db"), CHEAP), PushStore(push_file(tmp_path / "events.db"))
    people.add("boss", Role.ADMIN, None, "")
    people.add("gerd", Role.VIEWER, frozenset(["door"]), "")
    for role, cameras in ((Role.ADMIN, None), (Role.VIEWER, frozenset(["door"]))):
        account = people.external("gerd", role)
        assert account is not None
        assert account.user == User("gerd", role, cameras)
        assert devices.devices() == [], "a device has the cameras of the time when it subscribed"
        devices.save(Device("https://push.example/gerd", "", "", "gerd"))
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


def test_the_page_of_users_names_cameras_that_do_not_exist(served: Running) -> None:
    with browser(served, "boss") as boss:
        assert "There is no such camera" not in boss.get("/users").text
        boss.send("/users/anna/change", "/users", role="operator", cameras="dor\r\ndoor")
        assert "There is no such camera: dor<" in boss.get("/users").text


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


class _Pipe(io.StringIO):
    def readline(self, *_: object) -> str:
        return b"Zo\xeb's password\n".decode()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdin", "expected"), [(_Pipe(), "the password is not UTF-8 text"), (_Terminal(), "no password was given")]
)
def test_a_password_that_cannot_be_read_adds_nobody(
    stdin: io.StringIO,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ctrl_d(_: str) -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(getpass, "getpass", ctrl_d)
    store = str(tmp_path / "events.db")
    assert main(["users", "add", "boss", "--store", store]) == 2
    assert capsys.readouterr().err.strip() == f"maskwatch: {expected}; nothing is changed"
    assert main(["users", "list", "--store", store]) == 0
    assert "boss" not in capsys.readouterr().out


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


def test_a_camera_that_does_not_exist_is_reported(command: Any, tmp_path: Path) -> None:
    (tmp_path / "maskwatch.toml").write_text("[[camera]]\nuri = '0'\nname = 'door'\n")
    config = "--config", str(tmp_path / "maskwatch.toml")
    code, _, error = command("add", "boss", "--camera", "door", *config, typed=f"{PASSWORD}\n")
    assert (code, "would be an admin, who sees all cameras" in error) == (2, True)
    assert command("add", "boss", typed=f"{PASSWORD}\n")[0] == 0
    code, _, error = command("add", "anna", "--camera", "dor", *config, typed=f"{PASSWORD}\n")
    assert (code, error) == (0, "warning: no camera 'dor' yet; did you mean door?\n")
    assert command("role", "anna", "viewer", "--camera", "door", *config)[::2] == (0, "")
    with EventStore(tmp_path / "events.db") as store:
        store.write(alert(make_event(camera="yard")), time.time())
    assert command("role", "anna", "viewer", "--camera", "yard", *config)[2] == ""
    assert command("role", "anna", "viewer", "--camera", "x")[2] == "warning: no camera 'x' yet; there are: yard\n"
    assert command("role", "anna", "admin", "--camera", "yard")[0] == 2


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
