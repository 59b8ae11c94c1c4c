"""The reason why a stream cannot be opened. FFmpeg hides most of it, so the server is asked again, with the login."""

import socket
from urllib.parse import urlsplit

import httpx
from av.error import HTTPUnauthorizedError

from app.capture.connection import explain
from app.capture.login import challenges, offered, rejected, unsupported
from app.capture.rtsp_client import RtspAnswer, RtspClient, host_and_port
from app.core.secrets import redact
from app.settings.source import SourceSettings

_PORTS = {"rtmp": 1935, "rtmps": 443}
_LIMIT_S = 2.0
"""Time limit of all questions together, plus the time of the name lookup."""


def probe_stream(settings: SourceSettings, error: BaseException | None = None) -> str:
    """The likely fault and the next step, in one line without credentials; ``error`` is FFmpeg's error.

    Raises LoginError if the server rejects the login.
    """
    scheme = urlsplit(settings.uri).scheme.lower()
    if scheme in ("rtsp", "rtsps"):
        return _probe_rtsp(settings, error)
    if scheme in ("http", "https"):  # our own request has succeeded
        if isinstance(error, HTTPUnauthorizedError):
            return "FFmpeg does not support the login of this server; set it to digest (MD5) or basic"
        return "FFmpeg cannot read this video; try to play it in another program"
    return _probe_port(settings, scheme)


def _probe_port(settings: SourceSettings, scheme: str) -> str:
    parts = urlsplit(settings.uri)
    port = parts.port or _PORTS.get(scheme)
    if port is None or scheme in ("udp", "rtp"):
        return f"no data within {settings.open_timeout_s:g} s; check the address and the sender"
    where = f"{parts.hostname}:{port}"
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_LIMIT_S):
            return f"{where} answers but sends no video; check the path"
    except (OSError, UnicodeError) as error:
        return _explained(error, where, scheme)


def _explained(error: Exception, where: str, scheme: str) -> str:
    if isinstance(error, TimeoutError):
        error = httpx.ConnectTimeout(str(error))
    return explain(error, where, scheme)


def _probe_rtsp(settings: SourceSettings, error: BaseException | None) -> str:
    host, port = host_and_port(settings)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    refused = isinstance(error, HTTPUnauthorizedError)
    try:
        with RtspClient.connected(settings, _LIMIT_S) as client:
            answer = client.describe(with_login=False)
            asked = answer.headers.get_list("www-authenticate")
            if answer.status == 401:
                if settings.username is None or (refused and _ffmpeg_has_answered(asked)):
                    raise rejected(settings, where)  # a second try with the same password may lock the account
                answer = client.describe(with_login=True)
                if answer.status == 401 and not client.can_login:
                    raise unsupported(settings, where, asked)
            if answer.status != 200:
                return _explain_status(answer, where, settings)
            if refused:
                return (
                    f"{where} accepts the user name and password, but FFmpeg cannot log in over RTSP to a camera "
                    f"that offers {offered(asked)}; set it to digest (MD5) or basic only, or use its HTTP address"
                )
            if "m=video" not in answer.body:
                return f"{where} offers no video, only audio or other data; check the path"
            return _explain_setup(client, answer, where, settings)
    except (OSError, UnicodeError) as fault:
        return _explained(fault, where, "rtsp")


def _ffmpeg_has_answered(asked: list[str]) -> bool:
    """Whether FFmpeg has sent the password: it answers only the last digest challenge, and only MD5 (FFmpeg 8.1)."""
    found = list(challenges(asked))
    algorithms = [values.get("algorithm", "MD5").upper() for scheme, values in found if scheme == "digest"]
    if algorithms:
        return algorithms[-1] in ("MD5", "MD5-SESS")
    return any(scheme == "basic" for scheme, _ in found)


def _explain_status(answer: RtspAnswer, where: str, settings: SourceSettings) -> str:
    code, reason = answer.status, redact(answer.reason)
    if code == 0:
        return f"{where} accepts the connection but sends no answer; restart the camera"
    if code == -1:
        return f"{where} does not speak RTSP; check the port"
    if code in (401, 403):
        raise rejected(settings, where, code)
    if code == 404:
        return f"{where} has no such path; check the part of the address after the host"
    if code == 453:
        return f"{where} has not enough bandwidth ({code} {reason}); close other viewers or use the camera's sub-stream"
    if code == 503:
        return f"{where} is busy ({code} {reason}); close other viewers, or wait until the camera has started"
    if 300 <= code < 400 and answer.headers.get("location"):
        return f"{where} redirects to {settings.hide(answer.headers['location'])}; give that address"
    return f"{where} answers {code} {reason}; check the path and the camera's settings"


def _explain_setup(client: RtspClient, description: RtspAnswer, where: str, settings: SourceSettings) -> str:
    other = "tcp" if settings.rtsp_transport == "udp" else "udp"
    answer = client.setup(description, settings.rtsp_transport)
    # Cameras refuse a transport with 461, but also with 400, 406 and others: so the other transport is tried.
    if answer.status == 461 or (answer.status >= 400 and client.setup(description, other).status == 200):
        return f"{where} does not send by {settings.rtsp_transport.upper()}; set --rtsp-transport {other}"
    if answer.status not in (0, 200):
        return _explain_status(answer, where, settings)
    hint = "try --rtsp-transport tcp" if other == "tcp" else "check the path and the network"
    return f"{where} answers but sends no video; {hint}"
