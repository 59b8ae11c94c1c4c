"""Sign-in: wrong passwords, guessing, codes, sessions and tokens."""

import time
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fakes_people import NEW_PASSWORD, PASSWORD, add_users, browser, entries
from fakes_web import CHEAP, TOKEN, Running, serving

from app.web import auth, middleware
from app.web.assets import browser_name
from app.web.auth import MAX_DELAY_S, MAX_FAILURES, Authenticator
from app.web.passwords import STEP_S, code_at
from app.web.people import People, Role


def test_sign_in_and_sign_out(served: Running) -> None:
    with browser(served) as person:
        before = person.get("/login").headers["set-cookie"]
        right = person.sign_in(" ANNA ")
        assert right.status_code == 303
        cookie = right.headers["set-cookie"]
        assert cookie.partition(";")[0] != before.partition(";")[0], "never the session that the client sent"
        assert before.partition(";")[2] == " Path=/; HttpOnly; SameSite=Strict", "a page may stay open for days"
        assert cookie.partition(";")[2].startswith(" Path=/; HttpOnly; SameSite=Strict; Max-Age=43200")
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


FOREIGN_LINKS = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {"Referer": "https://mail.example/"},  # over plain http browsers send no more to another machine
]


@pytest.mark.parametrize("headers", FOREIGN_LINKS, ids=str)
def test_a_link_of_another_site_signs_nobody_out(served: Running, headers: dict[str, str]) -> None:
    """The browser does not send the strict cookie with it, and a new one would replace it."""
    page = "/events?kind=no_mask&camera=%22%3E"
    with browser(served) as stranger:
        for path in (page, "/login"):
            answer = stranger.client.get(path, headers=headers)
            assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
            link = path.replace("&", "&amp;")
            assert f'content="0; url={link}"' in answer.text, "the next request comes from this site"
        own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Referer": f"{served.base}{page}"}
        assert stranger.client.get(page, headers=own).headers["location"] == "/login"
        assert stranger.client.get("/api/v1/status", headers=headers).status_code == 401
    with browser(served, "anna") as anna:
        assert "f-camera" in anna.client.get(page, headers=headers).text


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


@pytest.mark.parametrize("token_env", [None, "PAGE_TOKEN"])
def test_a_page_that_is_open_during_a_restart_can_still_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token_env: str | None
) -> None:
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with serving(tmp_path, token_env=token_env) as running, browser(running) as person:
        if token_env:
            person.send("/login", token=TOKEN)
        csrf = {"X-CSRF-Token": person.get("/api/v1/session").json()["csrf"]}
        cookies = dict(person.client.cookies)
    with serving(tmp_path, token_env=token_env) as running, running.client(cookies=cookies) as client:
        mute = {"json": {"minutes": 5}}
        assert client.post("/api/v1/cameras/1/mute", headers=csrf, **mute).status_code == 200
        assert client.post("/api/v1/cameras/1/mute", headers={"X-CSRF-Token": "0" * 64}, **mute).status_code == 403


def test_the_sign_in_leads_to_the_page_that_was_opened(served: Running) -> None:
    link = "/review?event=run-door-1&camera=T%C3%BCr%20%22x%22"
    with browser(served) as person:
        assert person.get(link).headers["location"] == "/login"
        assert person.sign_in("anna").headers["location"] == link
        person.send("/logout", "/account")
        assert person.sign_in("anna").headers["location"] == "/", "once"
    for foreign in ("//evil.example", "/%5Cevil.example", "https://evil.example", "/%0d%0aX:1", "%2F%2Fevil.example"):
        with browser(served) as person:
            person.client.cookies.set("maskwatch_next", foreign)
            assert person.sign_in("anna").headers["location"] == "/"


def test_a_browser_reads_why_a_request_failed_on_a_page(served: Running) -> None:
    """A form sends to an address of the API, and its answer is read by a person."""
    person_reads = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with browser(served, "anna", **person_reads) as anna:
        requests = [
            anna.client.post("/api/v1/alerts/acknowledge", data={"csrf": "of another session"}),
            anna.send("/api/v1/alerts/acknowledge", "/review"),
            anna.get("/api/v1/events/unknown/clip.mp4?download"),
            anna.get("/api/v1/events.csv?since=x"),
        ]
        found = [(each.status_code, each.headers["content-type"]) for each in requests]
        assert found == [(status, "text/html; charset=utf-8") for status in (403, 400, 404, 400)]
        assert "the page is out of date" in requests[0].text
        assert "no event is selected" in requests[1].text
        assert all('class="top"' in each.text for each in requests)
        anna.client.headers["Accept"] = "*/*"
        assert anna.get("/api/v1/events.csv?since=x").json()["error"].startswith("since:")
    with browser(served, **person_reads) as stranger:
        assert stranger.get("/api/v1/events.csv").headers["location"] == "/login"
        assert "door" not in stranger.client.post("/api/v1/alerts/acknowledge").text


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
