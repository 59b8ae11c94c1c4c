"""The screen in which the user chooses what to watch: a camera, an address, a file or the demo."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import platformdirs

from app.capture.cameras import CameraDevice, find_cameras
from app.capture.preview import CameraPreview
from app.core.types import Box, Image
from app.ui.canvas import Canvas
from app.ui.clipboard import clipboard_text
from app.ui.file_list import FileList
from app.ui.image_window import (
    BACKSPACE,
    DELETE,
    DOWN,
    ENTER,
    ESCAPE,
    INSERT,
    LEFT,
    RIGHT,
    TAB,
    UP,
    Click,
    Closed,
    ImageWindow,
    Key,
    Resized,
    WindowInput,
)
from app.ui.palette import CHROMES, Chrome, Colour
from app.ui.start_choice import Choice, ChoiceKind

_WIDTH, _HEIGHT, _MARGIN, _GAP = 1280, 720, 56, 20
_MAX_CAMERAS = 8
_ROWS = 12
"""Entries of the file list that are shown at once."""
_FIELD, _RAISED = 0.07, 0.16
"""How much of the colour of the text is mixed into cards and buttons."""
_WAIT_S, _RESCAN_S, _BLINK_S = 0.05, 2.0, 0.6
_PASTE_KEYS = (22, INSERT)
"""Ctrl+V, which Qt keeps for itself, and Insert, also with Shift."""
_NO_CAMERA = Box(_MARGIN, 128, 460, 308)
"""Where it says that there is no camera."""
_FIRST_SIZE_PX = 1152, 648
"""Size of the window before the user changes it; with its title bar it fits on a screen of 1280 x 720."""
_CAMERA, _ADDRESS, _PASTE, _WATCH, _FILE, _DEMO = "camera", "address", "paste", "watch", "file", "demo"


@dataclass(frozen=True, slots=True)
class Item:
    """Something to choose, by mouse or keyboard, where it is drawn. ``index`` is that of a camera."""

    kind: str
    box: Box
    index: int = 0


@dataclass
class StartState:
    """All that the screen shows, without the live pictures. Places are those of a screen of 1280 x 720."""

    cameras: Sequence[CameraDevice] = ()
    address: str = ""
    fault: str = ""
    focus: int = 0
    files: FileList | None = None
    choice: Choice | None = field(default=None)
    quits: bool = False
    size_px: tuple[int, int] = _FIRST_SIZE_PX
    theme: str = "dark"

    @property
    def scale(self) -> float:
        """Pixels of the window for each one of 1280 x 720."""
        return min(self.size_px[0] / _WIDTH, self.size_px[1] / _HEIGHT)

    @property
    def corner_px(self) -> tuple[float, float]:
        """Where the screen begins in a window of another shape."""
        return (self.size_px[0] - _WIDTH * self.scale) / 2, (self.size_px[1] - _HEIGHT * self.scale) / 2

    def place_of(self, click: Click) -> tuple[float, float]:
        left, top = self.corner_px
        return (click.x * self.size_px[0] - left) / self.scale, (click.y * self.size_px[1] - top) / self.scale

    def items(self) -> list[Item]:
        """In the order of the Tab key."""
        boxes = camera_boxes(len(self.cameras))
        row_y = (boxes[-1].y2 if boxes else _NO_CAMERA.y2) + 40
        side = 132
        items = [Item(_CAMERA, box, i) for i, box in enumerate(boxes)]
        x2 = _WIDTH - _MARGIN
        field_width = x2 - _MARGIN - 2 * (side + _GAP)
        items.append(Item(_ADDRESS, Box(_MARGIN, row_y, field_width, 52)))
        items.append(Item(_PASTE, Box(x2 - 2 * side - _GAP, row_y, side, 52)))
        items.append(Item(_WATCH, Box(x2 - side, row_y, side, 52)))
        items.append(Item(_FILE, Box(_MARGIN, row_y + 72, 190, 52)))
        items.append(Item(_DEMO, Box(_MARGIN + 190 + _GAP, row_y + 72, 190, 52)))
        return items

    def update_cameras(self, cameras: Sequence[CameraDevice]) -> None:
        """Shows other cameras; the focus stays on what it was on."""
        item = self.items()[self.focus]
        old = self.cameras[item.index] if item.kind == _CAMERA else None
        beyond = self.focus - len(self.cameras)
        self.cameras = list(cameras)[:_MAX_CAMERAS]
        if old is None:
            self.focus = len(self.cameras) + beyond
        else:
            self.focus = self.cameras.index(old) if old in self.cameras else 0

    def prefer(self, choice: Choice | None) -> None:
        """Puts the focus on what was chosen the last time."""
        kinds = [item.kind for item in self.items()]
        if choice is None:
            return
        if choice.kind is ChoiceKind.CAMERA:
            keys = [camera.key for camera in self.cameras]
            if choice.value in keys:
                self.focus = keys.index(choice.value)
            else:
                self.fault = self.fault or f"{choice.name} is not connected; plug it in, or choose another source"
        elif choice.kind is ChoiceKind.DEMO:
            self.focus = kinds.index(_DEMO)
        else:
            self.address, self.focus = choice.value, kinds.index(_ADDRESS)

    def handle(self, user_input: WindowInput, paste: Callable[[], str] = clipboard_text) -> None:
        """Handles one input. Afterwards ``choice`` or ``quits`` may be set."""
        if isinstance(user_input, Closed):
            self.quits = True
        elif isinstance(user_input, Resized):
            self.size_px = user_input.width_px, user_input.height_px
        elif self.files is not None:
            self._handle_in_files(self.files, user_input)
        elif isinstance(user_input, Click):
            self._click(user_input, paste)
        else:
            self._press(user_input, paste)

    def _click(self, click: Click, paste: Callable[[], str]) -> None:
        x, y = self.place_of(click)
        for place, item in enumerate(self.items()):
            if _contains(item.box, x, y):
                self.focus = place
                if item.kind == _ADDRESS and not click.is_left:
                    self._paste(paste)
                elif item.kind != _ADDRESS:
                    self._activate(item, paste)
                return

    def _press(self, key: Key, paste: Callable[[], str]) -> None:
        items, code = self.items(), key.code
        item = items[self.focus]
        if code == ESCAPE:
            self.quits = True
        elif code in (ENTER, 10):
            self._activate(item, paste)
        elif code in (TAB, RIGHT, DOWN):
            self.focus = (self.focus + 1) % len(items)
        elif code in (LEFT, UP):
            self.focus = (self.focus - 1) % len(items)
        elif code in _PASTE_KEYS:
            self._paste(paste)
        elif code in (BACKSPACE, DELETE):
            self._write(self.address[:-1])
        elif chr(code).isprintable():
            self._write(self.address + (chr(code).upper() if key.is_capital else chr(code)))

    def _write(self, address: str) -> None:
        """Typed text always goes to the address, wherever the focus was."""
        self.address, self.fault = address, ""
        self.focus = next(place for place, item in enumerate(self.items()) if item.kind == _ADDRESS)

    def _paste(self, paste: Callable[[], str]) -> None:
        try:
            lines = paste().split("\n")
        except OSError as error:
            self.fault = str(error)
            return
        self._write(self.address + "".join(letter for letter in lines[0] if letter.isprintable()))

    def _activate(self, item: Item, paste: Callable[[], str]) -> None:
        self.fault = ""
        if item.kind == _CAMERA:
            camera = self.cameras[item.index]
            self.choice = Choice(ChoiceKind.CAMERA, camera.key, camera.name)
        elif item.kind == _PASTE:
            self._paste(paste)
        elif item.kind == _FILE:
            self._open_files()
        elif item.kind == _DEMO:
            self.choice = Choice(ChoiceKind.DEMO)
        elif self.address.strip():
            self.choice = Choice(ChoiceKind.ADDRESS, self.address.strip())
        else:
            self.fault = "type an address first, such as rtsp://10.0.0.7/live, or the path of a video"

    def _open_files(self) -> None:
        for folder in (_videos_folder(), Path.home(), Path(Path.cwd().anchor)):
            try:
                self.files = FileList(folder)
                return
            except (OSError, RuntimeError) as error:
                self.fault = f"cannot read {folder}: {error}"

    def _handle_in_files(self, files: FileList, user_input: WindowInput) -> None:
        if isinstance(user_input, Click):
            boxes = file_boxes(files)
            x, y = self.place_of(user_input)
            hit = next((index for index, box in boxes if _contains(box, x, y)), None)
            if hit is None:
                return
            files.index = hit
            self._choose_file(files)
        elif isinstance(user_input, Key):
            steps = {UP: -1, LEFT: -_ROWS, DOWN: 1, TAB: 1, RIGHT: _ROWS}
            if user_input.code in steps:
                files.move(steps[user_input.code])
            elif user_input.code == ESCAPE:
                self.files = None
            elif user_input.code in (ENTER, 10):
                self._choose_file(files)

    def _choose_file(self, files: FileList) -> None:
        self.fault = ""
        try:
            path = files.choose()
        except OSError as error:
            self.fault = f"cannot open the folder: {error.strerror or error}"
            return
        if path is not None:
            self.choice = Choice(ChoiceKind.FILE, str(path), path.name)


def _videos_folder() -> Path:
    """The user's folder of videos; the home folder if there is none. Raises RuntimeError without a home folder."""
    videos = platformdirs.user_videos_path()
    return videos if videos.is_dir() else Path.home()


