"""Asks HTTP cameras: logins, redirects, proxies, certificates, and answers that break the protocol."""

import base64
import contextlib
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import httpx

from app.capture.connection import address_of, explain, proxy_of, read_head, tls_context
from app.capture.login import LOGINS, Login, rejected, unsupported
from app.core.errors import RetryLaterError, SourceError
from app.settings.source import SourceSettings

_MAX_REDIRECTS = 8
_CHUNK_BYTES = 65536
_MAX_RETRY_AFTER_S = 3600.0
_AGENT = "maskwatch"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer whose body is read on demand. ``url`` is the address after all redirects, ``has_status`` is False if
    the server sent no status line, ``is_framed`` whether ``chunks`` end at ``length``. ``close`` ends the connection,
    or keeps it for the next request if all of the body was read."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    chunks: Iterator[bytes]
    close: Callable[[], None]
    has_status: bool = True
    is_framed: bool = True

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """The length of the file; None if it is unknown, or invented as cameras do for endless answers."""
        text = self.headers.get("content-length", "")
        if self.status == 206:  # some servers send a part without being asked for it
            text = self.headers.get("content-range", "").rpartition("/")[2]
        length = int(text) if len(text) < 16 and text.isascii() and text.isdigit() else None
        return length if length is not None and 0 < length < 2**40 and length not in (2**31 - 1, 2**32 - 1) else None


