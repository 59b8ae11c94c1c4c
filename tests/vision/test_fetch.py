"""Fetching model files: from a server on loopback that is honest, lies, breaks off, or is not there."""

import argparse
import hashlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.errors import ModelError, OutputError
from app.vision import fetch as fetching
from app.vision.fetch import YUNET, RemoteModel, fetch

CONTENT = bytes(range(256)) * 400


class Handler(BaseHTTPRequestHandler):
    """``/good`` sends the file, ``/other`` another, ``/broken`` half of what it promised, all else is 404."""

    def do_GET(self) -> None:
        pages = {"/good": CONTENT, "/other": CONTENT[::-1], "/broken": CONTENT}
        content = pages.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/broken" else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}"
    web.shutdown()
    web.server_close()
    thread.join(60)
    assert not thread.is_alive()


def remote(server: str, page: str) -> RemoteModel:
    return replace(YUNET, url=f"{server}/{page}", sha256=hashlib.sha256(CONTENT).hexdigest())


def test_a_good_file_is_kept_and_not_fetched_twice(server: str, tmp_path: Path) -> None:
    path = fetch(remote(server, "good"), tmp_path / "new")
    assert path == tmp_path / "new" / YUNET.file_name
    assert path.read_bytes() == CONTENT
    assert fetch(remote(server, "absent"), tmp_path / "new") == path
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="it has other rights")
def test_a_fetched_file_can_be_read_by_everybody(server: str, tmp_path: Path) -> None:
    assert fetch(remote(server, "good"), tmp_path).stat().st_mode & 0o777 == 0o644


def test_a_file_that_may_not_be_read_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / YUNET.file_name).write_bytes(CONTENT)
    monkeypatch.setattr(fetching, "file_hash", closed)
    with pytest.raises(OutputError, match="Permission denied"):
        fetch(YUNET, tmp_path)
    parser = argparse.ArgumentParser()
    fetching.register(parser.add_subparsers())
    args = parser.parse_args(["models", "list", "--folder", str(tmp_path)])
    assert args.run(args) == 0
    assert "cannot be read: Permission denied" in capsys.readouterr().out


def test_a_damaged_file_is_replaced(server: str, tmp_path: Path) -> None:
    (tmp_path / YUNET.file_name).write_bytes(b"half")
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(("page", "message"), [("other", "SHA-256"), ("broken", "cannot fetch"), ("absent", "404")])
def test_what_is_wrong_is_not_kept_and_what_was_there_stays(
    server: str, tmp_path: Path, page: str, message: str
) -> None:
    kept = tmp_path / YUNET.file_name
    kept.write_bytes(b"older")
    with pytest.raises(ModelError, match=message):
        fetch(remote(server, page), tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_bytes() == b"older"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "nonsense", "http://[bad/"])
def test_servers_that_are_not_there(tmp_path: Path, url: str) -> None:
    with pytest.raises(ModelError, match="cannot fetch"):
        fetch(YUNET, tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_endless_answers_are_cut_off(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="sends more"):
        fetch(remote(server, "good"), tmp_path)


def test_a_folder_that_cannot_be_made(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="--folder"):
        fetch(remote(server, "good"), tmp_path / "file" / "models")


def test_the_commands(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = remote(server, "absent")
    monkeypatch.setattr(fetching, "REMOTE_MODELS", (model,))
    parser = argparse.ArgumentParser()
    fetching.register(parser.add_subparsers())

    def run(*words: str) -> str:
        args = parser.parse_args(["models", *words, "--folder", str(tmp_path)])
        assert args.run(args) == 0
        return capsys.readouterr().out

    assert "not fetched" in run("list")
    said = run("fetch", "yunet", "--url", f"{server}/good")
    assert str(tmp_path / model.file_name) in said
    assert "--detector yunet" in said
    assert "Apache-2.0" in run("list")
    (tmp_path / model.file_name).write_bytes(b"rot")
    assert "DAMAGED" in run("list")
