"""Why a stream gives no video: FFmpeg tells OpenCV, and OpenCV tells nobody, so a failed open is asked about anew."""

import re
import socket
import time
from urllib.parse import urlsplit

from app.settings.source import SourceSettings, redact

_PORTS = {"rtsp": 554, "http": 80, "rtsps": 322, "https": 443, "rtmp": 1935, "rtmps": 443}
_STATUS = re.compile(rb"^(?:RTSP|HTTP)/\d\.\d (\d{3})([^\r\n]{0,60})")
_MAX_REPLY_BYTES = 256


def probe_stream(settings: SourceSettings, limit_s: float = 1.0) -> str:
    """The likely fault and what to do about it, in one line without credentials; ends within about ``limit_s``
    (a name server's delay apart)."""
    parts = urlsplit(settings.uri)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    port = parts.port or _PORTS.get(scheme)
    if port is None or scheme in ("udp", "rtp"):
        return f"nothing came within {settings.open_timeout_s:g} s; check the address and that it is sent"
    end_s = time.monotonic() + limit_s
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=limit_s) as connection:
            if scheme not in ("rtsp", "http"):
                return f"{where} answers but gives no video; check the path"
            connection.sendall(_question(scheme, settings.uri, where))
            reply = _first_line(connection, end_s)
    except (socket.gaierror, UnicodeError):  # the latter for a part that is empty or above 63 letters
        return f"unknown host {host}; check the address and the network"
    except ConnectionRefusedError:
        return f"{where} refuses connections; check the port and that the camera is on"
    except TimeoutError:
        return f"no answer from {where}; check the address, the network and that the camera is on"
    except OSError as error:
        return f"cannot reach {where} ({error.strerror or error}); check the address and the network"
    return _meaning(reply, scheme, where, settings)


def _question(scheme: str, uri: str, where: str) -> bytes:
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


def _meaning(reply: bytes, scheme: str, where: str, settings: SourceSettings) -> str:
    if not reply:
        return f"{where} takes the connection but stays silent; restart the camera"
    match = _STATUS.match(reply)
    if match is None:
        return f"{where} does not speak {scheme.upper()}; check the port"
    code, reason = int(match.group(1)), redact(match.group(2).decode("ascii", "replace").strip())
    if code in (401, 403):
        if settings.username is None:
            return f"{where} asks for a user name and password; give both in the settings or the address"
        return f"{where} does not accept the user name and password; check both"
    if code == 404:
        return f"{where} has no such path; check the part of the address behind the host"
    if code >= 400:
        return f"{where} answers {code} {reason}; check the path and the camera's settings"
    hint = "; try rtsp_transport tcp" if settings.rtsp_transport == "udp" else "; check the path and the network"
    return f"{where} answers but gives no video{hint}"
