"""Security: tokens, sessions, CSRF, path traversal, headers and escaping. Limits: test_web_limits.py."""

import logging
from pathlib import Path

import httpx
import pytest
from fakes_web import TOKEN, FakeMonitor, Running, make_event, serving

from app.capture.capture import SourceState
from app.core.errors import SettingsError
from app.settings.web import WebSettings, parse_address, read_token
from app.web import api, auth, middleware
from app.web.auth import MAX_FAILURES, Authenticator
from app.web.middleware import LOG_LINES

BEARER = {"Authorization": f"Bearer {TOKEN}"}
CLOSED = ("/", "/events", "/trends", "/health", "/metrics", "/api/v1/status", "/api/v1/openapi.json", "/missing")


def test_a_network_address_needs_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "door.example"):
        with pytest.raises(SettingsError, match="--web-token-file"):
            read_token(WebSettings(host=host))
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        assert read_token(WebSettings(host=host)) is None
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    assert read_token(WebSettings(host="0.0.0.0", token_env="PAGE_TOKEN")) == TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert read_token(WebSettings(host="0.0.0.0", token_file=file)) == TOKEN


def test_a_missing_or_weak_token_is_an_error_that_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="NOT_SET is not set"):
        read_token(WebSettings(token_env="NOT_SET"))
    with pytest.raises(SettingsError, match="none"):
        read_token(WebSettings(token_file=tmp_path / "none"))
    for weak in ("tiny-one", "with blanks in it, though long enough", "fünfzehn-und-noch-einige-mehr"):
        monkeypatch.setenv("PAGE_TOKEN", weak)
        with pytest.raises(SettingsError) as caught:
            read_token(WebSettings(token_env="PAGE_TOKEN"))
        assert weak not in str(caught.value)


def test_parse_address() -> None:
    assert parse_address("0.0.0.0:9000") == {"host": "0.0.0.0", "port": 9000}
    assert parse_address("9000") == {"port": 9000}
    assert parse_address("door.example") == {"host": "door.example"}
    assert parse_address("[::1]:9000") == {"host": "::1", "port": 9000}
    assert parse_address("[::1]") == {"host": "::1"}
    for bad in ("a:b", "::1:x", "1:2:3"):
        with pytest.raises(SettingsError, match="HOST:PORT"):
            parse_address(bad)


