"""The kiosk: a full screen for an entrance with a mirror picture and one large sentence to the people in view."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from app.capture.capture import SourceState
from app.core.images import fast_resized
from app.core.types import Box, FrameResult, Image, Label
from app.pipeline.camera import CameraView
from app.pipeline.monitor import Monitor
from app.settings.view import ViewSettings
from app.ui.canvas import Canvas, blur_faces
from app.ui.image_window import ESCAPE, Closed, ImageWindow, Key, Resized
from app.ui.kiosk_sign import ShownSign, Sign, choose_sign, updated
from app.ui.kiosk_sound import KioskSound
from app.ui.palette import CHROMES, PAPER, STYLES, Colour
from app.ui.sentences import Sentences, sentences_of, system_language
from app.ui.typeface import starts_rtl

_WAIT_S, _IDLE_WAIT_S = 0.015, 0.05
_REDRAW_S = 0.5
"""Longest time between two redraws, for the clock and the state of the camera."""
_FOLLOW_SHARE = 0.06
"""How far the picture moves towards the nearest person with each redraw, on a screen that shows a part of it."""
_CENTRE = 0.5, 0.42
"""The middle of the part that is shown while nobody is there, in shares of the frame: faces are in the upper half."""
_NEUTRAL: Colour = (58, 58, 58)
_FALLBACK_PX = 1280, 720
"""Size of the first image, before the window has reported its size."""
_REFERENCE_PX = 40.0
"""Size at which texts are measured: drawing them in every size would take long."""
_LINE = 1.22
"""Height of a line of text, in em."""


@dataclass(frozen=True, slots=True)
class Look:
    """Colour and icon of a sign; the icons differ too, for people who do not see the colours."""

    fill: Colour
    ink: Colour
    icon: str


LOOKS = {
    Sign.UNSURE: Look(_NEUTRAL, PAPER, "dots"),
    Sign.THANK_YOU: Look(STYLES[Label.MASK].colour, STYLES[Label.MASK].ink, "check"),
    Sign.WEAR_MASK: Look(STYLES[Label.NO_MASK].colour, STYLES[Label.NO_MASK].ink, "mask"),
    Sign.COVER_NOSE: Look(STYLES[Label.INCORRECT].colour, STYLES[Label.INCORRECT].ink, "incorrect"),
}


class KioskWindow:
    """Shows one camera until the monitor ends, the user closes the window, or ``stopped`` returns True."""

    def __init__(
        self, monitor: Monitor, settings: ViewSettings, stopped: Callable[[], bool], image_window: ImageWindow
    ) -> None:
        self._monitor = monitor
        self._settings = settings
        self._stopped = stopped
        self._image_window = image_window
        language = settings.language or system_language()
        self._sentences = sentences_of(language, settings.sentences)
        self._sound = KioskSound(settings, language)
        self._shown = ShownSign(chosen_s=time.monotonic())
        self._size_px = _FALLBACK_PX
        self._drawn: tuple[object, ...] = ()
        self._drawn_s = 0.0
        self._centre = _CENTRE

    @property
    def sign(self) -> Sign:
        """The sign that is shown."""
        return self._shown.sign

    def run(self, on_result: Callable[[FrameResult], None]) -> None:
        """Runs the window; ``on_result`` is called with every result. Raises DisplayError if the window is lost."""
        try:
            self._image_window.set_fullscreen(True)
            self._image_window.hide_pointer()
            while not self._monitor.finished and not self._stopped():
                for result in self._monitor.take(0.0):
                    on_result(result)
                image = self.redraw() if self._image_window.is_ready else None
                if image is not None:
                    self._image_window.show(image)
                wait_s = _IDLE_WAIT_S if self.sign is Sign.IDLE else _WAIT_S
                for user_input in self._image_window.inputs(wait_s):
                    if isinstance(user_input, Resized):
                        self._size_px = user_input.width_px, user_input.height_px
                    if isinstance(user_input, Closed):
                        return
                    if isinstance(user_input, Key) and user_input.code in (ESCAPE, ord("q")):
                        return
        finally:
            self._sound.close()
            self._image_window.close()

    def redraw(self) -> Image | None:
        """The next image (H, W, 3) uint8 BGR; None if nothing has changed."""
        now_s = time.monotonic()
        view = self._monitor.views()[0]
        if self._settings.blur:
            view = view.private()
        self._update_sign(view, now_s)
        frame = view.frame.index if view.frame and self.sign is not Sign.IDLE else None
        content = (self.sign, frame, self._size_px)
        if content == self._drawn and now_s - self._drawn_s < _REDRAW_S:
            return None
        self._drawn, self._drawn_s = content, now_s
        (x, y), (to_x, to_y) = self._centre, nearest_centre(view)
        self._centre = x + (to_x - x) * _FOLLOW_SHARE, y + (to_y - y) * _FOLLOW_SHARE
        return draw_kiosk(view, self.sign, self._sentences, self._size_px, self._settings, self._centre)

    def _update_sign(self, view: CameraView, now_s: float) -> None:
        before = self.sign
        self._shown = updated(self._shown, choose_sign(view.tracks if is_online(view) else ()), now_s)
        if self.sign is not before:
            self._sound.play(self.sign, getattr(self._sentences, self.sign.value))
        self._sound.check()


def is_online(view: CameraView) -> bool:
    """Whether the camera delivers pictures that are analysed."""
    return view.status.state in (SourceState.LIVE, SourceState.ENDED) and view.frame is not None


def nearest_centre(view: CameraView) -> tuple[float, float]:
    """Where the nearest face is, from the upper left corner of the frame (0, 0) to the lower right one (1, 1)."""
    if not view.tracks or view.frame is None:
        return _CENTRE
    (x, y), shape = max(view.tracks, key=lambda track: track.box.size).box.center, view.frame.image.shape
    return x / shape[1], y / shape[0]


def draw_kiosk(
    view: CameraView,
    sign: Sign,
    sentences: Sentences,
    size_px: tuple[int, int],
    settings: ViewSettings,
    centre: tuple[float, float] = _CENTRE,
) -> Image:
    """The whole screen, an image (H, W, 3) uint8 BGR of ``size_px`` (width, height). ``centre``: which part of the
    frame is shown if it has another shape, from its upper left corner (0, 0) to the lower right one (1, 1)."""
    width, height = size_px
    if sign is Sign.IDLE or view.frame is None:
        fault = _fault_text(view)
        return _idle(sentences.idle, time.strftime("%H:%M"), fault, size_px, settings.theme)
    band = _band(sign, getattr(sentences, sign.value), size_px)
    image = np.empty((height, width, 3), np.uint8)
    if settings.kiosk_mirror:
        centre = 1 - centre[0], centre[1]
    image[: height - len(band)] = _filled(_mirror(view, settings), width, height - len(band), centre)
    image[height - len(band) :] = band
    return image


def _mirror(view: CameraView, settings: ViewSettings) -> Image:
    """The frame, with blurred faces if so set, as people see themselves."""
    assert view.frame is not None
    image = view.frame.image
    if settings.blur and view.analysed is not None:
        image = image.copy()
        blur_faces(image, view.analysed.faces)
    return image[:, ::-1] if settings.kiosk_mirror else image


def _filled(image: Image, width: int, height: int, centre: tuple[float, float]) -> Image:
    """``image``, scaled to fill ``width`` x ``height`` with what is around ``centre``."""
    factor = max(width / image.shape[1], height / image.shape[0])
    wide, high = min(image.shape[1], round(width / factor)), min(image.shape[0], round(height / factor))
    x = round(min(max(image.shape[1] * centre[0] - wide / 2, 0), image.shape[1] - wide))
    y = round(min(max(image.shape[0] * centre[1] - high / 2, 0), image.shape[0] - high))
    part = np.ascontiguousarray(image[y : y + high, x : x + wide])
    return fast_resized(part, width, height)


@lru_cache(maxsize=8)
def _band(sign: Sign, sentence: str, size_px: tuple[int, int]) -> Image:
    """The lower part of the screen: the sentence on the colour of its sign, and the icon before it, or above it on an
    upright screen."""
    look = LOOKS[sign]
    width, height = size_px
    is_upright = width < height
    margin = round(min(width, height) * 0.05)
    canvas = Canvas(np.full((round(height * (0.34 if is_upright else 0.3)), width, 3), look.fill, np.uint8))
    middle_x, middle_y = width / 2, canvas.height / 2
    if is_upright:
        icon_px = canvas.height * 0.3
        top = icon_px + margin * 1.2
        room = canvas.height - top - margin * 0.6
        lines, text_px = fitted(sentence, width - 2 * margin, room)
        icon_x, icon_y, text_x, text_y = middle_x, margin + icon_px / 2, middle_x, top + room / 2
    else:
        icon_px = canvas.height * 0.56
        lines, text_px = fitted(sentence, width - 5 * margin - icon_px, canvas.height - 2 * margin)
        text_width = max(canvas.text_size(line, text_px, bold=True)[0] for line in lines)
        side = -1 if starts_rtl(sentence) else 1  # where the text is, seen from the icon
        icon_x = middle_x - side * (text_width + 1.5 * margin) / 2
        text_x, icon_y, text_y = middle_x + side * (icon_px + 1.5 * margin) / 2, middle_y, middle_y
    canvas.icon(look.icon, Box(icon_x - icon_px / 2, icon_y - icon_px / 2, icon_px, icon_px), look.ink)
    _draw_lines(canvas, lines, text_px, text_x, text_y, look.ink, bold=True)
    return canvas.image


def _draw_lines(
    canvas: Canvas, lines: list[str], size_px: float, x: float, y: float, colour: Colour, bold: bool = False
) -> None:
    """``lines`` one below the other, centred on (x, y)."""
    first_y = y - (len(lines) - 1) / 2 * size_px * _LINE
    for row, line in enumerate(lines):
        canvas.text((x, first_y + row * size_px * _LINE), line, size_px, colour, anchor="mm", bold=bold)


@lru_cache(maxsize=2)
def _idle(invitation: str, clock: str, fault: str, size_px: tuple[int, int], theme: str) -> Image:
    """A large clock and the invitation; below, why the camera shows nothing."""
    width, height = size_px
    chrome = CHROMES[theme]
    canvas = Canvas(np.full((height, width, 3), chrome.card, np.uint8))
    side = min(size_px)
    x, y = width / 2, height / 2
    canvas.text((x, y - side * 0.07), clock, side * 0.26, chrome.text, anchor="mm", bold=True)
    lines, text_px = fitted(invitation, width * 0.86, side * 0.2, side * 0.06)
    _draw_lines(canvas, lines, text_px, x, y + side * 0.16, chrome.dim)
    if fault:
        small_px = max(14.0, side * 0.022)
        text = canvas.shortened(fault, width * 0.8, small_px)
        left, base = x - canvas.text_size(text, small_px)[0] / 2, height - side * 0.06
        canvas.icon(
            "camera_off", Box(left - small_px * 2.2, base - small_px, small_px * 1.7, small_px * 1.7), chrome.dim
        )
        canvas.text((x, base), text, small_px, chrome.dim, anchor="mm")
    return canvas.image


def _fault_text(view: CameraView) -> str:
    """Why the camera shows nothing; empty while it shows something or only starts."""
    state, reason = view.status.state, view.status.last_error
    starts = state in (SourceState.LIVE, SourceState.CONNECTING) and not reason
    return "" if is_online(view) or starts else f"{view.camera}: {reason or state.value}"


@lru_cache(maxsize=64)
def fitted(text: str, width_px: float, height_px: float, largest_px: float = 1000.0) -> tuple[list[str], float]:
    """The lines of ``text`` and the largest size (in px) at which they fit into that room."""
    measure = Canvas(np.empty((1, 1, 3), np.uint8))
    size_px = min(largest_px, height_px / _LINE)
    while True:
        size_px = round(size_px)
        reference_width = width_px * _REFERENCE_PX / size_px
        lines = measure.wrapped(text, reference_width, _REFERENCE_PX, bold=True) or [""]
        if size_px <= 8 or (_is_whole(lines, text) and len(lines) * size_px * _LINE <= height_px):
            break
        size_px *= 0.94
    narrower = (
        measure.wrapped(text, reference_width * share, _REFERENCE_PX, bold=True) for share in (0.5, 0.6, 0.7, 0.8, 0.9)
    )
    balanced = (each for each in narrower if len(each) == len(lines) and _is_whole(each, text))
    return next(balanced, lines), size_px


def _is_whole(lines: list[str], text: str) -> bool:
    """Whether nothing of ``text`` is cut off in ``lines``."""
    return " ".join(lines) == " ".join(text.split())
