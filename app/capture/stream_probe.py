"""The reason why a stream cannot be opened. OpenCV hides FFmpeg's reason, so the server is asked again."""

import re
import socket
import time
from urllib.parse import urlsplit

from app.core.secrets import redact
from app.settings.source import SourceSettings

_PORTS = {"rtsp": 554, "http": 80, "rtsps": 322, "https": 443, "rtmp": 1935, "rtmps": 443}
_STATUS = re.compile(rb"^(?:RTSP|HTTP)/\d\.\d (\d{3})([^\r\n]{0,60})")
_MAX_REPLY_BYTES = 256


def probe_stream(settings: SourceSettings, limit_s: float = 1.0) -> str:
    """The likely fault and the next step, in one line without credentials. Takes about ``limit_s`` at most, plus
    the time of the name lookup."""
    parts = urlsplit(settings.uri)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    port = parts.port or _PORTS.get(scheme)
    if port is None or scheme in ("udp", "rtp"):
        return f"no data within {settings.open_timeout_s:g} s; check the address and the sender"
    end_s = time.monotonic() + limit_s
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=limit_s) as connection:
            if scheme not in ("rtsp", "http"):
                return f"{where} answers but sends no video; check the path"
            connection.sendall(_request(scheme, settings.uri, where))
            reply = _first_line(connection, end_s)
    except (socket.gaierror, UnicodeError):  # UnicodeError: a label is empty or longer than 63 characters
        return f"unknown host {host}; check the address and the network"
    except ConnectionRefusedError:
        return f"{where} refuses connections; check the port and whether the camera is on"
    except TimeoutError:
        return f"no answer from {where}; check the address, the network and whether the camera is on"
    except OSError as error:
        return f"cannot connect to {where} ({error.strerror or error}); check the address and the network"
    return _explain(reply, scheme, where, settings)


def _request(scheme: str, uri: str, where: str) -> bytes:
    parts = urlsplit(uri)
    if scheme == "rtsp":
        return f"DESCRIBE {uri} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return f"GET {path} HTTP/1.0\r\nHost: {where}\r\n\r\n".encode()


def _first_line(connection: socket.socket, end_s: float) -> bytes:
    reply = b""
    while b"\n" not in reply and len(reply) < _MAX_REPLY_BYTES:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            break
        connection.settimeout(left_s)
        try:
            chunk = connection.recv(_MAX_REPLY_BYTES)
        except TimeoutError:
            break
        if not chunk:
            break
        reply += chunk
    return reply


def _explain(reply: bytes, scheme: str, where: str, settings: SourceSettings) -> str:
    if not reply:
        return f"{where} accepts the connection but sends no answer; restart the camera"
    match = _STATUS.match(reply)
    if match is None:
        return f"{where} does not speak {scheme.upper()}; check the port"
    code, reason = int(match.group(1)), redact(match.group(2).decode("ascii", "replace").strip())
    if code in (401, 403):
        if settings.username is None:
            return f"{where} requires a user name and password; give both in the settings or the address"
        return f"{where} rejects the user name and password; check both"
    if code == 404:
        return f"{where} has no such path; check the part of the address after the host"
    if code >= 400:
        return f"{where} answers {code} {reason}; check the path and the camera's settings"
    hint = "; try rtsp_transport tcp" if settings.rtsp_transport == "udp" else "; check the path and the network"
    return f"{where} answers but sends no video{hint}"
