"""The start screen: chosen by mouse and keyboard, drawn in the size of the window, never held up by a camera."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import plain_frame
from fakes_window import FakeImageWindow

from app.capture.cameras import CameraDevice
from app.capture.preview import CameraPreview
from app.core.types import Frame, Image
from app.settings.source import SourceSettings
from app.ui import file_list, start_screen, start_state
from app.ui.file_list import FileList
from app.ui.image_window import BACKSPACE, DOWN, ENTER, ESCAPE, INSERT, LEFT, TAB, UP, Click, Closed, Key, Resized
from app.ui.start_choice import Choice, ChoiceKind
from app.ui.start_screen import choose_source, draw_start
from app.ui.start_state import StartState, file_boxes

DOOR, HALL = CameraDevice("0", "Door", "usb-door"), CameraDevice("2", "Hall 家", "usb-hall")


def typed(text: str) -> list[Key]:
    return [Key(ord(letter.lower()), letter.isupper()) for letter in text]


def press(state: StartState, *codes: int) -> None:
    for code in codes:
        state.handle(Key(code))


def click_on(state: StartState, kind: str, is_left: bool = True) -> Click:
    """A click in the middle of the first item of this kind."""
    x, y = next(item.box.center for item in state.items() if item.kind == kind)
    (left, top), (width, height) = state.corner_px, state.size_px
    return Click((x * state.scale + left) / width, (y * state.scale + top) / height, is_left)


def test_camera_is_chosen_by_its_name_with_keys() -> None:
    state = StartState([DOOR, HALL])
    press(state, TAB, ENTER)
    assert state.choice == Choice(ChoiceKind.CAMERA, "usb-hall", "Hall 家")
    press(state, LEFT, LEFT, ENTER)
    assert state.choice == Choice(ChoiceKind.DEMO), "the focus goes round"


@pytest.mark.parametrize("size_px", [(1152, 648), (2560, 1080), (720, 1280)])
def test_everything_is_chosen_by_mouse_in_a_window_of_any_shape(size_px: tuple[int, int]) -> None:
    state = StartState([DOOR])
    state.handle(Resized(*size_px))
    assert draw_start(state, [None], [""]).shape == (size_px[1], size_px[0], 3)
    for kind, choice in ((ChoiceKind.CAMERA, "usb-door"), (ChoiceKind.DEMO, "")):
        state.choice = None
        state.handle(click_on(state, kind.value))
        assert (state.choice and (state.choice.kind, state.choice.value)) == (kind, choice)
    state.handle(click_on(state, "address", is_left=False), lambda: "rtsp://door/1\nmore")
    state.handle(click_on(state, "watch"))
    assert state.choice == Choice(ChoiceKind.ADDRESS, "rtsp://door/1")
    state.handle(click_on(state, "file"))
    assert state.files is not None


def test_address_is_typed_from_anywhere_and_pasted() -> None:
    state = StartState([DOOR])
    for key in typed("rtsp://Me:Pw@10.0.0.7/Ü"):
        state.handle(key)
    press(state, BACKSPACE)
    state.handle(Key(INSERT), lambda: " ?a=1\x00")
    press(state, ENTER)
    assert state.choice == Choice(ChoiceKind.ADDRESS, "rtsp://Me:Pw@10.0.0.7/ ?a=1")


def test_empty_address_and_a_failed_paste_are_explained() -> None:
    state = StartState()

    def fails() -> str:
        raise OSError("cannot paste: install xclip")

    press(state, ENTER)
    assert "type an address first" in state.fault
    state.handle(Key(INSERT), fails)
    assert state.fault == "cannot paste: install xclip"
    state.prefer(Choice(ChoiceKind.ADDRESS, "rtsp://door/1"))
    state.handle(Key(INSERT), lambda: "")
    assert (state.fault, state.address) == ("the clipboard has no text", "rtsp://door/1"), "a picture, for example"
    before = draw_start(state, [], [])
    state.handle(Key(ord("r")))
    assert state.fault == ""
    assert (draw_start(state, [], []) != before).any()


def test_esc_and_the_close_button_quit() -> None:
    for user_input in (Key(ESCAPE), Closed()):
        state = StartState([DOOR])
        state.handle(user_input)
        assert state.quits


@pytest.mark.parametrize(
    ("last", "focus"),
    [(Choice(ChoiceKind.CAMERA, "usb-hall"), "Hall 家"), (Choice(ChoiceKind.DEMO), "demo"), (None, "Door")],
)
def test_focus_begins_on_the_last_choice(last: Choice | None, focus: str) -> None:
    state = StartState([DOOR, HALL])
    state.prefer(last)
    item = state.items()[state.focus]
    assert focus == (state.cameras[item.index].name if item.kind == "camera" else item.kind)


def test_last_address_is_there_to_be_corrected_and_a_missing_camera_is_named() -> None:
    state = StartState([DOOR])
    state.prefer(Choice(ChoiceKind.ADDRESS, "rtsp://dor"))
    press(state, BACKSPACE, ENTER)
    assert state.choice == Choice(ChoiceKind.ADDRESS, "rtsp://do")
    state.prefer(Choice(ChoiceKind.ADDRESS, "rtsp://dor"))
    press(state, *map(ord, "10.0"))
    assert state.address == "10.0", "what is typed replaces the last address"
    state = StartState([DOOR], fault="no answer")
    state.prefer(Choice(ChoiceKind.ADDRESS, "rtsp://dor"))
    press(state, ord("7"))
    assert state.address == "rtsp://dor7", "a wrong address is corrected"
    state.prefer(Choice(ChoiceKind.CAMERA, "usb-gone", "C920"))
    assert "C920 is not connected" in state.fault


def test_focus_stays_when_cameras_come_and_go() -> None:
    state = StartState([DOOR])
    press(state, TAB, TAB, TAB, TAB, TAB)
    assert state.items()[state.focus].kind == "demo"
    state.update_cameras([HALL, DOOR])
    assert state.items()[state.focus].kind == "demo"
    state.focus = 1
    state.update_cameras([DOOR])
    assert state.cameras[state.items()[state.focus].index] == DOOR


def test_every_number_of_cameras_fits() -> None:
    for count in range(9):
        state = StartState([CameraDevice(str(i), f"Camera {i}", str(i)) for i in range(count)])
        for item in state.items():
            assert 0 <= item.box.x < item.box.x2 <= 1280
            assert 120 <= item.box.y < item.box.y2 <= 720 - 50
        images: list[Image | None] = [np.full((48, 64, 3), (0, 200, 0), np.uint8)] * count
        drawn = draw_start(state, images, [""] * count)
        assert (drawn == (0, 200, 0)).all(axis=2).any() == (count > 0)


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.MP4", "a.jpg", "c.png", "notes.txt", ".hidden.mp4", "inner/Größe 家.mkv"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(start_state.platformdirs, "user_videos_path", lambda: tmp_path / "videos")
    return tmp_path / "videos"


def test_file_is_chosen_with_keys(videos: Path) -> None:
    state = StartState()
    state.handle(click_on(state, "file"))
    assert state.files is not None
    assert [entry.name for entry in state.files.entries] == [
        "..", "inner", "all 2 images of this folder", "a.jpg", "b.MP4", "c.png",
    ]  # fmt: skip
    draw_start(state, [], [])
    press(state, DOWN, ENTER, DOWN, ENTER)
    assert state.choice == Choice(ChoiceKind.FILE, str(videos / "inner/Größe 家.mkv"), "Größe 家.mkv")
    press(state, UP, ENTER)
    assert state.files.entries[state.files.index].name == "inner", "it goes up to where it came from"
    press(state, ESCAPE)
    assert state.files is None


def test_file_is_chosen_by_mouse_and_an_unreadable_folder_is_explained(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StartState()
    state.handle(click_on(state, "file"))
    assert state.files is not None
    places = dict(file_boxes(state.files))
    x, y = places[4].center
    state.handle(Click(x / 1280, y / 720, True))
    assert state.choice == Choice(ChoiceKind.FILE, str(videos / "b.MP4"), "b.MP4")
    monkeypatch.setattr(file_list.Path, "iterdir", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
    x, y = places[1].center
    state.handle(Click(x / 1280, y / 720, True))
    assert state.fault == "cannot open the folder: no"
    assert state.files.folder == videos


def test_a_folder_is_listed_although_a_disk_in_it_does_not_answer(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def stat_of(path: object, *args: object, **options: object) -> os.stat_result:
        if str(path).endswith("dead"):
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return stat(path, *args, **options)  # type: ignore[arg-type]

    before = [entry.name for entry in FileList(videos).entries]
    (videos / "dead").mkdir()
    monkeypatch.setattr(os, "stat", stat_of)
    assert [entry.name for entry in FileList(videos).entries] == before


def test_long_list_shows_the_chosen_entry(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.mp4").touch()
    files = FileList(tmp_path)
    for _ in range(3):
        files.move(12)
        assert files.index in dict(file_boxes(files))
    files.move(99)
    assert files.index == 40


class Source:
    """A camera that hangs while it is opened, or delivers one grey frame after another."""

    name, is_live, fps, frame_count = "fake", True, None, None

    def __init__(self, settings: SourceSettings, go: threading.Event) -> None:
        self._hangs, self._go = settings.uri == "0", go

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        if self._hangs:
            self._go.wait(60)
            return
        index = 0
        while not stop.wait(0.005):
            yield plain_frame(index, colour=50 + index % 100)
            index += 1

    def apply(self, settings: SourceSettings) -> None: ...


def test_hanging_camera_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.capture.preview._JOIN_S", 0.05)
    go, made = threading.Event(), []

    def preview(device: CameraDevice) -> CameraPreview:
        made.append(CameraPreview(device, lambda settings: Source(settings, go)))
        return made[-1]

    class Window(FakeImageWindow):
        def inputs(self, timeout_s: float) -> list[Key]:  # type: ignore[override]
            time.sleep(0.005)
            return [Key(TAB), Key(ENTER)] if made[1].image is not None and len(self.shown) > 1 else []

    try:
        window = Window()
        assert choose_source(window, None, find=lambda: [DOOR, HALL], preview=preview) == Choice(
            ChoiceKind.CAMERA, "usb-hall", "Hall 家"
        )
        assert made[0].image is None
    finally:
        go.set()


def test_camera_that_appears_is_chosen_if_it_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_screen.sys, "platform", "linux")
    monkeypatch.setattr(start_screen, "_RESCAN_S", 0.0)
    found = [[], [], [HALL]]
    last = Choice(ChoiceKind.CAMERA, "usb-hall", "Hall")

    class Preview:
        image, error = None, ""

        def __init__(self, device: CameraDevice) -> None:
            self.device = device

        def stop(self) -> None: ...

        def join(self) -> None: ...

    window = FakeImageWindow([], [], [])
    chosen = choose_source(window, last, "", True, find=lambda: found.pop(0), preview=Preview)  # type: ignore[arg-type]
    assert chosen == last
