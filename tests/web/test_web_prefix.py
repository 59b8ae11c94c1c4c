"""The web view under a path of a reverse proxy, and in a frame of another page."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from fakes_proxy import reverse_proxy
from fakes_web import LIMIT_S, TOKEN, Running, make_event, serving
from pydantic import ValidationError

from app.settings.web import WebSettings, is_root_path
from app.web.middleware import security_headers, session_cookie_header
from app.web.server import make_routes

LINK = re.compile(r'(?:href|src|action)="([^"#]+)"')
PREFIX = "/home/masks"


@pytest.fixture(params=["removed", "kept", "header"])
def proxied(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of a web view behind a proxy that serves it below PREFIX under another host name. The proxy removes
    the prefix, keeps it, or removes it and sends it in a header."""
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    with ExitStack() as stack:
        web = {"root_path_header": "X-Forwarded-Prefix"} if request.param == "header" else {"root_path": PREFIX}
        running: Running = stack.enter_context(serving(tmp_path, token_env="PAGE_TOKEN", **web))
        running.add_event(make_event(1))
        headers = {"X-Forwarded-Prefix": PREFIX} if request.param == "header" else {}
        address = stack.enter_context(reverse_proxy(running.port, PREFIX, request.param != "kept", headers))
        yield stack.enter_context(httpx.Client(base_url=f"http://{address}", timeout=LIMIT_S))


def sign_in(client: httpx.Client) -> str:
    """Signs in as a browser does, without JavaScript; returns the start page."""
    start = client.get(PREFIX)
    assert (start.status_code, start.headers["location"]) == (303, f"{PREFIX}/login")
    form = client.get(start.headers["location"]).text
    assert f'action="{PREFIX}/login"' in form
    csrf = re.search(r'name="csrf" value="(\w+)"', form)
    assert csrf is not None
    origin = {"Origin": str(client.base_url).rstrip("/")}
    answer = client.post(f"{PREFIX}/login", data={"csrf": csrf[1], "token": TOKEN}, headers=origin)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PREFIX}/")
    assert f"Path={PREFIX};" in answer.headers["set-cookie"]
    return client.get(answer.headers["location"]).text


def test_every_link_of_every_page_works_below_the_prefix(proxied: httpx.Client) -> None:
    pages = {f"{PREFIX}/": sign_in(proxied)}
    for path in ("/events", "/trends", "/health"):
        assert f'href="{PREFIX}{path}"' in pages[f"{PREFIX}/"]
        pages[path] = proxied.get(f"{PREFIX}{path}").text
    pages["missing"] = proxied.get(f"{PREFIX}/missing").text
    links = {link.replace("&amp;", "&") for text in pages.values() for link in LINK.findall(text)}
    assert len(links) > 15
    for link in links:
        assert link.startswith(f"{PREFIX}/"), link
        if not re.search(r"stream\.mjpeg|/ID/|acknowledge|mute|turn|alerts/test|logout", link):
            assert proxied.get(link).status_code == 200, link


def test_forms_and_live_data_work_below_the_prefix(proxied: httpx.Client) -> None:
    start = sign_in(proxied)
    csrf = re.search(r'name="csrf" value="(\w+)"', start)
    assert csrf is not None
    assert f'data-root="{PREFIX}"' in start
    form = {"csrf": csrf[1], "minutes": "15", "back": "/health"}
    muted = proxied.post(f"{PREFIX}/api/v1/cameras/1/mute", data=form)
    assert (muted.status_code, muted.headers["location"]) == (303, f"{PREFIX}/health?said=muted")
    assert "is muted" in proxied.get(muted.headers["location"]).text
    for path, expected in (("stream", b"event: state"), ("cameras/1/stream.mjpeg", b"\xff\xd8"), ("live", b"\xff\xd8")):
        with proxied.stream("GET", f"{PREFIX}/api/v1/{path}") as answer:
            assert answer.headers["x-accel-buffering"] == "no"
            received = b""
            for part in answer.iter_bytes():
                received += part
                if expected in received:
                    break
            assert expected in received
    document = proxied.get(f"{PREFIX}/api/v1/openapi.json").json()
    assert document["servers"] == [{"url": f"{PREFIX}/api/v1"}]
    signed_out = proxied.post(f"{PREFIX}/logout", data={"csrf": csrf[1]})
    assert signed_out.headers["location"] == f"{PREFIX}/login"
    assert proxied.get(f"{PREFIX}/").status_code == 303


