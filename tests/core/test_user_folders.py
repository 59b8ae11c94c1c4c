"""The folders of a user without a home folder."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from app.cli.main import main
from app.core import user_folders
from app.settings.load import load_settings

FOLDERS = (
    user_folders.data_folder,
    user_folders.log_folder,
    user_folders.config_folder,
    user_folders.pictures_folder,
)


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No HOME, no XDG variable and a user id without an entry, as in many containers; returns the temporary folder."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", *(name for name in os.environ if name.startswith("XDG_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    user_folders.temporary_folder.cache_clear()
    yield tmp_path
    user_folders.temporary_folder.cache_clear()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_home_folder_is_used(folder: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder().is_relative_to(tmp_path)  # type: ignore[operator]


@pytest.mark.parametrize("folder", FOLDERS)
def test_without_a_home_folder_files_go_to_one_temporary_folder(
    folder: object, homeless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = homeless / f"maskwatch-{os.getuid()}"
    assert folder() == folder() == expected  # type: ignore[operator]
    assert expected.stat().st_mode & 0o777 == 0o700
    assert [record.getMessage() for record in caplog.records] == [
        f"this user has no home folder: files are kept in {expected}; set HOME to a folder to keep them"
    ]


def test_earlier_platformdirs_return_a_relative_path(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: Path("~/.local/share/maskwatch"))
    assert user_folders.data_folder() == homeless / f"maskwatch-{os.getuid()}"


def test_the_folder_of_another_user_is_not_used(homeless: Path) -> None:
    """In a shared temporary folder anybody can create any name."""
    trap = homeless / "trap"
    trap.mkdir()
    (homeless / f"maskwatch-{os.getuid()}").symlink_to(trap)
    folder = user_folders.data_folder()
    assert folder.parent == homeless
    assert folder.resolve() != trap
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_temporary_folder_that_cannot_be_written_is_no_crash(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(homeless / "missing"))
    assert load_settings().alerts.store.parent.parent == homeless / "missing"


@pytest.mark.parametrize(
    "command", [["config", "show"], ["events", "list"], ["alerts", "list"], ["annotate", "missing.jpg"]]
)
def test_commands_work_without_a_home_folder(command: list[str], homeless: Path) -> None:
    assert main(command) in (0, 2)


def test_a_home_that_is_needed_is_reported(homeless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = homeless / "settings.toml"
    settings.write_text('[web]\nenabled = true\ntoken_file = "~/token"\n[view]\nheadless = true\n')
    assert main(["watch", "--config", str(settings), "--source", "demo"]) == 2
    assert "no home folder for '~'" in capsys.readouterr().err


def test_no_temporary_folder_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert main(["self-test"]) == 2
    assert "set TMPDIR" in capsys.readouterr().err


def test_a_removed_current_folder_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert main(["annotate", "missing.jpg"]) == 2
    assert "the current folder was removed" in capsys.readouterr().err
