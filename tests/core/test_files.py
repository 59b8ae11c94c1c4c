"""Files are written completely or not at all."""

import os
import stat
import threading
from pathlib import Path

import pytest

from app.core.errors import OutputError
from app.core.files import atomic_write, existing_parent, output_errors, write_json, write_text


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with atomic_write(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.suffix == ".json"  # formats are chosen by the suffix
    assert path.read_text() == "half"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_two_who_write_one_file_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("the first, which is longer")
        second.write_text("the second")
    assert path.read_text() == "the first, which is longer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_unchanged(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither modes nor pipes like these")
def test_links_modes_and_pipes_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("secret")
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_write(link) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600  # nobody else reads it before it is complete
        partial.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    pipe, texts = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: texts.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join(5)
    assert texts == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_unusable_path_raises_oserror_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "no folder" / "a.txt", tmp_path):
        with pytest.raises(OSError, match=r"\[Errno"):
            write_text(path, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_names_that_are_not_unicode_are_escaped(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": 1})
    write_text(tmp_path / "b.txt", "bad \udcff name")
    assert (tmp_path / "a.json").read_text() == '{\n "name": 1\n}\n'
    assert (tmp_path / "b.txt").read_text() == "bad \\udcff name"


def test_the_nearest_folder_that_exists_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert existing_parent(tmp_path / "a" / "b.db") == tmp_path
    monkeypatch.setattr("app.core.files.exists", lambda path: False)  # on Windows not even the drive need exist
    assert existing_parent(tmp_path / "a" / "b.db") == Path(tmp_path.anchor)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("No space left on device")])
def test_an_error_of_the_disk_says_what_and_what_next(error: OSError) -> None:
    with (
        pytest.raises(OutputError, match=r"^cannot write a\.json: No space left on device; choose another --json$"),
        output_errors("a.json", "choose another --json"),
    ):
        raise error
