"""What an HTTP server has answered: the media types that cameras send are often wrong, so the content decides."""

import re
from collections.abc import Iterator

from app.capture.connection import address_of
from app.capture.http_client import HttpAnswer
from app.capture.mjpeg import IMAGE_START
from app.core.errors import SourceError
from app.settings.source import SourceSettings

_SNIFF_BYTES = 64
_MAX_BLANK_BYTES = 65536
"""A body with more line ends or zeros at its start is not searched further."""
_PART_HEADER = re.compile(rb"(?i)content-(?:type|length)[ \t]*:")
_IMAGE_FILE = re.compile(rb"BM|GIF8|II\*\0|MM\0\*")
"""Images whose end cannot be recognised."""


def peek(answer: HttpAnswer) -> tuple[bytes, Iterator[bytes]]:
    """(the start of the body, the whole body)."""
    read = b""
    while len(read.lstrip(b"\r\n\0 \t")) < _SNIFF_BYTES and len(read) <= _MAX_BLANK_BYTES:
        chunk = next(answer.chunks, None)
        if chunk is None:
            break
        read += chunk

    def body() -> Iterator[bytes]:
        yield read
        yield from answer.chunks

    return read[:4096], body()


def kind_of(answer: HttpAnswer, head: bytes) -> str:
    """image (JPEG, PNG, WebP), image file (another format), mjpeg, playlist (HLS), dash, video, page, text, empty, or
    unknown."""
    start = head.lstrip(b"\r\n\0 \t\xef\xbb\xbf")
    if not start:
        return "empty"
    if IMAGE_START.match(start):
        return "image"
    if answer.content_type.startswith("multipart/") or start.startswith(b"--") or _PART_HEADER.search(start[:1024]):
        return "mjpeg"
    if not answer.has_status:
        return "unknown"
    if start.startswith(b"#EXTM3U"):
        return "playlist"
    if start.startswith(b"<") and b"<MPD" in start:
        return "dash"
    if _IMAGE_FILE.match(start):
        return "image file"
    if start.startswith((b"<", b"{", b"[")) or answer.content_type in ("text/html", "application/json"):
        return "page"
    if all(9 <= byte < 127 for byte in start[:_SNIFF_BYTES]):
        return "text"
    return "video"


def not_a_video(settings: SourceSettings, answer: HttpAnswer, kind: str) -> SourceError:
    where = address_of(answer.url)
    reasons = {
        "empty": f"{where} answers without content; check the path",
        "unknown": f"{where} does not speak HTTP; check the port",
        "dash": f"{where} answers with a DASH playlist, which cannot be read; use the camera's RTSP or HLS address",
        "page": f"{where} answers with a web page, not with video: give the address of the stream itself, and check "
        "whether the camera asks for a login",
        "text": f"{where} answers with text, not with video; check the path",
    }
    return SourceError(f"cannot open {settings.shown}: {reasons[kind]}")