class HttpClient:
    """Requests of one source. It is used by one thread; ``close`` ends all its connections."""

    def __init__(self, settings: SourceSettings) -> None:
        """Raises SourceError if the address is invalid or the file of certificates cannot be read."""
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at lower levels it logs whole addresses
        self._settings = settings
        try:
            self._origin = httpx.URL(settings.uri)
        except httpx.InvalidURL:
            raise SourceError(f"cannot open {settings.shown}: it is not a valid address; check the host") from None
        self._login = Login(settings)
        self.is_lenient = False
        """Whether lengths and everything else that servers get wrong are ignored, at the cost of a connection each."""
        self._tls = tls_context(settings)
        proxy = proxy_of(settings.uri)
        try:
            self._client = httpx.Client(
                verify=self._tls,
                proxy=proxy,
                trust_env=False,  # it would read other proxies than FFmpeg, and passwords from a .netrc file
                timeout=httpx.Timeout(settings.open_timeout_s, read=settings.read_timeout_s),
                headers={"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise SourceError(f"cannot use the proxy of this system for {settings.shown}; check http_proxy") from error

    def close(self) -> None:
        self._client.close()

    def get(self, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        """The answer to a GET request, after redirects and the login. Raises SourceError for every status that is
        neither 2xx nor 304."""
        url = self._origin
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._ask(url, headers or {})
            location = answer.headers.get("location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                self._check_status(answer)
                return answer
            answer.close()
            url = self._redirected(url, location)
        raise SourceError(
            f"cannot open {self._settings.shown}: more than {_MAX_REDIRECTS} redirects; check the address"
        )

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            target = url.join(location).copy_with(userinfo=b"", fragment=None)
        except (httpx.InvalidURL, ValueError):
            raise SourceError(f"cannot open {self._settings.shown}: it redirects to an invalid address") from None
        if target.scheme not in ("http", "https") or not target.host:
            shown = self._settings.hide(str(target))
            raise SourceError(f"cannot open {self._settings.shown}: it redirects to {shown}; give that address")
        return target

    def may_login(self, url: httpx.URL) -> bool:
        """Whether the server of ``url`` may learn the password: only the one in the settings, never with less
        protection."""
        same_host = url.host == self._origin.host
        same_place = url.scheme == self._origin.scheme and url.port == self._origin.port
        return same_host and (same_place or (self._origin.scheme == "http" and url.scheme == "https"))

    def _ask(self, url: httpx.URL, headers: Mapping[str, str]) -> HttpAnswer:
        may_login = self.may_login(url)
        answer = self._send(url, headers, may_login)
        if answer.status != 401:
            return answer
        answer.close()
        where, asked = address_of(url), answer.headers.get_list("www-authenticate")
        if not may_login:
            raise SourceError(
                f"cannot open {self._settings.shown}: it redirects to {where}, which requires a login; "
                "give that address with its user name and password"
            )
        if self._settings.username is None:
            raise rejected(self._settings, where)
        with LOGINS.one_at_a_time(self._settings, where):
            if not self._login.accept_challenge(asked):
                raise unsupported(self._settings, where, asked)
            answer = self._send(url, headers, may_login)
            if answer.status == 401:
                answer.close()
                raise rejected(self._settings, where)
        return answer

    def _send(self, url: httpx.URL, headers: Mapping[str, str], may_login: bool) -> HttpAnswer:
        login = self._login.header("GET", url.raw_path.decode("ascii")) if may_login else None
        sent = {**headers, **({"Authorization": login} if login else {})}
        if self.is_lenient:
            return self._send_raw(url, sent)
        try:
            encoded = {name.encode(): value.encode() for name, value in sent.items()}  # user names may be non-ASCII
            response = self._client.send(self._client.build_request("GET", url, headers=encoded), stream=True)
        except httpx.RemoteProtocolError:  # no status line, or headers that are not allowed: browsers accept them
            return self._send_raw(url, sent)
        except (httpx.HTTPError, OSError) as error:
            raise self._connection_error(url, error) from None
        chunks = self._guarded(url, response.iter_bytes())
        return HttpAnswer(response.url, response.status_code, response.headers, chunks, response.close)

    def _guarded(self, url: httpx.URL, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """``chunks`` with errors as SourceError; a connection that is cut ends the body."""
        try:
            yield from chunks
        except (httpx.RemoteProtocolError, httpx.DecodingError, ConnectionError):
            return
        except (httpx.TimeoutException, TimeoutError):
            limit_s, shown = self._settings.read_timeout_s, self._settings.shown
            raise SourceError(f"lost {shown}: no data for {limit_s:g} s; check camera and network") from None
        except (httpx.HTTPError, OSError) as error:
            raise self._connection_error(url, error) from None

    def _send_raw(self, url: httpx.URL, headers: Mapping[str, str]) -> HttpAnswer:
        """The same request without a strict parser of the answer, whose body ends with the connection."""
        try:
            with contextlib.ExitStack() as stack:
                connection, target, more = self._connected(url)
                stack.callback(connection.close)
                lines = [f"GET {target} HTTP/1.0", f"Host: {address_of(url)}", "Connection: close"]
                sent = {"User-Agent": _AGENT, **headers, **more}
                lines += [f"{name}: {value}" for name, value in sent.items()]
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
                line, head, rest = read_head(partial(connection.recv, _CHUNK_BYTES), (b"HTTP/", b"ICY "))
                close = stack.pop_all().close
        except (OSError, HTTPException) as error:
            raise self._connection_error(url, error) from None
        code = re.match(r"\S+\s+([1-5]\d\d)\b", line, re.ASCII)
        body = _body(connection, rest)
        chunks = self._guarded(url, _unchunked(body) if "chunked" in head.get("transfer-encoding", "") else body)
        status = int(code[1]) if code else 200
        return HttpAnswer(url, status, head, chunks, close, has_status=line != "", is_framed=False)

    def _connected(self, url: httpx.URL) -> tuple[socket.socket, str, dict[str, str]]:
        """A connection to the server, or to its proxy; the target of the request, and headers for the proxy."""
        proxy = proxy_of(str(url))
        way = httpx.URL(proxy) if proxy else url
        port = url.port or (443 if url.scheme == "https" else 80)
        to, timeout_s = (way.host, way.port or port), self._settings.open_timeout_s
        login = base64.b64encode(f"{way.username}:{way.password}".encode()).decode("ascii")
        more = {"Proxy-Authorization": f"Basic {login}"} if proxy and way.username else {}
        target = url.raw_path.decode("ascii")
        if url.scheme == "https":
            connection: HTTPConnection = HTTPSConnection(*to, timeout=timeout_s, context=self._tls)
            if proxy:
                connection.set_tunnel(url.host, port, more)
            more = {}
        else:
            connection = HTTPConnection(*to, timeout=timeout_s)
            target = f"http://{address_of(url)}{target}" if proxy else target
        connection.connect()
        connection.sock.settimeout(self._settings.read_timeout_s)
        return connection.sock, target, more

    def _check_status(self, answer: HttpAnswer) -> None:
        code = answer.status
        if 200 <= code < 300 or code == 304:
            return
        answer.close()
        settings, where = self._settings, address_of(answer.url)
        reason = httpx.codes.get_reason_phrase(code)
        start = f"cannot open {settings.shown}: {where}"
        if code == 403 and settings.username is not None and self.may_login(answer.url):
            raise rejected(settings, where, code)
        if code in (403, 410):
            raise SourceError(
                f"{start} refuses access ({code}); the address may have expired, or need a user name and password"
            )
        if code == 404:
            raise SourceError(f"{start} has no such path; check the part of the address after the host")
        if code == 407:
            raise SourceError(f"{start}: the proxy requires a user name and password; write them into http_proxy")
        if code in (429, 503):
            wait_s = _retry_after_s(answer.headers)
            message = f"{start} is busy ({code} {reason}); close other viewers or raise snapshot_interval_s"
            raise RetryLaterError(message, wait_s) if wait_s else SourceError(message)
        raise SourceError(f"{start} answers {code} {reason}; check the path and the camera's settings")

    def _connection_error(self, url: httpx.URL, error: Exception) -> SourceError:
        start = f"cannot open {self._settings.shown}: "
        return SourceError(start + explain(error, address_of(url), url.scheme, proxy_of(str(url)) is not None))


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """The pause that the server asks for; 0 if it names none."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _MAX_RETRY_AFTER_S)
    try:
        return min(max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0), _MAX_RETRY_AFTER_S)
    except ValueError:
        return 0.0


def _body(connection: socket.socket, rest: bytes) -> Iterator[bytes]:
    if rest:
        yield rest
    while chunk := connection.recv(_CHUNK_BYTES):
        yield chunk


def _unchunked(body: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a chunked body (RFC 9112, 7.1); it ends at a size that is no number."""
    left, line = 0, b""
    for data in body:
        while data:
            if left:
                part, data = data[:left], data[left:]
                left -= len(part)
                yield part
                continue
            text, end, data = data.partition(b"\n")
            line += text
            size = line.partition(b";")[0].strip()
            if not end or not size:  # incomplete, or the line end after a chunk
                line = b"" if end else line
                continue
            if not re.fullmatch(rb"0*[1-9A-Fa-f][0-9A-Fa-f]{0,7}", size):
                return
            left, line = int(size, 16), b""
