"""Opens http(s) addresses: motion JPEG, single images that are polled, and all that FFmpeg reads."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import cv2
import httpx

from app.capture.connection import proxy_of
from app.capture.http_body import kind_of, not_a_video, peek
from app.capture.http_client import HttpAnswer, HttpClient
from app.capture.http_file import HttpFile
from app.capture.http_images import HttpImageReader
from app.capture.paced_reader import PacedReader
from app.core.errors import SourceError
from app.settings.source import SourceSettings

_OTHER_PARTS = re.compile(rb"(?i)^content-type:[ \t]*((?:video|audio)/[\w.+-]+)", re.MULTILINE)
OpenVideo = Callable[[str | HttpFile, dict[str, str]], Any]
"""Opens an address or a file with FFmpeg, with further options; returns a ``VideoReader``."""


@dataclass(frozen=True, slots=True)
class HttpStream:
    """An open address: ``reader`` is a ``VideoReader``, ``is_live`` says whether it has no end."""

    reader: Any
    is_live: bool


def open_http(settings: SourceSettings, open_video: OpenVideo) -> HttpStream:
    """Open the address of ``settings``. Raises SourceError."""
    with contextlib.ExitStack() as stack:
        client = HttpClient(settings)
        stack.callback(client.close)
        answer = client.get()
        stack.callback(answer.close)
        head, chunks = peek(answer)
        kind = kind_of(answer, head)
        if kind == "empty":  # some cameras answer the first request after a pause like this
            answer.close()
            client.is_lenient = True  # others send a length of 0 before each image
            answer = client.get()
            stack.callback(answer.close)
            head, chunks = peek(answer)
            kind = kind_of(answer, head)
        if kind == "mjpeg" and (other := _OTHER_PARTS.search(head)) is not None:
            raise SourceError(
                f"cannot open {settings.shown}: it sends parts of type {other.group(1).decode()}, no images; "
                "use the camera's RTSP address"
            )
        if kind in ("image", "image file", "mjpeg"):
            stream = HttpStream(HttpImageReader(settings, client, answer, chunks, kind), is_live=True)
        elif kind == "playlist":
            return _open_playlist(settings, client, answer, open_video)
        elif kind == "video":
            stream = _open_video(settings, HttpFile(settings, client, answer, head, chunks), open_video)
        else:
            raise not_a_video(settings, answer, kind)
        stack.pop_all()
        return stream


def _open_video(settings: SourceSettings, file: HttpFile, open_video: OpenVideo) -> HttpStream:
    """A video has a length, or its container knows it; a live stream has none, and is paced."""
    reader = open_video(file, {})
    file.open_end_s = None
    is_live = settings.live
    if is_live is None:
        is_live = not file.seekable() and not reader.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    return HttpStream(PacedReader(reader) if is_live else reader, is_live)


def _open_playlist(
    settings: SourceSettings, client: HttpClient, answer: HttpAnswer, open_video: OpenVideo
) -> HttpStream:
    """FFmpeg asks for the parts by itself."""
    # FFmpeg recognises only usual names and media types
    options = {"user_agent": "maskwatch", "format": "hls", "extension_picky": "0"}
    proxy = proxy_of(str(answer.url))
    if proxy is not None:
        options["http_proxy"] = proxy
    answer.close()
    reader = open_video(_with_login(settings, client, answer.url), options)
    is_live = settings.live if settings.live is not None else not reader.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    return HttpStream(reader, is_live)


def _with_login(settings: SourceSettings, client: HttpClient, url: httpx.URL) -> str:
    """``url`` for FFmpeg; never show or log it."""
    address = str(url)
    if settings.username is None or not client.may_login(url):
        return address
    password = settings.password.get_secret_value() if settings.password else ""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{quote(settings.username, safe='')}:{quote(password, safe='')}@{rest}"
