"""The screen in which the user chooses what to watch: a camera, an address, a file or the demo."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.capture.cameras import CameraDevice, find_cameras
from app.capture.preview import CameraPreview
from app.core.types import Box, Image
from app.ui.canvas import Canvas
from app.ui.file_list import FileList
from app.ui.image_window import ImageWindow
from app.ui.palette import CHROMES, Chrome, Colour
from app.ui.start_choice import Choice
from app.ui.start_state import (
    FIRST_SIZE_PX,
    HEIGHT,
    MARGIN,
    MAX_CAMERAS,
    NO_CAMERA,
    WIDTH,
    Item,
    ItemKind,
    StartState,
    file_boxes,
)

_FIELD, _RAISED, _SELECTED = 0.07, 0.16, 0.35
"""How much of the colour of the text is mixed into cards, buttons and selected text."""
_WAIT_S, _RESCAN_S, _BLINK_S = 0.05, 2.0, 0.6


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
    canvas.text((MARGIN, 62), "maskwatch", 34, bold=True)
    subtitle = "Open a file" if state.files else "Choose what to watch"
    canvas.text((MARGIN, 98), subtitle, 20, canvas.chrome.dim)
    if state.files is not None:
        _draw_files(canvas, state.files)
        hint = "↑ ↓: move    Enter: open    Esc: back"
    else:
        _draw_choices(canvas, state, images, errors, caret)
        hint = "Tab and arrows: move    Enter: choose    Insert: paste    Esc: quit"
    if state.fault:
        _draw_fault(canvas, state.fault)
    else:
        canvas.text((MARGIN, HEIGHT - 22), hint, 16, canvas.chrome.dim)
    return canvas.canvas.image


def _draw_choices(
    canvas: _Board, state: StartState, images: Sequence[Image | None], errors: Sequence[str], caret: bool
) -> None:
    if not state.cameras:
        box = NO_CAMERA
        canvas.card(box, 14, _FIELD)
        canvas.icon("camera_off", Box(box.x, box.y + 70, box.width, 72), canvas.chrome.dim)
        canvas.text((box.center[0], box.y + 196), "No camera was found", 20, anchor="mm", bold=True)
        advice = "Plug one in: it appears here." if sys.platform.startswith("linux") else "Plug one in and start again."
        canvas.text((box.center[0], box.y + 228), advice, 17, canvas.chrome.dim, anchor="mm")
    for place, item in enumerate(state.items()):
        if item.kind == ItemKind.CAMERA:
            _draw_camera(canvas, item.box, state.cameras[item.index].name, images[item.index], errors[item.index])
        elif item.kind == ItemKind.ADDRESS:
            has_focus = place == state.focus
            _draw_address(canvas, item.box, state.address, caret and has_focus, state.is_selected and has_focus)
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


def _draw_address(canvas: _Board, box: Box, address: str, caret: bool, is_selected: bool) -> None:
    canvas.card(box, 14, _FIELD)
    room = box.width - 40
    if not address:
        text = "Address of a camera or stream (rtsp://, http://), or the path of a file"
        canvas.text((box.x + 20, box.center[1]), canvas.shortened(text, room, 18), 18, canvas.chrome.dim, anchor="lm")
    shown = address
    while shown and canvas.text_width(shown, 18) > room:  # the end is what the user types
        shown = shown[1:]
    width = canvas.text_width(shown, 18)
    if is_selected:
        canvas.card(Box(box.x + 18, box.y + 12, width + 4, box.height - 24), 3, _SELECTED)
    canvas.text((box.x + 20, box.center[1]), shown, 18, anchor="lm")
    if caret:
        canvas.card(Box(box.x + 21 + width, box.y + 14, 2, box.height - 28), 0, 1.0)


def _draw_button(canvas: _Board, item: Item) -> None:
    words = {ItemKind.PASTE: "Paste", ItemKind.WATCH: "Watch", ItemKind.FILE: "Open a file", ItemKind.DEMO: "Demo"}
    icons = {ItemKind.WATCH: "arrow", ItemKind.FILE: "file", ItemKind.DEMO: "play"}
    box, text = item.box, words[item.kind]
    canvas.card(box, 14, _RAISED)
    width = canvas.text_width(text, 18)
    icon = icons.get(item.kind)
    x = box.center[0] - (width + (30 if icon else 0)) / 2
    if icon:
        canvas.icon(icon, Box(x, box.center[1] - 10, 20, 20))
    canvas.text((x + (30 if icon else 0), box.center[1]), text, 18, anchor="lm")


def _draw_files(canvas: _Board, files: FileList) -> None:
    canvas.card(Box(MARGIN, 122, WIDTH - 2 * MARGIN, HEIGHT - 122 - 92), 14, _FIELD)
    title = str(files.folder)
    while canvas.text_width(title, 17) > 800:  # the end of a path is more specific
        title = title[1:]
    canvas.text((WIDTH - MARGIN, 98), title, 17, canvas.chrome.dim, anchor="rs")
    for index, box in file_boxes(files):
        entry = files.entries[index]
        if index == files.index:
            canvas.card(box, 10, _RAISED)
        icon = "arrow" if entry.is_folder else "file"
        canvas.icon(icon, Box(box.x + 12, box.y + 9, 18, 18), canvas.chrome.dim)
        canvas.text((box.x + 44, box.center[1]), canvas.shortened(entry.name, box.width - 60, 18), 18, anchor="lm")
    more = len(files.entries) - len(file_boxes(files))
    if more > 0:
        canvas.text((WIDTH - MARGIN, HEIGHT - 22), f"{more} more", 16, canvas.chrome.dim, anchor="rs")
    elif not any(not entry.is_folder for entry in files.entries):
        canvas.text((WIDTH - MARGIN - 24, HEIGHT - 112), "no videos or images here", 16, canvas.chrome.dim, anchor="rs")


def _draw_fault(canvas: _Board, fault: str) -> None:
    lines = canvas.wrapped(fault, WIDTH - 2 * MARGIN - 84, 17)[:3]
    high = 24 * len(lines) + 22
    box = Box(MARGIN, HEIGHT - 12 - high, WIDTH - 2 * MARGIN, high)
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
    state = StartState(find()[:MAX_CAMERAS], fault=fault, theme=theme)
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
                state.is_selected,
                state.fault,
                files,
            )
            if content != drawn and window.is_ready:
                drawn = content
                window.show(draw_start(state, images, errors, caret), None if is_sized else FIRST_SIZE_PX)
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
    found = found[:MAX_CAMERAS]
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
