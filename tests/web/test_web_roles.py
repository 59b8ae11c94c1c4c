"""Every route with every role, with no sign-in, and with two users who see different cameras."""

import asyncio
import html
import io
import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fakes_web import CHEAP, TOKEN, FakeMonitor, Running, make_event, serving

from app.core.types import Box
from app.fleet.hub_store import HubStore
from app.fleet.messages import NodeHealth
from app.pipeline.camera import CameraView
from app.review.clips import POSTER, RECORD, VIDEO
from app.review.collected import CROP, CollectedFace
from app.web.access import PUBLIC, RULES, Rule, guarded, rule_of
from app.web.people import Role
from app.web.server import make_routes

ROLES = (None, Role.VIEWER, Role.OPERATOR, Role.ADMIN)
STREAMS = ("/stream", "/live", ".mjpeg")
FIRST, SECOND = "north-door", "south-yard"
ENDS_SESSIONS = ("/logout", "/account/sessions/end")
VALUES = {"camera:int": "1", "event:path": "x", "face:path": "x", "name": "style.css", "key": "x"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two cameras with events, snapshots, clips and collected faces, and five users."""
    folder = tmp_path_factory.mktemp("roles")
    (folder / "token").write_text(TOKEN)
    monitor = FakeMonitor(FIRST, SECOND)
    channels = [{"kind": "command", "name": "secret-channel", "argv": ["true"]}]
    alerts = {"channels": channels, "snapshots": "blur_all"}
    cameras = [{"uri": str(number), "name": name} for number, name in enumerate((FIRST, SECOND))]
    with serving(folder, monitor, alerts, cameras=cameras, token_file=folder / "token", scan=folder) as running:
        people, site = running.server.site.people, running.server.site
        people.add("boss", Role.ADMIN, None, CHEAP.hash("a password"))
        for role in (Role.VIEWER, Role.OPERATOR):
            people.add(role.value, role, None, "")
        for name, camera in (("anna", FIRST), ("bert", SECOND)):
            people.add(name, Role.OPERATOR, frozenset([camera]), "")
        people.add("nobody", Role.OPERATOR, frozenset(), "")
        for number, camera in enumerate((FIRST, SECOND), 1):
            event = running.add_event(make_event(number, camera=camera), b"\xff\xd8 " + camera.encode())
            monitor.change(number - 1, alerts=(replace(event, id=f"open-{camera}"),))
            site.clips.path.mkdir(exist_ok=True)
            for suffix in (VIDEO, RECORD, POSTER):
                site.clips.file(event.id, suffix).write_bytes(camera.encode())
            site.collected.folder.path.mkdir(exist_ok=True)
            site.collected.folder.file(f"face-{camera}", CROP).write_bytes(camera.encode())
            box = Box(1, 1, 8, 8)
            face = CollectedFace(f"face-{camera}", "random", camera, 1.0, "mask", 0.5, box, (9, 9), box, (9, 9))
            site.collected.write(face)
        yield running


@pytest.fixture(scope="module")
def sessions(served: Running) -> dict[str | None, dict[str, str]]:
    """The headers of each user: a session with its CSRF secret."""
    authenticator, found = served.server.site.authenticator, {}
    for name in ("boss", "viewer", "operator", "anna", "bert", "nobody"):
        account = served.server.site.people.account(name)
        assert account is not None
        cookie = authenticator.open_session(account.user)
        caller = authenticator.caller(cookie, "")
        found[name] = {"Cookie": f"maskwatch_session={cookie}", "X-CSRF-Token": caller.csrf}
    return {None: {}, **found, Role.ADMIN: found["boss"]}


def all_routes(served: Running) -> list[tuple[str, str]]:
    """(method, path as the table writes it) of every route of the program."""
    site = served.server.site
    routes = make_routes(site)
    return [(method, route.path) for route in routes for method in sorted((route.methods or set()) - {"HEAD"})]


def url_of(path: str) -> str:
    return re.sub(r"\{([^}]+)\}", lambda match: VALUES[match[1]], path)


def status_of(client: httpx.Client, method: str, url: str) -> int:
    """The status of one request; the body of an endless response is not read."""
    with client.stream(method, url, json={} if method == "POST" else None) as response:
        return response.status_code


def test_the_table_is_that_of_the_routes(served: Running) -> None:
    routes = set(all_routes(served))
    assert len(routes) > 50
    public = {(method, path) for method, path in routes if rule_of(method, path) is PUBLIC}
    paths = {"/login", "/login/oidc", "/login/oidc/back", "/first-user", "/healthz", "/readyz", "/static/{name}"}
    paths |= {"/static/offline.html"}
    assert {path for _, path in public} == paths
    assert routes - public <= set(RULES), "every route has a row"


def test_the_table_says_what_was_decided() -> None:
    own = {"/logout", "/account/password", "/account/sessions/end", "/account/code", "/account/tokens"}
    for (method, path), rule in RULES.items():
        if path.startswith(("/users", "/audit", "/setup", "/api/v1/setup", "/api/v1/settings")):
            assert rule.role is Role.ADMIN, path
        elif path.startswith("/api/v1/push"):
            assert rule.role is Role.VIEWER, "a device of one's own"
        elif method == "POST" and path not in own:
            assert rule.role is Role.OPERATOR, path
            assert rule.what, "every action is recorded"
        else:
            assert rule.role is Role.VIEWER, path
    assert rule_of("GET", "/new/page") == Rule(Role.ADMIN, needs_all=True), "unknown routes are for admins only"
    assert rule_of("HEAD", "/events") is RULES["GET", "/events"]


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_every_route_with_every_role(
    served: Running, sessions: dict[str | None, dict[str, str]], role: Role | None
) -> None:
    """What the role may do is not refused as forbidden, whatever else may be wrong with the request."""
    with served.client(headers=sessions[role]) as client:
        for method, path in all_routes(served):
            rule = rule_of(method, path)
            if path in ENDS_SESSIONS and role is not None:
                continue
            status = status_of(client, method, url_of(path))
            if rule is PUBLIC:
                assert status in ((200, 303, 403, 404) if method == "GET" else (401, 403)), (method, path, status)
            elif role is None:
                assert status in (303, 401), (method, path, status)
            elif role.includes(rule.role or role):
                assert status not in (401, 403), (method, path, status)
            else:
                assert status == 403, (method, path, status)


def test_no_sign_in_shows_nothing(served: Running) -> None:
    with served.client() as client:
        for method, path in all_routes(served):
            if method == "GET" and not path.endswith(STREAMS):
                text = client.get(url_of(path)).text
                assert FIRST not in text
                assert SECOND not in text


OWN_OF = {"anna": (FIRST, SECOND), "bert": (SECOND, FIRST), "nobody": ("", FIRST)}


@pytest.mark.parametrize("name", OWN_OF)
def test_every_route_with_users_of_different_cameras(
    served: Running, sessions: dict[str | None, dict[str, str]], name: str
) -> None:
    """The other camera is nowhere: by number, by id, in lists, in downloads, or in what was asked for by name."""
    own, other = OWN_OF[name]
    number = 1 if other == FIRST else 2
    values = {**VALUES, "camera:int": str(number), "name": name}
    events = {FIRST: f"run-{FIRST}-1", SECOND: f"run-{SECOND}-2"}
    refused = 0
    with served.client(headers=sessions[name]) as client:
        for method, path in all_routes(served):
            if path.endswith(STREAMS) or path in ENDS_SESSIONS:
                continue
            faces_of = {events[other]: f"face-{other}"} | ({f"open-{other}": "none"} if "{event" in path else {})
            for event, face in faces_of.items():
                given = {**values, "event:path": event, "face:path": face}
                url = re.sub(r"\{([^}]+)\}", lambda match: given[match[1]], path)  # noqa: B023
                response = client.request(method, url, json={} if method == "POST" else None)
                body = response.content
                if "day.zip" in path:
                    continue
                assert other.encode() not in body, (method, url, response.status_code)
                assert b"secret-channel" not in body, (method, url)
                if "{" in path and not path.startswith(("/users", "/static")):
                    is_for_admins = rule_of(method, path).role is Role.ADMIN
                    assert response.status_code == (403 if is_for_admins else 404), (method, url)
                    refused += 1
        for path in ("/events", "/api/v1/events", "/api/v1/events.csv", "/api/v1/compliance", "/trends", "/review"):
            if own:
                assert own in client.get(path).text or "compliance" in path, path
            text = client.get(path, params={"camera": other}).text
            assert events[other] not in text, path
        assert client.get("/metrics").status_code == client.get("/scan").status_code == 403
        assert client.get("/api/v1/live", params={"camera": number}).status_code == 404
        assert [each["name"] for each in client.get("/api/v1/cameras").json()["cameras"]] == ([own] if own else [])
        assert client.get("/api/v1/status").json()["delivery"]["channels"] == []
        event = client.get("/api/v1/events").json()["events"]
        assert [each["camera"] for each in event] == ([own] if own else [])
        day = {"day": event[0]["at"][:10] if event else "2026-01-01"}
        for query in (day, {**day, "camera": other}):
            with zipfile.ZipFile(io.BytesIO(client.get("/api/v1/day.zip", params=query).content)) as archive:
                content = b"".join(archive.read(each) for each in archive.namelist()) + str(archive.namelist()).encode()
            assert other.encode() not in content
        ids = {"ids": [events[other], f"open-{other}"]}
        assert client.post("/api/v1/alerts/acknowledge", json=ids).json() == {"acknowledged": 0}
    assert refused >= 20


@pytest.mark.parametrize(("name", "number"), [("anna", 1), ("bert", 2)])
def test_live_streams_contain_only_own_cameras(
    served: Running, sessions: dict[str | None, dict[str, str]], name: str, number: int
) -> None:
    own, other = OWN_OF[name]
    with served.client(headers=sessions[name]) as client:
        with client.stream("GET", "/api/v1/live") as response:
            first = next(response.iter_bytes())
        assert int.from_bytes(first[:4], "big") == number
        with client.stream("GET", "/api/v1/stream?after=0") as response:
            for text in response.iter_text():
                assert other not in text
                if "event: state" in text:
                    assert own in text
                    assert f"run-{own}-{number}" in text, "events of the own camera are sent again"
                    ids = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
                    assert all(each > 1e12 for each in ids), "a count of events would say how many are hidden"
                    break


@pytest.mark.parametrize("name", ["boss", "viewer", "anna"])
def test_every_link_leads_somewhere(served: Running, sessions: dict[str | None, dict[str, str]], name: str) -> None:
    """No page links to what its reader may not see, or to what is not there."""
    seen, left = set(), ["/", "/label", "/setup/camera?name=north-door", "/setup/channels", "/setup/privacy"]
    left = left if name == "boss" else left[:2]
    with served.client(headers=sessions[name]) as client:
        while left:
            path = left.pop()
            if (
                path.partition("?")[0].endswith(("audit", "events", "label", "review", "trends", "wall"))
                and "?" in path
            ):
                continue  # the same page with another filter
            response = client.get(path)
            assert response.status_code == (503 if path == "/scan" else 200), path  # there is no scan in this folder
            seen.add(path)
            if response.headers["content-type"].startswith("text/html"):
                links = re.findall(r'<a [^>]*href="(/[^"#]*)', response.text)
                left += [link for link in map(html.unescape, links) if link not in {*seen, *left}]
    assert len(seen) > 8


def test_a_camera_that_gets_the_number_of_another_one_is_not_shown(tmp_path: Path) -> None:
    """The list changes in another thread, also between the check of the user's cameras and the answer."""

    class Changing(FakeMonitor):
        is_changing = False

        def views(self) -> list[CameraView]:
            found = super().views()
            return found[::-1] if self.is_changing and self.view_calls % 2 else found

    with serving(tmp_path, Changing(FIRST, SECOND)) as running:
        people, authenticator = running.server.site.people, running.server.site.authenticator
        people.add("boss", Role.ADMIN, None, "")
        people.add("anna", Role.OPERATOR, frozenset([FIRST]), "")
        account = people.account("anna")
        assert account is not None
        cookie = authenticator.open_session(account.user)
        headers = {"Cookie": f"maskwatch_session={cookie}", "X-CSRF-Token": authenticator.caller(cookie, "").csrf}
        monitor = running.monitor
        monitor.view_calls, monitor.is_changing = 0, True  # type: ignore[attr-defined]
        with running.client(headers=headers) as client:
            for path in ("", "/picture.jpg"):
                assert client.get(f"/api/v1/cameras/2{path}").status_code == 404
            assert client.post("/api/v1/cameras/2/mute", json={"minutes": 5}).status_code == 404
        assert running.mutes.until_s(SECOND) is None


def test_pages_without_other_cameras_still_read(served: Running, sessions: dict[str | None, dict[str, str]]) -> None:
    with served.client(headers=sessions["nobody"]) as client:
        for path in ("/", "/events", "/review", "/trends", "/health", "/label", "/account"):
            assert client.get(path).status_code == 200, path


def test_an_unlisted_route_is_refused(served: Running) -> None:
    """A route that somebody adds without a row in the table."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def handler(request: object) -> PlainTextResponse:
        return PlainTextResponse("open")

    app = Starlette(routes=guarded([Route("/new", handler)], served.server.site))
    people = served.server.site.people
    for name, status in (("viewer", 403), ("operator", 403), ("anna", 403), ("boss", 200)):
        account = people.account(name)
        assert account is not None

        async def with_user(scope, receive, send, user=account.user):  # type: ignore[no-untyped-def]
            await app({**scope, "user": user}, receive, send)

        assert _get(with_user, "/new").status_code == status, name


def _get(app: object, path: str) -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(get())


def test_the_fleet_shows_only_own_cameras(tmp_path: Path) -> None:
    store, now_s = HubStore(tmp_path / "events.db"), time.time()
    states = {"door": "live", "secret-hall": "live"}
    health = NodeHealth(version="1", heartbeat_s=5, waiting=0, cameras=states, faults=("secret-fault",))
    store.save_nodes({"shop/box": (now_s, health), "secret-shop/box": (now_s, health)})
    store.close()
    with serving(tmp_path, FakeMonitor().without_cameras(), is_hub=True) as running:
        site = running.server.site
        site.people.add("boss", Role.ADMIN, None, "")
        site.people.add("anna", Role.VIEWER, frozenset(["shop/door"]), "")
        texts = {}
        for name in ("boss", "anna"):
            account = site.people.account(name)
            assert account is not None
            cookies = {"maskwatch_session": site.authenticator.open_session(account.user)}
            with running.client(cookies=cookies) as client:
                paths = ("/fleet", "/fleet/cameras", "/events", "/trends", "/review", "/health", "/api/v1/status")
                texts[name] = "".join(client.get(path).text for path in paths)
    for secret in ("secret-hall", "secret-shop", "secret-fault"):
        assert secret in texts["boss"]
        assert secret not in texts["anna"]
    assert "shop/door" in texts["anna"]
