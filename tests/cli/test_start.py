"""``maskwatch start``: from the screen to the watching and back."""

import logging
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from app.capture import cameras
from app.capture.cameras import CameraDevice
from app.cli import main, watch
from app.core.errors import DisplayError, SourceError
from app.ui import display, start_screen, window_process
from app.ui.start_choice import Choice, ChoiceKind, choice_file, load_choice, save_choice

DEMO = Choice(ChoiceKind.DEMO)
DOOR = Choice(ChoiceKind.CAMERA, "usb-door", "Door")


class Window:
    def close(self) -> None: ...


class Screen:
    """Answers each start screen with the next choice, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.answers: list[Choice | None] = []
        self.asked: list[tuple[Choice | None, str, bool]] = []

    def __call__(self, window: Any, last: Choice | None, fault: str, starts_last: bool, theme: str) -> Choice | None:
        self.asked.append((last, fault, starts_last))
        return self.answers.pop(0)


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The folders of a new user, a display, one camera and no window."""
    for name in ("user_log_path", "user_data_path", "user_config_path", "user_pictures_path"):
        monkeypatch.setattr(platformdirs, name, lambda *_, name=name, **__: tmp_path / name)
    monkeypatch.setattr(display, "check_display", lambda: None)
    monkeypatch.setattr(window_process, "open_image_window", Window)
    monkeypatch.setattr(cameras, "find_cameras", lambda: [CameraDevice("3", "Door", "usb-door")])
    screen = Screen()
    monkeypatch.setattr(start_screen, "choose_source", screen)
    return screen


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of each watching; ``fails`` in a source makes it fail."""
    runs: list[dict[str, Any]] = []

    def run(args: Any) -> int:
        if args.source and "fails" in args.source[0]:
            raise SourceError("cannot open rtsp://***@door; check the address")
        settings = watch.settings_of(args)
        camera = settings.camera[0]
        runs.append(
            {"uri": camera.uri, "loop": camera.loop, "keys": settings.view.keys, "kiosk": settings.view.kiosk}
            | {"snapshots": settings.view.snapshots, "retry": settings.monitor.retry_at_start}
        )
        return 0

    monkeypatch.setattr(watch, "run", run)
    return runs


def test_chosen_camera_is_watched_and_remembered(screen: Screen, watched: list[dict[str, Any]], tmp_path: Path) -> None:
    screen.answers = [DOOR, DOOR]
    assert main.main([]) == 0
    assert watched[0]["uri"] == "3"
    assert watched[0]["keys"]
    assert watched[0]["snapshots"] == tmp_path / "user_pictures_path" / "maskwatch"
    assert main.main(["start"]) == 0
    assert not watched[1]["keys"], "the keys are shown once"
    assert [last for last, _, _ in screen.asked] == [None, DOOR]


def test_error_leads_back_to_the_screen(screen: Screen, watched: list[dict[str, Any]]) -> None:
    screen.answers = [Choice(ChoiceKind.ADDRESS, "rtsp://fails"), DEMO]
    assert main.main(["start"]) == 0
    assert "check the address" in screen.asked[1][1]
    assert (watched[0]["uri"], watched[0]["loop"]) == ("demo", True)


def test_camera_that_was_unplugged_leads_back_to_the_screen(screen: Screen, watched: list[dict[str, Any]]) -> None:
    screen.answers = [Choice(ChoiceKind.CAMERA, "usb-gone", "Old"), None]
    assert main.main(["start"]) == 0
    assert screen.asked[1][1] == "Old is no longer connected"
    assert watched == []


def test_last_choice_is_watched_without_the_screen(screen: Screen, watched: list[dict[str, Any]]) -> None:
    save_choice(choice_file(), DOOR)
    assert main.main(["start", "--last", "--kiosk"]) == 0
    assert screen.asked == []
    assert watched[0] == watched[0] | {"uri": "3", "kiosk": True, "retry": True, "keys": False}


def test_last_camera_that_is_not_connected_yet_is_waited_for(
    screen: Screen, watched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_choice(choice_file(), Choice(ChoiceKind.CAMERA, "usb-later", "Later"))
    screen.answers = [None]
    assert main.main(["start", "--last"]) == 0
    assert screen.asked[0][2]


@pytest.mark.parametrize("uri", ["rtsp://door/live", "0"])
def test_source_of_the_settings_is_watched_at_once(
    screen: Screen, watched: list[dict[str, Any]], tmp_path: Path, uri: str
) -> None:
    folder = tmp_path / "user_config_path"
    folder.mkdir()
    (folder / "maskwatch.toml").write_text(f"[[camera]]\nuri = '{uri}'\n[view]\nsnapshots = 'kept'\n")
    assert main.main([]) == 0
    assert (watched[0]["uri"], watched[0]["snapshots"]) == (uri, Path("kept"))
    assert screen.asked == []


def test_choice_is_kept_where_only_the_user_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "choice.json"
    secret = Choice(ChoiceKind.ADDRESS, "rtsp://me:secret@door/", "")
    save_choice(path, secret)
    assert load_choice(path) == secret
    assert path.stat().st_mode & 0o077 == 0
    for damaged in (
        "",
        "{}",
        "[]",
        '{"kind": "radio", "value": "", "name": ""}',
        '{"kind": "demo", "value": 1, "name": ""}',
    ):
        path.write_text(damaged)
        assert load_choice(path) is None


def test_choice_that_cannot_be_kept_is_watched(
    screen: Screen, watched: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "user_data_path").write_text("a file where the folder should be")
    screen.answers = [DEMO]
    with caplog.at_level(logging.WARNING):
        assert main.main(["start"]) == 0
    assert watched[0]["uri"] == "demo"
    assert "not kept for the next start" in caplog.text


def test_without_a_display_a_command_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_display() -> None:
        raise DisplayError("no display")

    monkeypatch.setattr(display, "check_display", no_display)
    assert main.main([]) == 2
    assert "no display for the start screen; give a COMMAND" in capsys.readouterr().err
    assert main.main(["start"]) == 2
    assert "see 'maskwatch --help'" in capsys.readouterr().err
