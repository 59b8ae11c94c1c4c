"""Archives, checksums and sizes of a build."""

import hashlib
import importlib.util
import os
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import ModuleType

import archive
import pytest
import version_info

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build() -> ModuleType:
    """packaging/build.py, by its path: an installed package may bear that name."""
    spec = importlib.util.spec_from_file_location("maskwatch_build", ROOT / "packaging" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    pytest.importorskip("cyclonedx", reason="the build's own packages: pip install '.[package]'")
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A one-folder build in small, with a link as PyInstaller makes them."""
    inside = tmp_path / "maskwatch" / "_internal"
    inside.mkdir(parents=True)
    (inside / "libb.so").write_bytes(b"b" * 1000)
    (inside / "liba.so").write_bytes(b"a" * 500)
    program = tmp_path / "maskwatch" / "maskwatch"
    program.write_bytes(b"program")
    program.chmod(0o755)
    if sys.platform != "win32":
        (inside / "libc.so").symlink_to("liba.so")
    return tmp_path


def test_a_link_counts_nothing(folder: Path) -> None:
    assert archive.size_bytes(folder / "maskwatch") == 1507
    assert archive.size_bytes(folder / "maskwatch" / "maskwatch") == 7


@pytest.mark.skipif(sys.platform == "win32", reason="Windows gets a .zip")
def test_the_same_files_give_the_same_archive(folder: Path) -> None:
    first = archive.pack([folder / "maskwatch"], folder, "one", 1_700_000_000)
    for path in folder.rglob("*.so"):
        os.utime(path, (time.time(), time.time()))
    second = archive.pack([folder / "maskwatch"], folder, "two", 1_700_000_000)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as packed:
        members = {member.name: member for member in packed.getmembers()}
    assert members["maskwatch/maskwatch"].mode & 0o111, "may be run"
    assert members["maskwatch/_internal/libc.so"].linkname == "liba.so"
    assert {member.uid for member in members.values()} == {0}
    assert {member.mtime for member in members.values()} == {1_700_000_000}


def test_windows_gets_a_zip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.sys, "platform", "win32")
    packed = archive.pack([folder / "maskwatch"], folder, "win", 1_700_000_000)
    assert packed.suffix == ".zip"
    with zipfile.ZipFile(packed) as opened:
        assert "maskwatch/_internal/libb.so" in opened.namelist()


def test_what_was_built_is_found(folder: Path) -> None:
    assert archive.built(folder, onefile=False) == [folder / "maskwatch"]


def test_the_largest_parts_come_first() -> None:
    inside = [
        {"name": "small", "version": "1", "size_bytes": 10_000},
        {"name": "medium", "version": "2", "size_bytes": 1_000_000},
        {"name": "large", "version": "3", "size_bytes": 2_000_000},
    ]
    lines = archive.size_table([], inside).splitlines()[1:]
    assert [line.split()[-2] for line in lines] == ["large", "medium"]


def test_checksums_are_in_the_form_of_sha256sum(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"archive")
    build.write_checksums([tmp_path / "a.tar.gz"], tmp_path / "a.sha256")
    assert (tmp_path / "a.sha256").read_text() == f"{hashlib.sha256(b'archive').hexdigest()}  a.tar.gz\n"


def test_facts_tell_nothing_of_the_builder(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    told = build.facts(onefile=False)
    assert told["built"] == "2023-11-14T22:13:20Z"
    assert told["form"] == "one folder"
    assert not any(str(Path.home()) in str(value) or str(ROOT) in str(value) for value in told.values())


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("1.2.3", (1, 2, 3, 0)), ("0.1.0rc2", (0, 1, 0, 0)), ("2", (2, 0, 0, 0)), ("1.2.3.4.5", (1, 2, 3, 4))],
)
def test_versions_as_windows_wants_them(version: str, numbers: tuple[int, ...]) -> None:
    assert version_info.numbers(version) == numbers