def test_without_the_token_no_content_is_served(locked: Running, caplog: pytest.LogCaptureFixture) -> None:
    event = locked.add_event(make_event())
    with locked.client() as client:
        for path in (*CLOSED, f"/api/v1/events/{event.id}", "/api/v1/cameras/1/picture.jpg"):
            response = client.get(path)
            assert response.status_code in (303, 401), path
            assert "door" not in response.text
            assert response.headers.get("location", "/login") == "/login"
        for headers in (
            {"Authorization": "Bearer wrong-but-long-enough-0000"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": "Bearer"},
            {"Cookie": "maskwatch_session=made-up"},
            {"Cookie": f"maskwatch_session={TOKEN}"},
        ):
            assert client.get("/api/v1/status", headers=headers).status_code == 401
        assert client.get(f"/api/v1/status?token={TOKEN}").status_code == 401
        assert client.post("/api/v1/cameras/1/mute", json={"minutes": 5}).status_code == 401
    assert locked.mutes.until_s("door") is None
    refusals = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(refusals) > 10
    assert TOKEN not in caplog.text


def test_with_the_token_everything_is_served(locked: Running) -> None:
    with locked.client(headers=BEARER) as client:
        for path in CLOSED[:-1]:
            assert client.get(path).status_code == 200, path
        assert client.post("/api/v1/cameras/1/mute", json={"minutes": 5}).status_code == 200
        as_curl = {"content": '{"minutes": 5}', "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
        response = client.post("/api/v1/cameras/1/mute", **as_curl)
        assert (response.status_code, list(response.json())) == (200, ["muted_until_s"])
    with locked.client() as client:
        assert client.post("/api/v1/cameras/1/unmute", **as_curl).status_code == 401, (
            "a request without the token gets no session"
        )


def test_health_probes_are_public_and_contain_no_names(locked: Running) -> None:
    with locked.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        locked.monitor.state(SourceState.STALE)
        response = client.get("/readyz")
    assert response.status_code == 503
    assert "door" not in response.text


def test_sign_in_and_sign_out(locked: Running) -> None:
    with locked.client() as client:
        page = client.get("/login")
        before = client.cookies["maskwatch_session"]
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        wrong = client.post("/login", data={"csrf": csrf, "token": "wrong"})
        assert wrong.status_code == 401
        assert "The token is wrong" in wrong.text
        right = client.post("/login", data={"csrf": csrf, "token": TOKEN})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert client.cookies["maskwatch_session"] != before, "sign-in creates a new session"
        page = client.get("/")
        assert page.status_code == 200
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        assert client.post("/logout", data={"csrf": "wrong"}).status_code == 403
        assert client.get("/").status_code == 200
        old = {"Cookie": f"maskwatch_session={client.cookies['maskwatch_session']}"}
        assert client.post("/logout", data={"csrf": csrf}).status_code == 303
        assert client.get("/", headers=old).status_code == 303


def test_failed_sign_ins_are_rate_limited(locked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FAILURE_PERIOD_S", 3600.0)  # longer than the test
    with locked.client() as client:
        csrf = client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]
        responses = [client.post("/login", data={"csrf": csrf, "token": f"no {k}"}) for k in range(MAX_FAILURES)]
        assert {response.status_code for response in responses} == {401}
        assert client.post("/login", data={"csrf": csrf, "token": TOKEN}).status_code == 429


def test_guesses_of_a_token_in_a_header_are_rate_limited(locked: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "FAILURE_PERIOD_S", 3600.0)  # longer than the test

    def answer(path: str, token: str, address: str = "127.0.0.1") -> int | str:
        transport = httpx.HTTPTransport(verify=False, local_address=address)
        with locked.client(transport=transport) as client:
            response = client.get(path, headers={"Authorization": f"Bearer {token}"})
        return "wait" if "too many wrong tokens" in response.text else response.status_code

    assert answer("/api/v1/status", TOKEN) == 200
    paths = ["/api/v1/status", "/events", "/metrics"] * MAX_FAILURES
    assert {answer(path, f"no {k}") for k, path in enumerate(paths[:MAX_FAILURES])} == {401, 303}
    assert {answer(path, "no") for path in paths[:3]} == {"wait"}
    assert answer("/api/v1/status", TOKEN) == 200, "a program that knows the token goes on"
    for k in range(MAX_FAILURES):
        answer("/events", f"no {k}", "127.0.0.2")
    assert answer("/events", TOKEN, "127.0.0.2") == "wait", "the answer does not say that it is right"
    assert answer("/login", TOKEN, "127.0.0.2") == 200, "nor does another page, and people can sign in"
    assert answer("/api/v1/status", TOKEN, "127.0.0.3") == 200, "others do not wait"


def test_a_failed_sign_in_is_logged_without_its_token(locked: Running, caplog: pytest.LogCaptureFixture) -> None:
    with locked.client() as client:
        csrf = client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]
        client.post("/login?token=in-the-address", data={"csrf": csrf, "token": "nearly-the-right-one"})
    assert "refused POST '/login' from 127.0.0.1: 401" in caplog.text
    assert "nearly" not in caplog.text
    assert "in-the-address" not in caplog.text


def test_refusals_cannot_fill_the_log(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "LOG_PERIOD_S", 3600.0)  # longer than the test
    with running.client() as client:
        for number in range(LOG_LINES + 40):
            client.get(f"/missing/{number}%0aforged line")
    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(lines) == LOG_LINES
    assert not any("\n" in line for line in lines)


def test_sessions_expire_and_are_bounded() -> None:
    now_s = [0.0]
    access = Authenticator(TOKEN, 100.0, lambda: now_s[0])
    first = access.open_session()
    assert access.caller(first, "").signed_in
    now_s[0] = 101.0
    assert not access.caller(first, "").signed_in
    oldest = access.open_session()
    for _ in range(2000):
        access.open_session()
    assert not access.caller(oldest, "").signed_in, "the oldest session was removed"
    for k in range(5000):
        access.record_failure(f"10.0.{k // 256}.{k % 256}")
    assert len(access.failed) <= 1000
    assert not access.is_token("")
    assert not access.is_token(TOKEN + "x")
    assert access.is_token(TOKEN)


def test_every_action_needs_a_csrf_secret(running: Running) -> None:
    posts = [route.path for route in api.routes() if route.methods and "POST" in route.methods] + ["/logout", "/login"]
    assert len(posts) >= 6
    for path in posts:
        path = path.replace("{camera:int}", "1").replace("{event:path}", "x")
        with running.client() as client:
            client.get("/")  # the cookie alone is not sufficient
            assert client.post(path, json={"minutes": 5}).status_code == 403, path
            assert client.post(path, data={"minutes": "5", "csrf": "0" * 64}).status_code == 403, path
        with running.client() as client, running.browser() as (_, foreign):  # another session
            assert client.post(path, headers=foreign).status_code == 403, path
    assert running.mutes.until_s("door") is None


@pytest.mark.parametrize("foreign", ['x={"a":1}', "note=two words", "flag", "x=\xe9", 'theme="dark', "a[b]=1", ""])
def test_malformed_cookies_of_other_programs_are_ignored(running: Running, foreign: str) -> None:
    with running.browser() as (client, secret):
        own = f"maskwatch_session={client.cookies['maskwatch_session']}"
        client.cookies.clear()
        for cookies in (f"{foreign}; {own}", f"{own};{foreign}"):
            headers = {**secret, "Cookie": cookies.encode("latin-1")}
            response = client.post("/api/v1/cameras/1/mute", json={"minutes": 5}, headers=headers)
            assert response.status_code == 200, cookies


def test_requests_from_other_sites_are_refused(running: Running) -> None:
    with running.browser() as (client, secret):
        for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            response = client.post("/api/v1/cameras/1/mute", json={"minutes": 5}, headers={**secret, **foreign})
            assert response.status_code == 403, foreign
        for name in ("evil.example", f"evil.example:{running.port}", "127.0.0.1.evil.example", "", "["):
            assert client.get("/api/v1/status", headers={"Host": name}).status_code == 400, name
        assert client.get("/", headers={"Host": f"localhost:{running.port}"}).status_code == 200
        assert "access-control-allow-origin" not in client.get("/api/v1/status").headers
        own = {"Origin": running.base, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/v1/cameras/1/mute", json={"minutes": 5}, headers={**secret, **own}).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "http://[x]", "[", "//[::1"])
def test_a_malformed_origin_is_refused(running: Running, origin: str, caplog: pytest.LogCaptureFixture) -> None:
    with running.client() as client:
        assert client.post("/login", headers={"Origin": origin}).status_code == 403
        for name in ("Host", "Referer"):
            assert client.post("/login", headers={name: origin}).status_code in (400, 403)
    assert "the request comes from another site" in caplog.text
    assert "Traceback" not in caplog.text


def test_allowed_host_names(tmp_path: Path) -> None:
    with serving(tmp_path, allowed_hosts=["door.example"]) as running, running.client() as client:
        assert client.get("/", headers={"Host": "Door.example"}).status_code == 200
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/static/../settings.py",
        "/static/..%2fsettings.py",
        "/static/%2e%2e/settings.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/style.css%00.js",
        "/static/..\\settings.py",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/api/v1/events/..%2f..%2fetc%2fpasswd/picture.jpg",
        "/api/v1/events/%00/picture.jpg",
        "/api/v1/cameras/..%2f1/picture.jpg",
        "/api/v1/cameras/99999999999999999999/picture.jpg",
        "/api/v1/cameras/-1/picture.jpg",
        "/api/v1/cameras/0",
    ],
)
def test_path_traversal_is_refused(running: Running, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with running.connect() as raw:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nConnection: close\r\n\r\n"
        raw.sendall(request.encode())
        response = b"".join(iter(lambda: raw.recv(65536), b""))
    assert response.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), response[:100]
    assert b"root:" not in response
    assert b"Traceback" not in response
    assert b"pydantic" not in response
    assert "refused GET" in caplog.text