def test_a_proxy_may_replace_the_host_name(tmp_path: Path) -> None:
    """As nginx does by default; the origin of the browser is then another one than the host."""
    with (
        serving(tmp_path, allowed_hosts=("door.example",)) as running,
        reverse_proxy(running.port, "/masks", True, {"Host": f"127.0.0.1:{running.port}"}) as address,
        httpx.Client(base_url=f"http://{address}/masks", timeout=LIMIT_S) as client,
    ):
        headers = {"X-CSRF-Token": client.get("/api/v1/session").json()["csrf"]}
        for origin, status in (("https://door.example", 200), ("https://evil.example", 403), ("http://[", 403)):
            answer = client.post("/api/v1/cameras/1/unmute", headers={**headers, "Origin": origin})
            assert answer.status_code == status, origin


@pytest.mark.parametrize("given", ["//evil.example", "/a/../b", '/a"b', "/ä", "a b", "/api/v1", "/login"])
def test_a_header_that_is_no_path_is_ignored(tmp_path: Path, given: str) -> None:
    with serving(tmp_path, root_path_header="X-Forwarded-Prefix", root_path="masks/") as running:
        page = httpx.get(f"{running.base}/", headers={"X-Forwarded-Prefix": given.encode()}).text
    assert {link.split("/")[1] for link in LINK.findall(page)} == {"masks"}


def test_without_the_setting_the_header_is_not_trusted(running: Running) -> None:
    page = httpx.get(f"{running.base}/", headers={"X-Forwarded-Prefix": "/masks"}).text
    assert "/masks" not in page


def test_the_cookie_of_the_longer_path_is_used(tmp_path: Path) -> None:
    """Two web views of one host, '/' and '/masks': the browser sends both cookies, the longer path first."""
    with serving(tmp_path, root_path="/masks") as running, running.browser() as (client, headers):
        own = client.cookies["maskwatch_session"]
        client.cookies.clear()
        cookie = {"Cookie": f"maskwatch_session={own}; maskwatch_session=other"}
        assert client.post("/masks/api/v1/cameras/1/unmute", headers={**headers, **cookie}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/a/../b", "/a b", "//", "/a//b", "/events", "/api/v1/x", "/a?b", "https://x/y", "/."]
)
def test_a_root_path_that_cannot_work_is_refused(path: str) -> None:
    if path == "//":
        assert WebSettings(root_path=path).root_path == ""
        return
    with pytest.raises(ValidationError, match="is not a path"):
        WebSettings(root_path=path)


def test_no_page_is_a_root_path(running: Running) -> None:
    site = running.server.site
    pages = {f"/{route.path.split('/')[1]}" for route in make_routes(site)} - {"/"}
    assert {"/fleet", "/label", "/scan"} < pages
    assert [path for path in sorted(pages) if is_root_path(path)] == []


def test_the_pages_may_be_framed_only_by_the_named_origins() -> None:
    alone = security_headers(WebSettings())
    assert alone["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert alone["X-Frame-Options"] == "DENY"
    framed = security_headers(WebSettings(frame_ancestors=("self", "https://home.example:8123/", "http://*.lan")))
    assert framed["Content-Security-Policy"].endswith("frame-ancestors 'self' https://home.example:8123 http://*.lan")
    assert "X-Frame-Options" not in framed


@pytest.mark.parametrize(
    "ancestor", ["*", "home.example", "https://a; script-src *", "https://a b", "javascript:x", ""]
)
def test_a_frame_ancestor_that_is_no_origin_is_refused(ancestor: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        WebSettings(frame_ancestors=(ancestor,))


def test_only_a_frame_of_another_site_gets_a_cookie_for_it() -> None:
    """Such a cookie needs https."""
    foreign = ("https://home.example",)
    for secure, ancestors, expected in (
        (False, (), "SameSite=Strict"),
        (True, ("'self'",), "SameSite=Strict"),
        (False, foreign, "SameSite=Strict"),
        (True, foreign, "SameSite=None; Partitioned"),
    ):
        settings = WebSettings(behind_tls=secure, frame_ancestors=ancestors)
        assert expected in session_cookie_header("session", settings, "")
