"""The gate before every page: host, size, origin, token and form secret are looked at here, so that no page can forget.

A pure ASGI wrapper. What is refused, here or behind it, is logged with the path and the reason, and never with a
header, a query or a body.
"""

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings.web import WebSettings
from app.web.auth import Authenticator, Caller

log = logging.getLogger(__name__)

COOKIE = "maskwatch_session"
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
BODY_LIMIT_S = 10.0
LINGER_S, LINGER_BYTES = 1.0, 1 << 20
LOG_LINES, LOG_PERIOD_S = 50, 60.0
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/login", "/healthz", "/readyz", "/favicon.ico")
OPEN_PREFIX = "/static/"
FORM = "application/x-www-form-urlencoded"

CONTENT_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # 'no-referrer' would send our own forms with the origin 'null'
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


class _RefusedError(Exception):
    """A request that is not served: the status of the answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class SecurityMiddleware:
    """``served`` counts answers by method and status, for the metrics."""

    def __init__(self, app: ASGIApp, access: Authenticator, settings: WebSettings) -> None:
        self._app = app
        self._access = access
        self._settings = settings
        self.served: Counter[tuple[str, int]] = Counter()
        self._log_since_s = -LOG_PERIOD_S
        self._logged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        caller = self._access.caller(_cookie(headers), _bearer(headers))
        scope["caller"] = caller
        sender = self._sender(scope, send, caller)
        try:
            self._check_head(scope, headers)
            if not caller.signed_in and not _is_open(scope["path"]):
                await _sign_in(scope)(scope, receive, sender)
                return
            if scope["method"] not in SAFE_METHODS:
                body = await self._body(receive)
                self._check_secret(headers, caller, body)
                receive = _Replay(body, receive)
            await self._app(scope, receive, sender)
        except _RefusedError as refusal:
            scope["refusal"] = refusal.reason
            answer = refused(scope, refusal.status, refusal.reason)
            await answer(scope, receive, _Lingering(receive, sender) if refusal.status == 413 else sender)

    def _log(self, scope: Scope, status: int) -> None:
        """Nobody can fill the log: so many lines a minute, then the number of those left out."""
        now_s = monotonic()
        if now_s - self._log_since_s >= LOG_PERIOD_S:
            if self._logged > LOG_LINES:
                log.warning("web view: refused %d more requests in that time", self._logged - LOG_LINES)
            self._log_since_s, self._logged = now_s, 0
        self._logged += 1
        if self._logged <= LOG_LINES:
            reason = scope.get("refusal") or HTTPStatus(status).phrase
            who = (scope.get("client") or ("?",))[0]
            log.warning(
                "web view: refused %s %.120r of %s: %d, %s", scope["method"], scope["path"], who, status, reason
            )

    def _check_head(self, scope: Scope, headers: Headers) -> None:
        """A page of another site must not reach us through a name that its owner points at this machine, nor act."""
        host = headers.get("host", "")
        if not self._is_own(host):
            raise _RefusedError(400, "unknown host name; add it to [web] allowed_hosts")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._settings.max_body_bytes:
            raise _RefusedError(413, f"the body is larger than {self._settings.max_body_bytes} bytes")
        if scope["method"] in SAFE_METHODS:
            return
        origin = headers.get("origin")
        foreign = origin is not None and not _is_of(origin, host)
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise _RefusedError(403, "it came from another site")

    def _is_own(self, host: str) -> bool:
        """With a token any name will do: the cookie belongs to one name, and a foreign page has none."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        known = ("localhost", "127.0.0.1", "::1", self._settings.host.strip("[]").lower())
        if self._settings.allowed_hosts:
            return name in known or name in (allowed.lower() for allowed in self._settings.allowed_hosts)
        return self._access.needs_token or name in known

    async def _body(self, receive: Receive) -> bytes:
        body = b""
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusedError(400, "the client left before its request was whole")
                    body += bytes(message.get("body", b""))
                    if len(body) > self._settings.max_body_bytes:
                        raise _RefusedError(413, f"the body is larger than {self._settings.max_body_bytes} bytes")
                    if not message.get("more_body", False):
                        return body
        except TimeoutError:
            raise _RefusedError(408, "the body did not come in time") from None

    def _check_secret(self, headers: Headers, caller: Caller, body: bytes) -> None:
        if caller.by_token:
            return
        given = headers.get(CSRF_HEADER, "")
        if not given and headers.get("content-type", "").partition(";")[0].strip() == FORM:
            given = form_of(body).get(CSRF_FIELD, "")
        if caller.is_new or not self._access.csrf_fits(caller, given):
            raise _RefusedError(403, "the form is too old; load the page again")

    def _sender(self, scope: Scope, send: Send, caller: Caller) -> Send:
        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                self.served[(_known_method(scope["method"]), status)] += 1
                if 400 <= status < 500:
                    self._log(scope, status)
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                is_page = headers.get("content-type", "").startswith("text/html") or scope["path"] == "/api/v1/session"
                if caller.is_new and is_page and "set-cookie" not in headers:
                    headers.append("Set-Cookie", cookie_line(caller.session, self._settings))
            await send(message)

        return sender


def cookie_line(session: str, settings: WebSettings) -> str:
    secure = "; Secure" if settings.is_secure else ""
    return f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={round(settings.session_h * 3600)}{secure}"


def form_of(body: bytes) -> dict[str, str]:
    """The last value of each field of a form. A body that is no form gives what can be read of it."""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in fields.items()}


def refused(scope: Scope, status: int, reason: str) -> Response:
    """The answer to a request that is not served, in the asker's form."""
    headers = {"Connection": "close"} if status in (408, 413) else {}
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": reason}, status, headers)
    return PlainTextResponse(f"{reason}\n", status, headers)


def _sign_in(scope: Scope) -> Response:
    if scope["method"] in ("GET", "HEAD") and not scope["path"].startswith("/api/") and scope["path"] != "/metrics":
        return RedirectResponse("/login", 303)
    answer = refused(scope, 401, "sign in, or send 'Authorization: Bearer TOKEN'")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _is_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # 'http://[' say: whatever it is, we did not send it
        return False


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


def _cookie(headers: Headers) -> str:
    """By hand: ``SimpleCookie`` drops all where one, of another program on this host name, is not strictly formed."""
    pairs = (pair.partition("=") for pair in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}.get(COOKIE, "")[:200]


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _known_method(method: str) -> str:
    """A client that makes methods up must not fill the metrics."""
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"


class _Lingering:
    """Sends the answer, then reads and drops what the client still sends, for a bounded time and amount: closing over
    unread bytes resets the connection, and the client would lose the answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._drop()
        await self._send({"type": "http.response.body"})

    async def _drop(self) -> None:
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while left > 0:
                    message = await self._receive()
                    if not message.get("more_body", False):
                        return
                    left -= len(message["body"])


class _Replay:
    """The body that was read already, then whatever comes after it (the client's leaving)."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}
