"""Connections to network cameras: their errors in words, the proxy of the system, and certificates."""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable
from urllib.request import getproxies, proxy_bypass

import httpx

from app.core.errors import SourceError
from app.settings.source import SourceSettings

_MAX_HEAD_BYTES = 65536


def explain(error: BaseException, where: str, scheme: str, by_proxy: bool = False) -> str:
    """What is wrong with the connection to ``where``, and the next step."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 10:
        causes.append(cause)
    if by_proxy and any(isinstance(each, httpx.ProxyError | httpx.ConnectError) for each in causes):
        return f"the proxy of this system cannot reach {where}; check http_proxy and no_proxy"
    for each in causes:
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"the certificate of {where} is not trusted ({each.verify_message}); set tls_ca_file or tls_verify"
        if isinstance(each, ssl.SSLError):
            return f"{where} does not speak {scheme.upper()}; check the port and the scheme"
        if isinstance(each, socket.gaierror | UnicodeError):  # UnicodeError: an empty or too long part of the name
            return f"unknown host {where.rpartition(':')[0]}; check the address and the network"
        if isinstance(each, ConnectionRefusedError):
            return f"{where} refuses connections; check the port and whether the camera is on"
        if isinstance(each, httpx.ConnectTimeout):
            return f"no answer from {where}; check the address, the network and whether the camera is on"
        if isinstance(each, httpx.TimeoutException | TimeoutError):
            return f"{where} accepts the connection but sends no answer; restart the camera"
        if isinstance(each, httpx.ProtocolError):
            return f"{where} does not speak {scheme.upper()}; check the port"
    last = causes[-1]
    reason = last.strerror if isinstance(last, OSError) and last.strerror else type(last).__name__
    return f"cannot connect to {where} ({reason}); check the address and the network"


def address_of(url: httpx.URL) -> str:
    """``host:port`` of ``url``."""
    host = url.raw_host.decode("ascii", "replace")
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"


def proxy_of(uri: str) -> str | None:
    """The HTTP proxy for ``uri``; also given to FFmpeg, so that both take the same way."""
    url = httpx.URL(uri)
    proxy = getproxies().get(url.scheme)
    if not proxy or proxy_bypass(address_of(url)) or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def tls_context(settings: SourceSettings) -> ssl.SSLContext:
    """Raises SourceError if ``tls_ca_file`` cannot be read."""
    context = ssl.create_default_context() if settings.verifies_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.tls_ca_file is not None:
        try:
            context.load_verify_locations(settings.tls_ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "it contains no certificate"
            raise SourceError(f"cannot read tls_ca_file {settings.tls_ca_file}: {reason}; check it") from error
    if not settings.verifies_tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(ssl.SSLError):  # old cameras use short keys
            context.set_ciphers("DEFAULT@SECLEVEL=0")
    return context


def read_head(
    receive: Callable[[], bytes], protocols: tuple[bytes, ...], read: bytes = b""
) -> tuple[str, httpx.Headers, bytes]:
    """(status line, headers, start of the body) of an answer, however its lines end. The line is '' if the answer does
    not begin with one of ``protocols``: then all of it is body."""
    while True:
        read = read.lstrip(b"\r\n")
        is_known = any(read.startswith(each[: len(read)]) for each in protocols)
        end = re.search(rb"\r?\n\r?\n", read)
        if not is_known or end or len(read) > _MAX_HEAD_BYTES or not (chunk := receive()):
            break
        read += chunk
    if not read or not is_known:
        return "", httpx.Headers(), read
    head, rest = (read[: end.start()], read[end.end() :]) if end else (read, b"")
    first, *lines = head.decode("latin-1").split("\n")
    pairs = (line.partition(":") for line in lines)
    headers = [(name.strip().lower(), value.strip()) for name, colon, value in pairs if colon and name.strip()]
    return first.strip(), httpx.Headers(headers, encoding="latin-1"), rest