def _contains(box: Box, x: float, y: float) -> bool:
    return box.x <= x < box.x2 and box.y <= y < box.y2


def camera_boxes(count: int) -> list[Box]:
    """Where the cards of ``count`` cameras are, at most four beside each other."""
    if count == 0:
        return []
    top, bottom = 128, _HEIGHT - 216
    columns, rows = min(count, 4), -(-count // 4)
    high = (bottom - top - _GAP * (rows - 1)) / rows
    wide = min((_WIDTH - 2 * _MARGIN - _GAP * (columns - 1)) / columns, (high - 48) * 16 / 9, 460)
    high = wide * 9 / 16 + 48
    return [Box(_MARGIN + i % 4 * (wide + _GAP), top + i // 4 * (high + _GAP), wide, high) for i in range(count)]


def file_boxes(files: FileList) -> list[tuple[int, Box]]:
    """The entries that are shown: their index and place."""
    first = files.first_shown(_ROWS)
    shown = range(first, min(first + _ROWS, len(files.entries)))
    return [(i, Box(_MARGIN + 20, 140 + 38 * (i - first), _WIDTH - 2 * _MARGIN - 40, 36)) for i in shown]


@dataclass(frozen=True, slots=True)
class _Board:
    """A canvas for places and sizes of a screen of 1280 x 720, drawn sharp in the size of the window."""

    canvas: Canvas
    scale: float
    corner_px: tuple[float, float]
    chrome: Chrome

    def _box(self, box: Box) -> Box:
        return box.scaled(self.scale).moved(*self.corner_px)

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        size: float,
        colour: Colour | None = None,
        anchor: str = "ls",
        bold: bool = False,
    ) -> None:
        x, y = (place * self.scale + corner for place, corner in zip(xy, self.corner_px, strict=True))
        self.canvas.text((x, y), text, size * self.scale, colour or self.chrome.text, anchor, bold)

    def text_width(self, text: str, size: float) -> float:
        return self.canvas.text_size(text, size * self.scale)[0] / self.scale

    def shortened(self, text: str, width: float, size: float) -> str:
        return self.canvas.shortened(text, width * self.scale, size * self.scale)

    def wrapped(self, text: str, width: float, size: float) -> list[str]:
        return self.canvas.wrapped(text, width * self.scale, size * self.scale)

    def card(self, box: Box, radius: float, share: float) -> None:
        """``share`` of the colour of the text is mixed into the background."""
        pairs = zip(self.chrome.card, self.chrome.text, strict=True)
        blue, green, red = (round(low + (high - low) * share) for low, high in pairs)
        self.canvas.card(self._box(box), radius * self.scale, (blue, green, red))

    def outline(self, box: Box, radius: float, thickness: float) -> None:
        self.canvas.outline(self._box(box), radius * self.scale, self.chrome.text, thickness * self.scale)

    def icon(self, name: str, box: Box, colour: Colour | None = None) -> None:
        self.canvas.icon(name, self._box(box), colour or self.chrome.text)

    def paste(self, image: Image, box: Box, radius: float) -> None:
        self.canvas.paste(image, self._box(box), radius * self.scale)


def draw_start(state: StartState, images: Sequence[Image | None], errors: Sequence[str], caret: bool = True) -> Image:
    """The screen as an image (H, W, 3) uint8 BGR. ``images`` and ``errors`` belong to the cameras."""
    width, height = state.size_px
    chrome = CHROMES[state.theme]
    image = np.full((height, width, 3), chrome.card, np.uint8)
    canvas = _Board(Canvas(image), state.scale, state.corner_px, chrome)
    canvas.text((_MARGIN, 62), "maskwatch", 34, bold=True)
    subtitle = "Open a file" if state.files else "Choose what to watch"
    canvas.text((_MARGIN, 98), subtitle, 20, canvas.chrome.dim)
    if state.files is not None:
        _draw_files(canvas, state.files)
        hint = "↑ ↓: move    Enter: open    Esc: back"
    else:
        _draw_choices(canvas, state, images, errors, caret)
        hint = "Tab and arrows: move    Enter: choose    Insert: paste    Esc: quit"
    if state.fault:
        _draw_fault(canvas, state.fault)
    else:
        canvas.text((_MARGIN, _HEIGHT - 22), hint, 16, canvas.chrome.dim)
    return canvas.canvas.image


def _draw_choices(
    canvas: _Board, state: StartState, images: Sequence[Image | None], errors: Sequence[str], caret: bool
) -> None:
    if not state.cameras:
        box = _NO_CAMERA
        canvas.card(box, 14, _FIELD)
        canvas.icon("camera_off", Box(box.x, box.y + 70, box.width, 72), canvas.chrome.dim)
        canvas.text((box.center[0], box.y + 196), "No camera was found", 20, anchor="mm", bold=True)
        advice = "Plug one in: it appears here." if sys.platform.startswith("linux") else "Plug one in and start again."
        canvas.text((box.center[0], box.y + 228), advice, 17, canvas.chrome.dim, anchor="mm")
    for place, item in enumerate(state.items()):
        if item.kind == _CAMERA:
            _draw_camera(canvas, item.box, state.cameras[item.index].name, images[item.index], errors[item.index])
        elif item.kind == _ADDRESS:
            _draw_address(canvas, item.box, state.address, caret and place == state.focus)
        else:
            _draw_button(canvas, item)
        if place == state.focus:
            canvas.outline(item.box, 14, 3)


def _draw_camera(canvas: _Board, box: Box, name: str, image: Image | None, error: str) -> None:
    canvas.card(box, 14, _FIELD)
    picture = Box(box.x, box.y, box.width, box.height - 48)
    if image is not None:
        canvas.paste(_cut(image, picture.width / picture.height), picture, 14)
    else:
        canvas.icon(
            "camera_off" if error else "camera", Box(box.x, picture.center[1] - 52, box.width, 44), canvas.chrome.dim
        )
        lines = canvas.wrapped(error or "opening …", box.width - 32, 15)[:4]
        for row, line in enumerate(lines):
            canvas.text((box.center[0], picture.center[1] + 16 + 20 * row), line, 15, canvas.chrome.dim, anchor="mm")
    canvas.text((box.x + 16, box.y2 - 17), canvas.shortened(name, box.width - 32, 18), 18)


def _cut(image: Image, aspect: float) -> Image:
    """The middle part of ``image`` in the shape width / height = ``aspect``."""
    height, width = image.shape[:2]
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    x, y = (width - wide) // 2, (height - high) // 2
    return image[y : y + high, x : x + wide]


def _draw_address(canvas: _Board, box: Box, address: str, caret: bool) -> None:
    canvas.card(box, 14, _FIELD)
    room = box.width - 40
    if not address:
        text = "Address of a camera or stream (rtsp://, http://), or the path of a file"
        canvas.text((box.x + 20, box.center[1]), canvas.shortened(text, room, 18), 18, canvas.chrome.dim, anchor="lm")
    shown = address
    while shown and canvas.text_width(shown, 18) > room:  # the end is what the user types
        shown = shown[1:]
    canvas.text((box.x + 20, box.center[1]), shown, 18, anchor="lm")
    width = canvas.text_width(shown, 18)
    if caret:
        canvas.card(Box(box.x + 21 + width, box.y + 14, 2, box.height - 28), 0, 1.0)


def _draw_button(canvas: _Board, item: Item) -> None:
    words = {_PASTE: "Paste", _WATCH: "Watch", _FILE: "Open a file", _DEMO: "Demo"}
    icons = {_WATCH: "arrow", _FILE: "file", _DEMO: "play"}
    box, text = item.box, words[item.kind]
    canvas.card(box, 14, _RAISED)
    width = canvas.text_width(text, 18)
    icon = icons.get(item.kind)
    x = box.center[0] - (width + (30 if icon else 0)) / 2
    if icon:
        canvas.icon(icon, Box(x, box.center[1] - 10, 20, 20))
    canvas.text((x + (30 if icon else 0), box.center[1]), text, 18, anchor="lm")


def _draw_files(canvas: _Board, files: FileList) -> None:
    canvas.card(Box(_MARGIN, 122, _WIDTH - 2 * _MARGIN, _HEIGHT - 122 - 92), 14, _FIELD)
    title = str(files.folder)
    while canvas.text_width(title, 17) > 800:  # the end of a path tells more
        title = title[1:]
    canvas.text((_WIDTH - _MARGIN, 98), title, 17, canvas.chrome.dim, anchor="rs")
    for index, box in file_boxes(files):
        entry = files.entries[index]
        if index == files.index:
            canvas.card(box, 10, _RAISED)
        icon = "arrow" if entry.is_folder else "file"
        canvas.icon(icon, Box(box.x + 12, box.y + 9, 18, 18), canvas.chrome.dim)
        canvas.text((box.x + 44, box.center[1]), canvas.shortened(entry.name, box.width - 60, 18), 18, anchor="lm")
    more = len(files.entries) - len(file_boxes(files))
    if more > 0:
        canvas.text((_WIDTH - _MARGIN, _HEIGHT - 22), f"{more} more", 16, canvas.chrome.dim, anchor="rs")
    elif not any(not entry.is_folder for entry in files.entries):
        canvas.text(
            (_WIDTH - _MARGIN - 24, _HEIGHT - 112), "no videos or images here", 16, canvas.chrome.dim, anchor="rs"
        )


def _draw_fault(canvas: _Board, fault: str) -> None:
    lines = canvas.wrapped(fault, _WIDTH - 2 * _MARGIN - 84, 17)[:3]
    high = 24 * len(lines) + 22
    box = Box(_MARGIN, _HEIGHT - 12 - high, _WIDTH - 2 * _MARGIN, high)
    canvas.card(box, 14, _RAISED)
    canvas.icon("exclamation", Box(box.x + 14, box.center[1] - 13, 26, 26))
    for row, line in enumerate(lines):
        canvas.text((box.x + 56, box.y + 23 + 24 * row), line, 17, anchor="lm")


def choose_source(
    window: ImageWindow,
    last: Choice | None,
    fault: str = "",
    starts_last: bool = False,
    theme: str = "dark",
    find: Callable[[], list[CameraDevice]] = find_cameras,
    preview: Callable[[CameraDevice], CameraPreview] = CameraPreview,
) -> Choice | None:
    """Shows the screen until the user chooses; None if the user quits. The cameras are then released.

    ``starts_last``: the camera of the ``last`` choice is chosen as soon as it is connected.

    Raises DisplayError if the window is lost.
    """
    state = StartState(find()[:_MAX_CAMERAS], fault=fault, theme=theme)
    state.prefer(last)
    previews = {device.key: preview(device) for device in state.cameras}
    scanned_s, drawn, is_sized = time.monotonic(), None, False
    try:
        while state.choice is None and not state.quits:
            if sys.platform.startswith("linux") and time.monotonic() - scanned_s > _RESCAN_S:
                scanned_s = time.monotonic()
                _rescan(state, find(), previews, preview)
                if starts_last and last is not None and last.uri(state.cameras):
                    return last
            images = [previews[each.key].image for each in state.cameras]
            errors = [previews[each.key].error for each in state.cameras]
            caret = time.monotonic() % (2 * _BLINK_S) < _BLINK_S
            files = state.files and (state.files.folder, state.files.index)
            content = (
                list(map(id, images)),
                errors,
                state.size_px,
                caret,
                state.focus,
                state.address,
                state.fault,
                files,
            )
            if content != drawn and window.is_ready:
                drawn = content
                window.show(draw_start(state, images, errors, caret), None if is_sized else _FIRST_SIZE_PX)
                is_sized = True
            for user_input in window.inputs(_WAIT_S):
                state.handle(user_input)
    finally:
        for each in previews.values():
            each.stop()
        for each in previews.values():
            each.join()
    return state.choice


def _rescan(
    state: StartState,
    found: list[CameraDevice],
    previews: dict[str, CameraPreview],
    preview: Callable[[CameraDevice], CameraPreview],
) -> None:
    """Shows cameras that were plugged in, and no longer those that were unplugged."""
    found = found[:_MAX_CAMERAS]
    if found == list(state.cameras):
        return
    for device in found:
        if device.key not in previews or previews[device.key].device != device:
            if device.key in previews:
                previews[device.key].stop()
            previews[device.key] = preview(device)
    state.update_cameras(found)
    for key in previews.keys() - {device.key for device in found}:
        previews.pop(key).stop()