def test_invalid_json_bodies_are_refused(running: Running) -> None:
    with running.browser() as (client, secret):
        for body in (
            b"{",
            b"[]",
            b"1",
            b"\xff",
            b'{"minutes": 0}',
            b'{"minutes": "5"}',
            b"{}",
            b'{"a": 1}',
            b"[" * 9000,
        ):
            response = client.post("/api/v1/cameras/1/mute", content=body, headers=secret)
            assert response.status_code == 400, body
            assert set(response.json()) == {"error"}


def test_every_response_has_the_security_headers(running: Running) -> None:
    with running.browser() as (client, secret):
        responses = [
            client.get(path) for path in (*CLOSED, "/static/app.js", "/api/v1/cameras/1/picture.jpg", "/healthz")
        ]
        responses.append(client.post("/api/v1/cameras/1/mute", content=b"x" * 40_000, headers=secret))
    for response in responses:
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "server" not in response.headers
        assert "cache-control" in response.headers


def test_pages_have_no_inline_styles_or_scripts(running: Running) -> None:
    running.add_event(make_event())
    with running.client() as client:
        for path in ("/", "/events", "/trends", "/health", "/missing"):
            text = client.get(path).text
            assert " style=" not in text, path
            assert " onclick=" not in text
            assert text.count('<script src="/static/') == text.count('<script type="application/json" id="words">') == 1
            assert text.count("<script") == 2
            assert "http://" not in text.replace("http://www.w3.org", "")
            assert "https://" not in text


def test_stream_passwords_never_appear(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monitor = FakeMonitor("door")
    monitor.state(SourceState.RECONNECTING, "cannot open rtsp://admin:hunter2@10.0.0.7/live?password=hunter2")
    with serving(tmp_path, monitor) as running, running.client() as client:
        running.add_event(make_event(1, reason="lost rtsp://admin:hunter2@10.0.0.7/live"))
        paths = (*CLOSED, "/api/v1/events", "/api/v1/cameras/1")
        texts = [client.get(path).text for path in paths]
    assert any("10.0.0.7" in text for text in texts)
    assert not any("hunter2" in text for text in texts)
    assert "hunter2" not in caplog.text


def test_external_text_is_escaped(tmp_path: Path) -> None:
    markup = "<img src=x onerror=alert(1)>"
    monitor = FakeMonitor(markup)
    with serving(tmp_path, monitor) as running, running.client() as client:
        event = running.add_event(make_event(1, camera=markup, reason=markup))
        monitor.change(alerts=(event,))
        for path in ("/", "/events", "/trends", "/health", f"/events?camera={markup}&since={markup}", f"/{markup}"):
            assert "<img src=x" not in client.get(path).text, path
