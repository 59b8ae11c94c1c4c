"""Videos of servers are read through fsspec, with clear errors and without passwords in messages."""

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes_scan import Visit, write_video

from app.capture.recording_reader import Part, RecordingReader, read_facts, remote_videos
from app.core.errors import SourceError
from app.settings.monitor import CameraSettings

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
CAMERA = CameraSettings(uri="scan", every_s=0.2)


class WithoutRanges(SimpleHTTPRequestHandler):
    """Sends whole files of an unknown size."""

    ranges = False

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.ranges else None
        first = int(wanted[1]) if wanted else 0
        part = content[first : int(wanted[2]) + 1 if wanted and wanted[2] else None]
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes" if self.ranges else "none")
        if self.ranges:
            self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)


class WithRanges(WithoutRanges):
    ranges = True


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "door_20261120_140530.mp4", [Visit(1, 3, (200, 20, 0))], 12.0)


@pytest.fixture
def served(video: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the folder of ``video`` on a server with the handler of the parameter."""
    pytest.importorskip("aiohttp", reason="fsspec[http] is not installed")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(video.parent)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def assert_read_as(uri: str, video: Path) -> None:
    here, there = (read_facts(CAMERA.with_uri(each)) for each in (str(video), uri))
    assert (there.id, there.size, there.start) == (here.id, here.size, here.start)
    reader = RecordingReader((Part(uri, 0.0, there.size, there.duration_s),), CAMERA)
    assert (len(list(reader.frames(0.0))), len(list(reader.frames(8.0))), reader.faults) == (60, 20, [])


@pytest.mark.parametrize("served", [WithRanges], indirect=True)
def test_a_video_of_a_server_is_read_like_a_file(served: str, video: Path) -> None:
    assert_read_as(f"{served}/{video.name}", video)
    with pytest.raises(SourceError, match=r"no such video: http.*/absent\.mp4; check the address"):
        read_facts(CAMERA.with_uri(f"{served}/absent.mp4"))


@pytest.mark.parametrize("served", [WithoutRanges], indirect=True)
def test_a_server_that_sends_only_whole_files_is_refused(served: str, video: Path) -> None:
    with pytest.raises(SourceError, match=r"sends no parts of files \(Range\); copy the video"):
        read_facts(CAMERA.with_uri(f"{served}/{video.name}"))


def test_any_scheme_of_fsspec_is_read(video: Path) -> None:
    fsspec.filesystem("memory").pipe(f"/{video.name}", video.read_bytes())
    assert_read_as(f"memory://{video.name}", video)


def test_a_folder_of_a_store_is_listed() -> None:
    for name in ("shop/door/b.mp4", "shop/door/a.MKV", "shop/notes.txt"):
        fsspec.filesystem("memory").pipe(f"/{name}", b"content")
    assert remote_videos("memory://shop") == ["memory://shop/door/a.MKV", "memory://shop/door/b.mp4"]
    assert remote_videos("memory://shop/door/b.mp4") == ["memory://shop/door/b.mp4"]
    assert remote_videos("http://server.example/shop") == ["http://server.example/shop"]


def test_videos_of_a_folder_keep_the_server_and_the_login() -> None:
    class WithServer(type(fsspec.filesystem("memory"))):  # type: ignore[misc]
        """Paths as those of sftp:// and ftp://."""

        protocol = "server"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + fsspec.utils.infer_storage_options(path)["path"].strip("/")

    fsspec.register_implementation("server", WithServer, clobber=True)
    fsspec.filesystem("memory").pipe("/archive/door/a.mp4", b"content")
    assert remote_videos("server://u:secret@host/archive/") == ["server://u:secret@host/archive/door/a.mp4"]


@pytest.mark.parametrize("uri", ["memory://u:secret@host/absent.mp4", "nosuch://u:secret@host/a.mp4"])
def test_errors_do_not_show_the_password(uri: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_facts(CAMERA.with_uri(uri))
    assert "secret" not in str(caught.value)
    assert "check the address" in str(caught.value)
