"""A video on an HTTP server as a file that FFmpeg reads: with our login, proxy and certificates, and with jumps."""

import os
import time
from collections.abc import Iterator

from app.capture.http_client import HttpAnswer, HttpClient
from app.core.errors import SourceError
from app.settings.source import SourceSettings

_SKIP_BYTES = 256 * 1024
"""A jump ahead of at most this is read over; a longer one is a new request."""
_MAX_RESUMES = 5
"""New requests in a row without a new byte, after which a lost connection is an error."""


class HttpFile:
    """Reads the body of ``answer``, which begins with ``head``. A file can jump, also on servers that always send the
    whole body, and continues where a connection was lost. Errors are raised as SourceError."""

    def __init__(
        self, settings: SourceSettings, client: HttpClient, answer: HttpAnswer, head: bytes, chunks: Iterator[bytes]
    ) -> None:
        self.name = "stream"  # FFmpeg would guess the format from the ending
        self._settings = settings
        self._client = client
        self._answer = answer
        self._chunks = chunks
        self._length = answer.length
        self._can_jump = answer.length is not None or index_is_last(head)
        self._buffer = b""
        self._at = 0
        """Where the buffer begins in the file."""
        self._wanted = 0
        self._furthest = 0
        self.open_end_s: float | None = time.monotonic() + settings.open_timeout_s + settings.read_timeout_s
        """While FFmpeg opens the video: the time limit of all that it reads for this. None afterwards."""
        self._resumes = 0

    def seekable(self) -> bool:
        return self._can_jump

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self._length is None:
            self._length = self._read_over()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._wanted, os.SEEK_END: self._length or 0}[whence]
        self._wanted = max(0, base + offset)
        return self._wanted

    def read(self, size: int) -> bytes:
        if self._length is not None and self._wanted >= self._length:
            return b""
        if not 0 <= self._wanted - self._at <= len(self._buffer) + _SKIP_BYTES:
            self._request(self._wanted)
        while self._at + len(self._buffer) <= self._wanted:
            self._at += len(self._buffer)
            self._buffer = self._next_chunk()
            end = self._at + len(self._buffer)
            if self._buffer:
                self._resumes = 0 if end > self._furthest else self._resumes
                self._furthest = max(self._furthest, end)
            elif self._length is None or self._at >= self._length:
                return b""
            else:
                self._resume()
        start = self._wanted - self._at
        part = self._buffer[start : start + size]
        self._wanted += len(part)
        return part

    def _read_over(self) -> int:
        """Where the body ends, after all of it was received."""
        while True:
            self._at += len(self._buffer)
            self._buffer = self._next_chunk()
            if not self._buffer:
                return self._at

    def _next_chunk(self) -> bytes:
        """b'' if the connection is lost or stays silent."""
        if self.open_end_s is not None and time.monotonic() > self.open_end_s:
            raise SourceError(f"cannot open {self._settings.shown}: it sends too slowly; check the network")
        try:
            return next(self._chunks, b"")
        except SourceError:
            if self._length is None:
                raise
            return b""

    def _resume(self) -> None:
        self._resumes += 1
        if self._resumes > _MAX_RESUMES:
            raise SourceError(f"lost {self._settings.shown}: the connection breaks off again and again")
        self._request(self._at)

    def _request(self, start: int) -> None:
        self._answer.close()
        self._answer = self._client.get({"Range": f"bytes={start}-"})
        self._chunks = self._answer.chunks
        self._at = start if self._answer.status == 206 else 0  # 200: the server sends all from the start
        self._buffer = b""

    def close(self) -> None:
        self._answer.close()
        self._client.close()


def index_is_last(head: bytes) -> bool:
    """Whether ``head`` begins an MP4 file whose index (``moov``) follows the video (``mdat``): it is not live."""
    at = 0
    while head[4:8] == b"ftyp" and at + 8 <= len(head):
        size, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if kind in (b"moov", b"moof") or size < 8:
            return kind == b"mdat"
        if kind == b"mdat":
            return True
        at += size
    return False
