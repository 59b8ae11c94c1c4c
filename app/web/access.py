"""Who may call which route: one table. A route that is not in it is for admins only, and needs all cameras."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_plus

from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.alerts.store_types import StoreError
from app.web.people import Role, User
from app.web.site import Site

log = logging.getLogger(__name__)

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
PUBLIC_PATHS = ("/login", "/login/oidc", "/login/oidc/back", "/first-user", "/healthz", "/readyz", "/favicon.ico")
PUBLIC_PREFIX = "/static/"


@dataclass(frozen=True, slots=True)
class Rule:
    """``role``: the lowest that may call the route; None: everybody, without sign-in. ``needs_all``: only users with
    all cameras may; otherwise the answer contains only the cameras of the user, and a camera, an event or a face in the
    path must be one of them. ``what``: how the audit log records it, '' for not at all; ``is_view``: only looked at."""

    role: Role | None
    what: str = ""
    needs_all: bool = False
    is_view: bool = False


def _view(what: str) -> Rule:
    return Rule(VIEWER, what, is_view=True)


NO_EVENT = "no such event; see /api/v1/events"
NO_FACE = "no such collected face; it may have been deleted"
_API = "/api/v1"
_EVENT = "/events/{event:path}"
_CAMERA = "/cameras/{camera:int}"
_SETUP_FORMS = ("/setup/cameras/add", "/setup/cameras/save", "/setup/cameras/remove", "/setup/channels/add",
                "/setup/channels/save", "/setup/channels/remove", "/setup/privacy/save", "/setup/undo")  # fmt: skip
_TABLE: tuple[tuple[Rule, str, tuple[str, ...]], ...] = (
    # Pages
    (_view("viewed live images"), "GET", ("/", "/wall")),
    (_view("viewed events"), "GET", ("/events", "/review")),
    (_view("viewed collected faces"), "GET", ("/label",)),
    (Rule(VIEWER), "GET", ("/trends", "/health", "/fleet", "/fleet/cameras")),
    (Rule(VIEWER, "viewed the archive scan", needs_all=True, is_view=True), "GET", ("/scan",)),
    (Rule(VIEWER, needs_all=True), "GET", ("/metrics",)),
    # The own account
    (Rule(VIEWER), "GET", ("/account",)),
    (Rule(VIEWER), "POST", ("/logout", "/account/password", "/account/sessions/end", "/account/code",
                            "/account/tokens")),
    # Users; the handlers record the changes
    (Rule(ADMIN), "GET", ("/users",)),
    (Rule(ADMIN), "POST", ("/users", "/users/{name}/change", "/users/{name}/password", "/users/{name}/remove")),
    (Rule(ADMIN, "viewed the audit log", is_view=True), "GET", ("/audit",)),
    (Rule(ADMIN, "exported the audit log"), "GET", ("/audit.csv",)),
    # Settings: the addresses of cameras contain passwords, and a trial opens a connection
    (Rule(ADMIN), "GET", ("/setup", "/setup/camera", "/setup/channels", "/setup/channel", "/setup/privacy",
                          "/setup/zones", f"{_API}/settings", f"{_API}/setup/tried/{{key}}/picture.jpg")),
    (Rule(ADMIN, "viewed live images", is_view=True), "GET", ("/setup/zones.jpg",)),
    (Rule(ADMIN, "tried a camera"), "POST", (f"{_API}/setup/try", "/setup/cameras/try", "/setup/cameras/search",
                                             "/setup/cameras/profiles")),
    (Rule(ADMIN, "changed settings"), "POST", (f"{_API}/settings", f"{_API}/settings/undo", *_SETUP_FORMS)),
    # Alerts on the own device
    (Rule(VIEWER), "GET", (f"{_API}/push",)),
    (Rule(VIEWER, "subscribed to alerts"), "POST", (f"{_API}/push/subscribe",)),
    (Rule(VIEWER, "unsubscribed from alerts"), "POST", (f"{_API}/push/unsubscribe",)),
    # API
    (Rule(VIEWER), "GET", (f"{_API}/session", f"{_API}/openapi.json", f"{_API}/status", f"{_API}/cameras",
                           f"{_API}{_CAMERA}", f"{_API}{_EVENT}/clip.json", f"{_API}/compliance")),
    (_view("viewed live images"), "GET", (f"{_API}{_CAMERA}/picture.jpg", f"{_API}{_CAMERA}/stream.mjpeg",
                                          f"{_API}/live")),
    (Rule(OPERATOR, "muted a camera"), "POST", (f"{_API}{_CAMERA}/mute",)),
    (Rule(OPERATOR, "unmuted a camera"), "POST", (f"{_API}{_CAMERA}/unmute",)),
    (Rule(OPERATOR, "turned a camera"), "POST", (f"{_API}{_CAMERA}/turn",)),
    (_view("viewed events"), "GET", (f"{_API}/stream", f"{_API}/alerts", f"{_API}/events")),
    (Rule(VIEWER, "exported events"), "GET", (f"{_API}/events.csv",)),
    (_view("viewed an event"), "GET", (f"{_API}{_EVENT}",)),
    (_view("viewed a snapshot"), "GET", (f"{_API}{_EVENT}/picture.jpg", f"{_API}{_EVENT}/clip.jpg")),
    (_view("viewed a clip"), "GET", (f"{_API}{_EVENT}/clip.mp4",)),
    (Rule(OPERATOR, "gave a verdict"), "POST", (f"{_API}{_EVENT}/verdict",)),
    (_view("viewed a collected face"), "GET", (f"{_API}/faces/{{face:path}}/picture.jpg",)),
    (Rule(OPERATOR, "labelled a face"), "POST", (f"{_API}/faces/{{face:path}}/label",)),
    (Rule(VIEWER, "exported a day"), "GET", (f"{_API}/day.zip",)),
    (Rule(OPERATOR, "sent a test alert", needs_all=True), "POST", (f"{_API}/alerts/test",)),
    (Rule(OPERATOR, "acknowledged"), "POST", (f"{_API}/alerts/acknowledge",
                                              f"{_API}/alerts/{{event:path}}/acknowledge")),
)  # fmt: skip
RULES = {(method, path): rule for rule, method, paths in _TABLE for path in paths}
"""By method and path."""
PUBLIC = Rule(None)


def is_public(path: str) -> bool:
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX)


def rule_of(method: str, path: str) -> Rule:
    """The rule of the route with this path, as the table writes it."""
    if is_public(path):
        return PUBLIC
    method = "GET" if method == "HEAD" else method
    return RULES.get((method, path)) or Rule(ADMIN, needs_all=True)


def guarded(routes: Iterable[Route], site: Site) -> list[Route]:
    """The same routes, which refuse what the table does not allow and record what it says."""
    found = list(routes)
    for route in found:
        route.app = _Guard(route.app, route.path, site)
    return found


class _Guard:
    def __init__(self, app: ASGIApp, path: str, site: Site) -> None:
        self._app = app
        self._path = path
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule, user = rule_of(scope["method"], self._path), scope["user"]
        if rule.role is None:
            await self._app(scope, receive, send)
            return
        if not user.role.includes(rule.role):
            raise HTTPException(403, f"your role is {user.role}, and this needs {rule.role}; ask an admin")
        if user.cameras is not None:
            if rule.needs_all:
                raise HTTPException(403, "this needs access to all cameras; ask an admin")
            await self._check_cameras(user, scope["path_params"])
        await self._app(scope, receive, self._recorded(scope, send, rule, user) if rule.what else send)

    async def _check_cameras(self, user: User, given: dict[str, object]) -> None:
        """What a user may not see does not exist. Raises HTTPException 404."""
        site = self._site
        if "camera" in given and not user.sees(self._camera(given["camera"])):
            raise HTTPException(404, f"no camera {given['camera']}; see /api/v1/cameras")
        if "event" in given:
            event = await site.run_in_worker(lambda: site.find_event(str(given["event"])))
            if event is None or not user.sees(event.camera):
                raise HTTPException(404, NO_EVENT)
        if "face" in given:
            face = await site.run_in_worker(lambda: site.collected.find(str(given["face"])))
            if face is None or not user.sees(face.camera):
                raise HTTPException(404, NO_FACE)

    def _recorded(self, scope: Scope, send: Send, rule: Rule, user: User) -> Send:
        """Records the request in the audit log when it succeeds. A handler may say more with ``scope["target"]``."""

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                record = self._site.people.audit.view if rule.is_view else self._site.people.audit.record
                try:
                    record(user.name, scope["client"][0], rule.what, scope.get("target", self._target(scope)))
                except StoreError as error:  # on a full disk people must still see
                    log.error("an entry of the audit log is missing: %s", error)
            await send(message)

        return sender

    def _target(self, scope: Scope) -> str:
        given = scope["path_params"]
        if "camera" in given:
            return self._camera(given["camera"])
        query = unquote_plus(scope["query_string"].decode("latin-1")) if scope["method"] == "GET" else ""
        return str(given.get("event") or given.get("face") or query)

    def _camera(self, given: object) -> str:
        """The name of a camera whose number or name is in the path; '' for an unknown number."""
        views = self._site.monitor.views()
        if isinstance(given, int):
            return views[given - 1].camera if 1 <= given <= len(views) else ""
        return str(given)
