"""Archives, checksums and sizes of a build."""

import gzip
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import ModuleType

import archive
import check_frozen
import pytest
import slim
import stranger
import version_info

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build() -> ModuleType:
    """packaging/build.py, loaded by path: an installed package may have the same name."""
    spec = importlib.util.spec_from_file_location("maskwatch_build", ROOT / "packaging" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    pytest.importorskip("cyclonedx", reason="needs the build packages: pip install '.[package]'")
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small one-folder build, with a link as PyInstaller makes them."""
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


def test_size_does_not_count_links(folder: Path) -> None:
    assert archive.size_bytes(folder / "maskwatch") == 1507
    assert archive.size_bytes(folder / "maskwatch" / "maskwatch") == 7


@pytest.mark.skipif(sys.platform == "win32", reason="Windows gets a .zip")
def test_archive_is_reproducible(folder: Path) -> None:
    first = archive.pack([folder / "maskwatch"], folder, "one", 1_700_000_000)
    for path in folder.rglob("*.so"):
        os.utime(path, (time.time(), time.time()))
    second = archive.pack([folder / "maskwatch"], folder, "two", 1_700_000_000)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as packed:
        members = {member.name: member for member in packed.getmembers()}
    assert members["maskwatch/maskwatch"].mode & 0o111, "executable"
    assert members["maskwatch/_internal/libc.so"].linkname == "liba.so"
    assert {member.uid for member in members.values()} == {0}
    assert {member.mtime for member in members.values()} == {1_700_000_000}


def test_windows_gets_a_zip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.sys, "platform", "win32")
    packed = archive.pack([folder / "maskwatch"], folder, "win", 1_700_000_000)
    assert packed.suffix == ".zip"
    with zipfile.ZipFile(packed) as opened:
        assert "maskwatch/_internal/libb.so" in opened.namelist()


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


@needs_dpkg
def test_debian_package_depends_on_the_required_c_library(folder: Path, tmp_path: Path) -> None:
    inside = folder / "maskwatch" / "_internal"
    (inside / "libc1.so").write_bytes(b"\x7fELF..\0GLIBC_2.9\0GLIBC_2.17\0..")
    (inside / "libc2.so").write_bytes(b"\x7fELF..\0GLIBC_2.2.5\0GLIBC_PRIVATE\0")
    (inside / "readme.txt").write_bytes(b"\0GLIBC_9.99\0")
    metadata = {"version": "1.2.3", "system": "linux-x86_64"}
    package = archive.debian_package(folder / "maskwatch", folder, metadata, tmp_path / "work", 1_700_000_000)
    assert package.name == "maskwatch_1.2.3_amd64.deb"
    shown = subprocess.run(["dpkg-deb", "--field", package], capture_output=True, text=True, check=True).stdout
    assert "Depends: libc6 (>= 2.17), libgl1, libxcb1\n" in shown
    root = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    assert (root / "usr/bin/maskwatch").readlink() == Path("/opt/maskwatch/maskwatch")
    assert (root / "opt/maskwatch/maskwatch").stat().st_mode & 0o111
    unit = (root / "usr/lib/systemd/system/maskwatch.service").read_text("utf-8")
    assert "\nExecStart=/usr/bin/maskwatch watch " in unit
    user = next(line.partition("=")[2] for line in unit.splitlines() if line.startswith("User="))
    assert f"u {user} " in (root / "usr/lib/sysusers.d/maskwatch.conf").read_text()
    for script in ("postinst", "prerm"):
        control = subprocess.run(["dpkg-deb", "--info", package, script], capture_output=True, text=True, check=True)
        subprocess.run(["sh", "-n"], input=control.stdout, text=True, check=True)
    page = gzip.decompress((root / "usr/share/man/man1/maskwatch.1.gz").read_bytes()).decode()
    assert "\n.B watch\n" in page
    assert "\n.B self\\-test\n" in page
    assert "Exec=/opt/maskwatch/maskwatch" in (root / "usr/share/applications/maskwatch.desktop").read_text()


def test_debian_package_of_a_one_file_build_is_refused_before_the_build(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "freeze", lambda *_: pytest.fail("the build started"))
    monkeypatch.setattr(sys, "argv", ["build.py", "--onefile", "--deb"])
    with pytest.raises(SystemExit):
        build.main()
    assert "one-folder" in capsys.readouterr().err


def test_clear_removes_the_programs_of_an_earlier_build(build: ModuleType, folder: Path) -> None:
    (folder / "maskwatch-window.exe").write_bytes(b"of another form")
    (folder / "archive.tar.gz").write_bytes(b"kept")
    build.clear(folder)
    (folder / "maskwatch").write_bytes(b"one file, of the folder's name")
    build.clear(folder)
    assert [path.name for path in folder.iterdir()] == ["archive.tar.gz"]


def test_missing_build_tools_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slim.sys, "platform", "linux")
    monkeypatch.setattr(slim.shutil, "which", lambda tool: None if tool == "cc" else f"/usr/bin/{tool}")
    assert slim.missing_tools() == ["cc"]
    monkeypatch.setattr(slim.sys, "platform", "darwin")
    assert slim.missing_tools() == []


def test_folder_above_the_size_limit_fails(folder: Path) -> None:
    assert check_frozen.check_size(folder / "maskwatch", 0.01) == "0.0 MB on disk"
    with pytest.raises(stranger.CheckError, match="MB are allowed"):
        check_frozen.check_size(folder / "maskwatch", 0.001)


def test_say_escapes_characters_that_the_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "cp1252"))  # a pipe on Windows
    stranger.say("ok", check_frozen.HOME_NAME)
    assert written.getvalue().decode("cp1252").startswith("ok    Käthe Müller \\u5bb6")


def test_built_finds_the_folder(folder: Path) -> None:
    assert archive.built(folder, onefile=False) == [folder / "maskwatch"]


def test_size_table_lists_the_largest_components_first() -> None:
    components = [
        {"name": "small", "version": "1", "size_bytes": 10_000},
        {"name": "medium", "version": "2", "size_bytes": 1_000_000},
        {"name": "large", "version": "3", "size_bytes": 2_000_000},
    ]
    lines = archive.size_table([], components).splitlines()[1:]
    assert [line.split()[-2] for line in lines] == ["large", "medium"]


def test_checksums_have_the_format_of_sha256sum(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"archive")
    build.write_checksums([tmp_path / "a.tar.gz"], tmp_path / "a.sha256")
    assert (tmp_path / "a.sha256").read_text() == f"{hashlib.sha256(b'archive').hexdigest()}  a.tar.gz\n"


def test_build_metadata_does_not_identify_the_builder(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    metadata = build.build_metadata(onefile=False)
    assert metadata["built"] == "2023-11-14T22:13:20Z"
    assert metadata["form"] == "one folder"
    assert not any(str(Path.home()) in str(value) or str(ROOT) in str(value) for value in metadata.values())


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("1.2.3", (1, 2, 3, 0)), ("0.1.0rc2", (0, 1, 0, 0)), ("2", (2, 0, 0, 0)), ("1.2.3.4.5", (1, 2, 3, 4))],
)
def test_windows_version_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_info.numbers(version) == numbers
