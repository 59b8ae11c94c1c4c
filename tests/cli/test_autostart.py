"""``maskwatch autostart``: an entry that starts maskwatch at login."""

import plistlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import autostart, main
from app.cli.autostart import entry_path, entry_text

AWKWARD = ['/opt/my programs/mask"watch', "watch", "--source", "rtsp://x/?a=1&b=$HOME`id`%F\\z", "Zoë 家"]


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the entry of a new user is."""
    path = tmp_path / "config" / "autostart" / "maskwatch.desktop"
    monkeypatch.setattr(autostart, "entry_path", lambda: path)
    return path


def test_enable_status_disable(entry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["autostart", "status"]) == 0
    assert capsys.readouterr().out == "autostart is off\n"
    assert main.main(["autostart", "enable"]) == 0
    assert '"start" "--last"' in entry.read_text()
    assert main.main(["autostart", "enable", "--kiosk", "--language", "de"]) == 0, "it replaces the first"
    assert '"start" "--last" "--kiosk" "--language" "de"' in entry.read_text()
    capsys.readouterr()
    assert main.main(["autostart", "status"]) == 0
    assert capsys.readouterr().out == f"autostart is on\nentry: {entry}\n"
    entry.write_text(entry.read_text() + "X-GNOME-Autostart-enabled=false\n")
    assert main.main(["autostart", "status"]) == 0
    assert "off: the settings of the desktop" in capsys.readouterr().out
    assert main.main(["autostart", "disable"]) == 0
    assert not entry.exists()
    assert main.main(["autostart", "disable"]) == 0, "nothing is left to remove"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["watch", "--kiosk", "--colour"], "--colour"),
        (["--", "start", "--dwell"], "--dwell"),
        (["dance"], "no command 'dance'"),
        (["watch", "--config", "nosuch.toml"], "cannot read settings file nosuch.toml"),
        (["--kiosk", "--dwell", "-1"], "--dwell"),
    ],
)
def test_arguments_that_would_fail_at_login_are_refused(
    entry: Path, capsys: pytest.CaptureFixture[str], given: list[str], reason: str
) -> None:
    try:
        code = main.main(["autostart", "enable", *given])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert reason in capsys.readouterr().err
    assert not entry.exists()


def test_linux_entry_gives_the_program_the_same_arguments() -> None:
    text = entry_text(AWKWARD, Path("/home/zoë/a\\b"), "linux")
    values = dict(line.split("=", 1) for line in text.splitlines()[1:])
    unescaped = values["Exec"].replace("\\\\", "\\")
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', unescaped)
    assert [re.sub(r"\\(.)", r"\1", each).replace("%%", "%") for each in quoted] == AWKWARD
    assert values["Path"] == "/home/zoë/a\\\\b"
    assert values["Type"] == "Application"


@pytest.mark.skipif(sys.platform != "linux", reason="the program of the desktop is Linux's")
def test_linux_entry_is_valid_and_starts_maskwatch(entry: Path) -> None:
    assert main.main(["autostart", "enable", "--kiosk"]) == 0
    text = next(line for line in entry.read_text().splitlines() if line.startswith("Exec="))
    argv = shlex.split(text.removeprefix("Exec=").replace("\\\\", "\\").replace("%%", "%"))
    done = subprocess.run([*argv[: argv.index("start")], "--version"], capture_output=True, text=True, cwd="/")
    assert done.stdout.startswith("maskwatch "), done.stderr


def test_windows_entry_quotes_for_cmd() -> None:
    lines = entry_text(["C:\\my programs\\maskwatch.exe", "--source", "rtsp://x/?a=1&b=%2F"], Path("C:\\Zoë"), "win32")
    assert lines.splitlines()[2:] == [
        'cd /d "C:\\Zoë"',
        'start "maskwatch" "C:\\my programs\\maskwatch.exe" "--source" "rtsp://x/?a=1&b=%%2F"',
    ]


def test_mac_entry_is_a_launch_agent() -> None:
    agent = plistlib.loads(entry_text(AWKWARD, Path("/Users/zoë"), "darwin").encode())
    assert agent["ProgramArguments"] == AWKWARD
    assert agent["RunAtLoad"] is True
    assert entry_path("darwin").name == f"{agent['Label']}.plist"


def test_entries_are_where_each_desktop_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    assert entry_path("linux") == tmp_path / "autostart" / "maskwatch.desktop"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert entry_path("linux") == Path.home() / ".config/autostart/maskwatch.desktop"
    assert entry_path("win32").parts[-3:] == ("Programs", "Startup", "maskwatch.cmd")
