"""What the start screen shows and what each input changes. Draws nothing and opens no camera."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import platformdirs

from app.capture.cameras import CameraDevice
from app.core.files import is_folder
from app.core.types import Box
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
    Key,
    Resized,
    WindowInput,
)
from app.ui.start_choice import Choice, ChoiceKind

WIDTH, HEIGHT, MARGIN, _GAP = 1280, 720, 56, 20
MAX_CAMERAS = 8
_ROWS = 12
"""Entries of the file list that are shown at once."""
_PASTE_KEYS = (22, INSERT)
"""Ctrl+V, which Qt keeps for itself, and Insert, also with Shift."""
NO_CAMERA = Box(MARGIN, 128, 460, 308)
"""Where it says that there is no camera."""
FIRST_SIZE_PX = 1152, 648
"""Size of the window before the user changes it; with its title bar it fits on a screen of 1280 x 720."""


class ItemKind(StrEnum):
    CAMERA = "camera"
    ADDRESS = "address"
    PASTE = "paste"
    WATCH = "watch"
    FILE = "file"
    DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Item:
    """Something to choose, by mouse or keyboard, where it is drawn. ``index`` is that of a camera."""

    kind: ItemKind
    box: Box
    index: int = 0


@dataclass
class StartState:
    """All that the screen shows, without the live pictures. Places are those of a screen of 1280 x 720.
    ``is_selected``: the address is that of the last time; what the user types replaces it, Backspace corrects it."""

    cameras: Sequence[CameraDevice] = ()
    address: str = ""
    is_selected: bool = False
    fault: str = ""
    focus: int = 0
    files: FileList | None = None
    choice: Choice | None = None
    quits: bool = False
    size_px: tuple[int, int] = FIRST_SIZE_PX
    theme: str = "dark"

    @property
    def scale(self) -> float:
        """Pixels of the window for each one of 1280 x 720."""
        return min(self.size_px[0] / WIDTH, self.size_px[1] / HEIGHT)

    @property
    def corner_px(self) -> tuple[float, float]:
        """Where the screen begins in a window of another shape."""
        return (self.size_px[0] - WIDTH * self.scale) / 2, (self.size_px[1] - HEIGHT * self.scale) / 2

    def place_of(self, click: Click) -> tuple[float, float]:
        left, top = self.corner_px
        return (click.x * self.size_px[0] - left) / self.scale, (click.y * self.size_px[1] - top) / self.scale

    def items(self) -> list[Item]:
        """In the order of the Tab key."""
        boxes = camera_boxes(len(self.cameras))
        row_y = (boxes[-1].y2 if boxes else NO_CAMERA.y2) + 40
        side = 132
        items = [Item(ItemKind.CAMERA, box, i) for i, box in enumerate(boxes)]
        x2 = WIDTH - MARGIN
        field_width = x2 - MARGIN - 2 * (side + _GAP)
        items.append(Item(ItemKind.ADDRESS, Box(MARGIN, row_y, field_width, 52)))
        items.append(Item(ItemKind.PASTE, Box(x2 - 2 * side - _GAP, row_y, side, 52)))
        items.append(Item(ItemKind.WATCH, Box(x2 - side, row_y, side, 52)))
        items.append(Item(ItemKind.FILE, Box(MARGIN, row_y + 72, 190, 52)))
        items.append(Item(ItemKind.DEMO, Box(MARGIN + 190 + _GAP, row_y + 72, 190, 52)))
        return items

    def update_cameras(self, cameras: Sequence[CameraDevice]) -> None:
        """Shows other cameras; the focus stays on what it was on."""
        item = self.items()[self.focus]
        old = self.cameras[item.index] if item.kind == ItemKind.CAMERA else None
        beyond = self.focus - len(self.cameras)
        self.cameras = list(cameras)[:MAX_CAMERAS]
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
            self.focus = kinds.index(ItemKind.DEMO)
        else:
            self.address, self.focus = choice.value, kinds.index(ItemKind.ADDRESS)
            self.is_selected = not self.fault  # a wrong address is corrected

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
                self.is_selected &= item.kind != ItemKind.ADDRESS
                if item.kind == ItemKind.ADDRESS and not click.is_left:
                    self._paste(paste)
                elif item.kind != ItemKind.ADDRESS:
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
            self._write(self._kept + (chr(code).upper() if key.is_capital else chr(code)))

    @property
    def _kept(self) -> str:
        """The part of the address that stays when the user types."""
        return "" if self.is_selected else self.address

    def _write(self, address: str) -> None:
        """Typed text always goes to the address, wherever the focus was."""
        self.address, self.fault, self.is_selected = address, "", False
        self.focus = next(place for place, item in enumerate(self.items()) if item.kind == ItemKind.ADDRESS)

    def _paste(self, paste: Callable[[], str]) -> None:
        try:
            lines = paste().split("\n")
        except OSError as error:
            self.fault = str(error)
            return
        if text := "".join(letter for letter in lines[0] if letter.isprintable()):
            self._write(self._kept + text)
        else:
            self.fault = "the clipboard has no text"

    def _activate(self, item: Item, paste: Callable[[], str]) -> None:
        self.fault = ""
        if item.kind == ItemKind.CAMERA:
            camera = self.cameras[item.index]
            self.choice = Choice(ChoiceKind.CAMERA, camera.key, camera.name)
        elif item.kind == ItemKind.PASTE:
            self._paste(paste)
        elif item.kind == ItemKind.FILE:
            self._open_files()
        elif item.kind == ItemKind.DEMO:
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
    return videos if is_folder(videos) else Path.home()


def _contains(box: Box, x: float, y: float) -> bool:
    return box.x <= x < box.x2 and box.y <= y < box.y2


def camera_boxes(count: int) -> list[Box]:
    """Where the cards of ``count`` cameras are, at most four beside each other."""
    if count == 0:
        return []
    top, bottom = 128, HEIGHT - 216
    columns, rows = min(count, 4), -(-count // 4)
    high = (bottom - top - _GAP * (rows - 1)) / rows
    wide = min((WIDTH - 2 * MARGIN - _GAP * (columns - 1)) / columns, (high - 48) * 16 / 9, 460)
    high = wide * 9 / 16 + 48
    return [Box(MARGIN + i % 4 * (wide + _GAP), top + i // 4 * (high + _GAP), wide, high) for i in range(count)]


def file_boxes(files: FileList) -> list[tuple[int, Box]]:
    """The entries that are shown: their index and place."""
    first = files.first_shown(_ROWS)
    shown = range(first, min(first + _ROWS, len(files.entries)))
    return [(i, Box(MARGIN + 20, 140 + 38 * (i - first), WIDTH - 2 * MARGIN - 40, 36)) for i in shown]
