"""ASGI middleware that checks the host, size, origin, token and CSRF secret of every request.

Refused requests are logged with path and reason, never with a header, a query or a body.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from urllib.parse import parse_qs, quote, unquote, urlsplit

from markupsafe import escape
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.alerts.store_types import StoreError
from app.core.translation import gettext, languages, use
from app.settings.web import WebSettings, is_root_path
from app.web import language
from app.web.access import is_public
from app.web.auth import Authenticator, Caller
from app.web.people import NO_ACCESS, PeopleError, Role, User

log = logging.getLogger(__name__)

COOKIE, NEXT_COOKIE = "maskwatch_session", "maskwatch_next"
NEXT_S, MAX_NEXT = 600, 1000
"""How long, and how many characters of, an address are kept that somebody opened who must sign in first."""
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
BODY_LIMIT_S = 10.0
DRAIN_S, DRAIN_BYTES = 1.0, 1 << 20
LOG_LINES, LOG_PERIOD_S = 50, 60.0
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LANGUAGE_AGE_S = 365 * 86_400
RECHECK_S = 1.0
"""A long response ends this long after its session, or after the rights of its user changed."""
FORM = "application/x-www-form-urlencoded"

CONTENT_POLICY = (
    "default-src 'none'; img-src 'self' blob:; media-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors "
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with 'no-referrer' our own forms would have the origin 'null'
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


class _RefusedError(Exception):
    """A refused request: the HTTP status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class SecurityMiddleware:
    """``responses`` counts by method and status, for the metrics."""

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        settings: WebSettings,
        error_page: Callable[[Scope, int, str], Response],
    ) -> None:
        self._app = app
        self._error_page = error_page
        self._authenticator = authenticator
        self._settings = settings
        self._headers = security_headers(settings)
        self.responses: Counter[tuple[str, int]] = Counter()
        self._log_since_s = -LOG_PERIOD_S
        self._logged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        root = scope["root"] = self._root(headers)
        if scope["path"] == root or scope["path"].startswith(f"{root}/"):  # a proxy may remove it or not
            scope["path"] = scope["path"][len(root) :] or "/"
        # The answer to a form or a link is read by a person, also if its address is one of the API.
        scope["is_browser"] = "text/html" in headers.get("accept", "")
        scope["is_page"] = scope["is_browser"] or not scope["path"].startswith("/api/")
        self._choose_language(scope, headers)
        sender = self._wrap_send(scope, send)
        try:
            try:
                self._check_headers(scope, headers)
                caller = self._caller(scope, headers)
            except StoreError as error:
                raise _RefusedError(503, str(error)) from error
            if caller.is_new and self._follows_foreign_link(scope, headers):
                await _load_again(scope)(scope, receive, sender)
                return
            scope["caller"], scope["user"] = caller, caller.user
            if not caller.signed_in and not is_public(scope["path"]):
                await self._sign_in(scope)(scope, receive, sender)
                return
            if scope["method"] not in SAFE_METHODS:
                body = await self._read_body(receive)
                self._check_csrf(headers, caller, body)
                receive = _replayed(body, receive)
            elif caller.signed_in:
                receive = self._while_signed_in(receive, caller, headers)
            await self._app(scope, receive, sender)
        except _RefusedError as refusal:
            scope["refusal"] = refusal.reason
            response = self._refusal(scope, refusal.status, refusal.reason)
            await response(scope, receive, _draining(receive, sender) if refusal.status == 413 else sender)

    def _choose_language(self, scope: Scope, headers: Headers) -> None:
        """Sets the language of the texts of this request. A program gets English, unless it asks otherwise."""
        if not scope["is_page"]:
            use(headers.get(language.HEADER, ""))
            return
        query = parse_qs(scope["query_string"].decode("latin-1")[:2000])
        given = query.get(language.FIELD, [""])[-1]
        cookie = _cookie(headers, language.COOKIE)
        use(language.choose(given, cookie, self._settings.language, headers.get("accept-language", "")))
        if given in languages():
            scope["language_cookie"] = given

    def _refusal(self, scope: Scope, status: int, reason: str) -> Response:
        """A page for a browser that is known, otherwise JSON for the API and plain text."""
        if scope["is_browser"] and "caller" in scope:
            return self._error_page(scope, status, reason)
        return refusal_response(scope, status, reason)

    def _sign_in(self, scope: Scope) -> Response:
        """Leads a browser to the sign-in, which leads back to the page."""
        if scope["method"] in ("GET", "HEAD") and scope["is_page"] and scope["path"] != "/metrics":
            response: Response = RedirectResponse(f"{scope['root']}/login", 303)
            query = scope["query_string"].decode("latin-1")
            here = f"{quote(scope['path'])}{'?' if query else ''}{query}"
            if here != "/" and len(here) <= MAX_NEXT:
                cookie = _cookie_header(NEXT_COOKIE, quote(here), self._settings, scope["root"], NEXT_S, "Lax")
                response.headers.append("Set-Cookie", cookie)
            return response
        response = self._refusal(scope, 401, "sign in, or send 'Authorization: Bearer TOKEN'")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        """Who sends the request. A listed proxy may say so, and from where. Raises _RefusedError and StoreError."""
        address = (scope.get("client") or ("?",))[0]
        proxy_user = None
        if self._settings.is_proxy(address):
            proxy_user = self._proxy_user(headers)
            hops = [each.strip() for each in ",".join(headers.getlist("x-forwarded-for")).split(",")]
            address = next((each for each in reversed(hops) if not self._settings.is_proxy(each)), "") or address
        scope["client"] = (address[:64], 0)
        bearer = "" if is_public(scope["path"]) else _bearer(headers)
        caller = self._authenticator.caller(_cookie(headers), bearer, proxy_user)
        is_tried = bearer and (caller.by_token or not caller.signed_in)
        if is_tried and not self._authenticator.admits_token(bearer, scope["client"][0], caller.by_token):
            raise _RefusedError(401, "too many wrong tokens from this address; wait a minute")
        return caller

    def _proxy_user(self, headers: Headers) -> User | None:
        """The user in the headers of a listed proxy. Raises _RefusedError if the user may not sign in."""
        settings = self._settings
        names = headers.getlist(settings.proxy_user_header) if settings.proxy_user_header else []
        if not names:
            return None
        if len(names) > 1:
            raise _RefusedError(400, f"{settings.proxy_user_header} came twice; the proxy must replace that of clients")
        groups = ",".join(headers.getlist(settings.proxy_groups_header)) if settings.proxy_groups_header else ""
        try:
            account = self._authenticator.people.external(names[0], Role.of_groups(groups.split(","), settings.roles))
        except PeopleError as error:
            raise _RefusedError(403, str(error)) from error
        if account is None:
            raise _RefusedError(403, gettext(NO_ACCESS))
        return account.user

    def _while_signed_in(self, receive: Receive, caller: Caller, headers: Headers) -> Receive:
        """Reports to a long response that the client has disconnected when the session ends or the rights change."""

        async def receive_or_end() -> Message:
            assert caller.user is not None
            message = asyncio.ensure_future(receive())
            try:
                while not (await asyncio.wait((message,), timeout=RECHECK_S))[0]:
                    with suppress(StoreError):  # the file is busy: look again
                        account = self._authenticator.people.account(caller.user.name) if caller.by_proxy else None
                        by_proxy = account.user if account is not None and not account.disabled else None
                        now = self._authenticator.caller(_cookie(headers), _bearer(headers), by_proxy)
                        if now.user != caller.user:
                            return {"type": "http.disconnect"}
                return message.result()
            finally:
                message.cancel()

        return receive_or_end

    def _root(self, headers: Headers) -> str:
        """The path under which the browser sees the web view, or ''."""
        name = self._settings.root_path_header
        given = headers.get(name, "").rstrip("/") if name is not None else ""
        return given if is_root_path(given) else self._settings.root_path

    def _log(self, scope: Scope, status: int) -> None:
        """Logs at most LOG_LINES refusals a minute, then the number of omitted ones: a client cannot fill the log."""
        now_s = monotonic()
        if now_s - self._log_since_s >= LOG_PERIOD_S:
            if self._logged > LOG_LINES:
                log.warning("web view: refused %d more requests in the last period", self._logged - LOG_LINES)
            self._log_since_s, self._logged = now_s, 0
        self._logged += 1
        if self._logged <= LOG_LINES:
            reason = scope.get("refusal") or HTTPStatus(status).phrase
            address = (scope.get("client") or ("?",))[0]
            log.warning(
                "web view: refused %s %.120r from %s: %d, %s", scope["method"], scope["path"], address, status, reason
            )

    def _check_headers(self, scope: Scope, headers: Headers) -> None:
        """Checks host, length and origin, against DNS rebinding and cross-site requests. Raises _RefusedError."""
        host = headers.get("host", "")
        if not self._is_allowed_host(host):
            raise _RefusedError(400, "unknown host name; add it to [web] allowed_hosts")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            raise self._too_large()
        if scope["method"] in SAFE_METHODS:
            return
        origin = headers.get("origin")
        foreign = origin is not None and not self._is_own_origin(origin, host)
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise _RefusedError(403, "the request comes from another site; use the pages of the web view")

    def _is_allowed_host(self, host: str) -> bool:
        """If people sign in, every host name is safe: the session cookie belongs to one name, and another site has
        none. But a proxy signs them in for every name."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        own = ("localhost", "127.0.0.1", "::1", self._settings.host.strip("[]").lower())
        if self._settings.allowed_hosts:
            return name in own or name in (allowed.lower() for allowed in self._settings.allowed_hosts)
        return (self._authenticator.needs_login and not self._settings.proxy_user_header) or name in own

    def _follows_foreign_link(self, scope: Scope, headers: Headers) -> bool:
        """Whether a link of another site opens a page, such as of a web mail: then the browser does not send its
        strict session cookie, and a new one would replace it and sign the user out."""
        if scope["method"] != "GET" or scope["path"].startswith(("/api/", "/static/", "/login/")):
            return False
        if "sec-fetch-site" in headers:
            return (headers["sec-fetch-site"], headers.get("sec-fetch-mode")) == ("cross-site", "navigate")
        origin = headers.get("referer")  # over plain http browsers send only this one to another machine
        is_foreign = origin is not None and not self._is_own_origin(origin, headers.get("host", ""))
        return is_foreign and self._authenticator.needs_login

    def _is_own_origin(self, origin: str, host: str) -> bool:
        """A proxy may have replaced the host name that the browser sent; ``allowed_hosts`` contains that name."""
        try:
            parts = urlsplit(origin)
            name = (parts.hostname or "").lower()
        except ValueError:  # malformed, for example 'http://['
            return False
        return parts.netloc.lower() == host.lower() or name in map(str.lower, self._settings.allowed_hosts)

    async def _read_body(self, receive: Receive) -> bytes:
        body = b""
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusedError(400, "the client disconnected before the request was complete")
                    body += bytes(message.get("body", b""))
                    if len(body) > self._settings.max_body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return body
        except TimeoutError:
            raise _RefusedError(408, f"the body did not arrive within {BODY_LIMIT_S:g} s; send it again") from None

    def _too_large(self) -> _RefusedError:
        limit = self._settings.max_body_bytes
        return _RefusedError(413, f"the body is larger than {limit} bytes; see web.max_body_bytes")

    def _check_csrf(self, headers: Headers, caller: Caller, body: bytes) -> None:
        if caller.by_token:
            return
        given = headers.get(CSRF_HEADER, "")
        if not given and headers.get("content-type", "").partition(";")[0].strip() == FORM:
            given = parse_form(body).get(CSRF_FIELD, "")
        if caller.is_new or not self._authenticator.csrf_matches(caller, given):
            raise _RefusedError(403, "the page is out of date (its CSRF secret is not valid); load it again")

    def _wrap_send(self, scope: Scope, send: Send) -> Send:
        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                self.responses[(_method_label(scope["method"]), status)] += 1
                if 400 <= status < 500:
                    self._log(scope, status)
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                is_page = headers.get("content-type", "").startswith("text/html") or scope["path"] == "/api/v1/session"
                caller: Caller | None = scope.get("caller")
                if caller is not None and caller.is_new and is_page and "set-cookie" not in headers:
                    root = scope["root"]  # as long as the browser runs: a page may stay open for days
                    headers.append("Set-Cookie", _cookie_header(COOKIE, caller.session, self._settings, root))
                if "language_cookie" in scope:
                    value, root = scope["language_cookie"], scope["root"]
                    headers.append(
                        "Set-Cookie", _cookie_header(language.COOKIE, value, self._settings, root, LANGUAGE_AGE_S)
                    )
            await send(message)

        return sender


def security_headers(settings: WebSettings) -> dict[str, str]:
    """The headers of every response."""
    ancestors = settings.frame_ancestors
    headers = {"Content-Security-Policy": CONTENT_POLICY + (" ".join(ancestors) or "'none'"), **SECURITY_HEADERS}
    if not ancestors:
        headers["X-Frame-Options"] = "DENY"  # for old browsers; it cannot name other origins
    return headers


def session_cookie_header(session: str, settings: WebSettings, root: str) -> str:
    return _cookie_header(COOKIE, session, settings, root, round(settings.session_h * 3600))


def next_page(scope: Scope) -> str:
    """The page of this web view that the browser wanted to see before the sign-in; the first page if it is none."""
    given = unquote(_cookie(Headers(scope=scope), NEXT_COOKIE, MAX_NEXT * 3))
    return given if re.fullmatch(r"/(?![/\\])[!-~]*", given) else "/"


def _cookie_header(
    name: str, value: str, settings: WebSettings, root: str, age_s: int | None = None, same_site: str = "Strict"
) -> str:
    """``age_s``: None for as long as the browser runs. Browsers send a strict cookie only to frames of the same site,
    and others only over https."""
    in_foreign_frame = settings.is_secure and any(each != "'self'" for each in settings.frame_ancestors)
    site = "None; Partitioned" if in_foreign_frame else same_site
    end = "" if age_s is None else f"; Max-Age={age_s}"
    secure = "; Secure" if settings.is_secure else ""
    return f"{name}={value}; Path={root or '/'}; HttpOnly; SameSite={site}{end}{secure}"


def parse_form(body: bytes) -> dict[str, str]:
    """The last value of each form field; malformed parts of a body are ignored."""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in fields.items()}


def refusal_response(scope: Scope, status: int, reason: str) -> Response:
    """The response to a refused request: JSON for the API, plain text otherwise."""
    headers = {"Connection": "close"} if status in (408, 413) else {}
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": reason}, status, headers)
    return PlainTextResponse(f"{reason}\n", status, headers)


def _load_again(scope: Scope) -> Response:
    """Opens the same page once more, now from this site, with the cookie."""
    query = scope["query_string"].decode("latin-1")
    url = escape(f"{scope['root']}{quote(scope['path'])}{'?' if query else ''}{query}")
    head = f'<!doctype html><title>maskwatch</title><meta http-equiv="refresh" content="0; url={url}">'
    text = escape(gettext("Go on"))
    return HTMLResponse(f'{head}<p><a href="{url}">{text}</a></p>')


def _cookie(headers: Headers, cookie: str = COOKIE, longest: int = 200) -> str:
    """A cookie, or ''. ``SimpleCookie`` would drop all cookies if another program set a malformed one. The first of two
    is that of the longer path: another web view of the same host may have one for '/'."""
    pairs = [pair.partition("=") for pair in reversed(headers.get("cookie", "").split(";"))]
    return {name.strip(): value.strip() for name, _, value in pairs}.get(cookie, "")[:longest]


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _method_label(method: str) -> str:
    """The method, or "other": a client must not create new metric labels."""
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"


def _draining(receive: Receive, send: Send) -> Send:
    """Sends the response, then discards what the client still sends, for a bounded time and amount.

    Closing a connection with unread bytes resets it, and the client would lose the response.
    """

    async def sender(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        await _drain(receive)
        await send({"type": "http.response.body"})

    return sender


async def _drain(receive: Receive) -> None:
    left = DRAIN_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the application the body that was read already, then the messages after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
