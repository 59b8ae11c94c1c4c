"""The server of the web view. It runs in its own thread and only reads from the monitor."""

import asyncio
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from app.alerts.delivery import AlertCenter
from app.alerts.store_types import StoreError
from app.core.errors import OutputError
from app.core.types import Event
from app.settings.reload import renamed_cameras
from app.settings.root import Settings
from app.settings.web import WebSettings
from app.web import api, pages
from app.web.access import guarded
from app.web.assets import Assets
from app.web.http_protocol import make_protocol
from app.web.metrics import metrics_of
from app.web.middleware import SecurityMiddleware
from app.web.site import Site

log = logging.getLogger(__name__)

_BACKLOG = 64
_CLOSE_S = 1
"""Time for open responses to end when the server stops."""


def make_routes(site: Site, metrics: Callable[[], bytes] = bytes) -> list[Route]:
    """All routes, guarded by the roles and cameras of the users. ``metrics`` renders the Prometheus metrics."""

    async def show_metrics(request: Request) -> Response:  # noqa: ARG001 - signature of a handler
        return Response(await site.run_in_worker(metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [*pages.routes(site), *api.routes(), Route("/metrics", show_metrics, methods=["GET"])]
    return guarded(routes, site)


def make_app(site: Site) -> SecurityMiddleware:
    """The ASGI application, wrapped in the security middleware."""

    async def handle_error(request: Request, error: Exception) -> Response:
        status, message = 500, "an internal error occurred; see the log of maskwatch"
        headers: Mapping[str, str] = {"Connection": "close"}
        if isinstance(error, HTTPException):
            status, message, headers = error.status_code, error.detail, error.headers or {}
            message = message.lower() if message == HTTPStatus(status).phrase else message
        elif isinstance(error, StoreError):
            status, message, headers = 503, str(error), {}
        response = pages.error_page(request, status, message)
        response.headers.update(headers)
        return response

    handler = cast(Callable[[Request, Exception], Awaitable[Response]], handle_error)
    inner = Starlette(
        routes=make_routes(site, lambda: metrics()),
        exception_handlers={HTTPException: handler, StoreError: handler, Exception: handler},
    )
    inner.router.redirect_slashes = False
    inner.state.site, inner.state.assets = site, Assets()

    def refusal_page(scope: Scope, status: int, reason: str) -> Response:
        return pages.error_page(Request({**scope, "app": inner}), status, reason)

    middleware = SecurityMiddleware(inner, site.authenticator, site.settings.web, refusal_page)
    metrics = metrics_of(site, middleware)
    return middleware


class WebServer:
    """``start`` listens and returns; ``stop`` ends the thread within a time limit."""

    def __init__(self, site: Site) -> None:
        self._web = site.settings.web
        self.site = site
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None

    def publish(self, event: Event) -> None:
        """Sends ``event`` to every open page. Thread-safe, does not block."""
        self.site.feed.publish(event)

    def reload(self, settings: Settings, center: AlertCenter) -> None:
        """Replaces the settings and the alert center. Users keep a camera that has another name now. Thread-safe."""
        renamed = renamed_cameras(self.site.settings.camera, settings.camera)
        self.site.reload(settings, center)
        if renamed and self._loop is not None and not self._loop.is_closed():  # the file of the users belongs to it
            self._loop.call_soon_threadsafe(self._rename_cameras, renamed)

    def _rename_cameras(self, names: dict[str, str]) -> None:
        try:
            self.site.people.rename_cameras(names)
        except StoreError as error:
            log.error("users do not see the cameras with new names: %s; change their cameras on the page Users", error)

    @property
    def port(self) -> int:
        """The port in use, also if the settings say 0."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else self._web.port

    @property
    def url(self) -> str:
        host = self._web.host if self._web.host not in ("0.0.0.0", "::") else socket.gethostname()
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self._web.tls_cert else 'http'}://{name}:{self.port}{self._web.root_path}/"

    @property
    def welcome(self) -> str:
        """What to print at the start: the address, and how the first user is added if that is necessary."""
        code = self.site.authenticator.first_code
        return f"web view: {self.url}" + (f"\nadd the first user: {self.url}first-user?code={code}" if code else "")

    def start(self) -> None:
        """Raises OutputError if the address is not available or the certificate is invalid."""
        self._socket = _listen(self._web)
        try:
            config = uvicorn.Config(
                make_app(self.site),
                http=make_protocol(self._web.max_connections, self._web.stall_s, _tls(self._web)),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # proxy headers of a client are not trusted
                timeout_keep_alive=5,
                timeout_graceful_shutdown=_CLOSE_S,
            )
            config.load()
        except OSError as error:  # includes ssl.SSLError
            self._socket.close()
            raise OutputError(
                f"cannot use {self._web.tls_cert}: {error}; check web.tls_cert and web.tls_key"
            ) from error
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Body of the thread. An error stops the web view and is logged; the monitor continues."""
        try:
            asyncio.run(self._serve())
        except Exception:  # last resort of the thread
            log.exception("the web view crashed; maskwatch continues without it; restart it to use the web view")

    async def _serve(self) -> None:
        assert self._server is not None
        assert self._socket is not None
        self._loop = asyncio.get_running_loop()
        self.site.feed.bind(self._loop)
        await self._server.serve(sockets=[self._socket])
        for connection in list(self._server.server_state.connections):  # uvicorn leaves those of stalled clients open
            connection.transport.abort()
        await asyncio.sleep(0)  # aborted connections are closed in the next iteration of the loop

    def _end_streams(self) -> None:
        self.site.feed.stop()
        self.site.streams.stop()

    def stop(self, timeout_s: float = 1.5) -> list[str]:
        """Ends all responses and the thread. Returns a message for each part that did not stop."""
        stuck: list[str] = []
        if self._server is not None:
            self._server.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._end_streams)
            except RuntimeError:  # closed in the meantime
                log.debug("the event loop of the web view had already stopped")
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                stuck.append("thread 'web' did not stop")
        self.site.close(wait=not stuck)
        if self._socket is not None:
            self._socket.close()
        return stuck


def _tls(web: WebSettings) -> ssl.SSLContext | None:
    if web.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(web.tls_cert, web.tls_key)
    return context


def _listen(web: WebSettings) -> socket.socket:
    host = web.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # on Windows it would let two programs share the address
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, web.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        address = f"{web.host}:{web.port}"
        raise OutputError(
            f"cannot open the web view on {address}: {error.strerror or error}; choose another one with --web HOST:PORT"
        ) from error
    return listening
