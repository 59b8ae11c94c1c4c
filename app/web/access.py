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
RULES: dict[tuple[str, str], Rule] = {
    # Pages
    ("GET", "/"): _view("viewed live images"),
    ("GET", "/wall"): _view("viewed live images"),
    ("GET", "/events"): _view("viewed events"),
    ("GET", "/review"): _view("viewed events"),
    ("GET", "/label"): _view("viewed collected faces"),
    ("GET", "/trends"): Rule(VIEWER),
    ("GET", "/health"): Rule(VIEWER),
    ("GET", "/fleet"): Rule(VIEWER),
    ("GET", "/fleet/cameras"): Rule(VIEWER),
    ("GET", "/scan"): Rule(VIEWER, "viewed the archive scan", needs_all=True, is_view=True),
    ("GET", "/metrics"): Rule(VIEWER, needs_all=True),
    # The own account
    ("POST", "/logout"): Rule(VIEWER),
    ("GET", "/account"): Rule(VIEWER),
    ("POST", "/account/password"): Rule(VIEWER),
    ("POST", "/account/sessions/end"): Rule(VIEWER),
    ("POST", "/account/code"): Rule(VIEWER),
    ("POST", "/account/tokens"): Rule(VIEWER),
    # Users; the handlers record the changes
    ("GET", "/users"): Rule(ADMIN),
    ("POST", "/users"): Rule(ADMIN),
    ("POST", "/users/{name}/change"): Rule(ADMIN),
    ("POST", "/users/{name}/password"): Rule(ADMIN),
    ("POST", "/users/{name}/remove"): Rule(ADMIN),
    ("GET", "/audit"): Rule(ADMIN, "viewed the audit log", is_view=True),
    ("GET", "/audit.csv"): Rule(ADMIN, "exported the audit log"),
    # Settings: the addresses of cameras contain passwords, and a trial opens a connection
    **{("GET", path): Rule(ADMIN) for path in ("/setup", "/setup/camera", "/setup/channels")},
    **{("GET", path): Rule(ADMIN) for path in ("/setup/channel", "/setup/privacy")},
    **{("GET", path): Rule(ADMIN) for path in ("/setup/zones", f"{_API}/settings")},
    ("GET", "/setup/zones.jpg"): Rule(ADMIN, "viewed live images", is_view=True),
    ("GET", f"{_API}/setup/tried/{{key}}/picture.jpg"): Rule(ADMIN),
    **{
        ("POST", path): Rule(ADMIN, "tried a camera")
        for path in (f"{_API}/setup/try", *(f"/setup/cameras/{each}" for each in ("try", "search", "profiles")))
    },
    **{
        ("POST", path): Rule(ADMIN, "changed settings")
        for path in (
            f"{_API}/settings",
            f"{_API}/settings/undo",
            "/setup/undo",
            "/setup/privacy/save",
            *(f"/setup/cameras/{each}" for each in ("add", "save", "remove")),
            *(f"/setup/channels/{each}" for each in ("add", "save", "remove")),
        )
    },
    # Alerts on the own device
    ("GET", f"{_API}/push"): Rule(VIEWER),
    ("POST", f"{_API}/push/subscribe"): Rule(VIEWER, "subscribed to alerts"),
    ("POST", f"{_API}/push/unsubscribe"): Rule(VIEWER, "unsubscribed from alerts"),
    # API
    ("GET", f"{_API}/session"): Rule(VIEWER),
    ("GET", f"{_API}/openapi.json"): Rule(VIEWER),
    ("GET", f"{_API}/status"): Rule(VIEWER),
    ("GET", f"{_API}/stream"): _view("viewed events"),
    ("GET", f"{_API}/alerts"): _view("viewed events"),
    ("GET", f"{_API}/cameras"): Rule(VIEWER),
    ("GET", f"{_API}/cameras/{{camera:int}}"): Rule(VIEWER),
    ("GET", f"{_API}/cameras/{{camera:int}}/picture.jpg"): _view("viewed live images"),
    ("GET", f"{_API}/cameras/{{camera:int}}/stream.mjpeg"): _view("viewed live images"),
    ("GET", f"{_API}/live"): _view("viewed live images"),
    ("POST", f"{_API}/cameras/{{camera:int}}/mute"): Rule(OPERATOR, "muted a camera"),
    ("POST", f"{_API}/cameras/{{camera:int}}/unmute"): Rule(OPERATOR, "unmuted a camera"),
    ("POST", f"{_API}/cameras/{{camera:int}}/turn"): Rule(OPERATOR, "turned a camera"),
    ("GET", f"{_API}/events"): _view("viewed events"),
    ("GET", f"{_API}/events.csv"): Rule(VIEWER, "exported events"),
    ("GET", f"{_API}{_EVENT}"): _view("viewed an event"),
    ("GET", f"{_API}{_EVENT}/picture.jpg"): _view("viewed a snapshot"),
    ("GET", f"{_API}{_EVENT}/clip.mp4"): _view("viewed a clip"),
    ("GET", f"{_API}{_EVENT}/clip.json"): Rule(VIEWER),
    ("GET", f"{_API}{_EVENT}/clip.jpg"): _view("viewed a snapshot"),
    ("POST", f"{_API}{_EVENT}/verdict"): Rule(OPERATOR, "gave a verdict"),
    ("GET", f"{_API}/faces/{{face:path}}/picture.jpg"): _view("viewed a collected face"),
    ("POST", f"{_API}/faces/{{face:path}}/label"): Rule(OPERATOR, "labelled a face"),
    ("GET", f"{_API}/day.zip"): Rule(VIEWER, "exported a day"),
    ("GET", f"{_API}/compliance"): Rule(VIEWER),
    ("POST", f"{_API}/alerts/test"): Rule(OPERATOR, "sent a test alert", needs_all=True),
    ("POST", f"{_API}/alerts/acknowledge"): Rule(OPERATOR, "acknowledged"),
    ("POST", f"{_API}/alerts/{{event:path}}/acknowledge"): Rule(OPERATOR, "acknowledged"),
}
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
