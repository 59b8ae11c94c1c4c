"""Text as anti-aliased masks: chooses typefaces by character, orders and shapes every script (HarfBuzz)."""

import os
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import uharfbuzz as hb
from numpy.typing import NDArray

from app.core.resources import asset

Mask = NDArray[np.uint8]
"""(H, W) uint8: coverage of each pixel, 0 to 255."""

_BUNDLED = ("NotoSansArabic.ttf", "NotoSansHebrew.ttf", "NotoSansDevanagari.ttf", "NotoSansThai.ttf", "NotoSansCJK.otf")
_SYSTEM_FOLDERS = {
    "win32": (r"C:\Windows\Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"),
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
}
_LINUX_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
_MAX_SYSTEM_FONTS = 4000
_SYNTHETIC_BOLD = 0.035
"""How much bolder a typeface with one weight is drawn for bold text, in em."""
_BREAKING, _JOINING = {"Cc", "Zl", "Zp"}, {"Mn", "Mc", "Me", "Cf"}
"""Categories of characters: line breaks and controls; marks and joiners, which stay with the character before."""


@dataclass(frozen=True, slots=True)
class TextMask:
    """A drawn line of text: its ``mask`` lies at (``left``, ``top``) pixels from the start of the baseline."""

    mask: Mask
    left: int
    top: int
    width: float
    """How far the text reaches to the right, px."""


@lru_cache(maxsize=1024)
def text_mask(text: str, size_px: float, bold: bool = False) -> TextMask:
    """Draws one line in visual order. ``size_px``: height of an em; capital letters are 0.73 of it."""
    draw, x = hb.RasterDraw(), 0.0
    for font, run, is_rtl in _runs(_clean(text), bold):
        scale = size_px / font.face.upem
        buffer = hb.Buffer()
        buffer.add_str(run)
        buffer.guess_segment_properties()
        buffer.direction = "rtl" if is_rtl else "ltr"
        hb.shape(font, buffer, {"tnum": True})
        for info, position in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            draw.transform = (scale, 0, 0, scale, x + position.x_offset * scale, position.y_offset * scale)
            draw.draw_glyph(font, info.codepoint)
            x += position.x_advance * scale
    image = draw.render()
    extents = image.extents
    pixels = np.frombuffer(image.buffer, np.uint8).reshape(extents.height, extents.stride)[::-1, : extents.width]
    return TextMask(pixels.copy(), extents.x_origin, -(extents.y_origin + extents.height), x)


def text_width(text: str, size_px: float, bold: bool = False) -> float:
    return text_mask(text, size_px, bold).width


def _clean(text: str) -> str:
    return "".join(" " if unicodedata.category(letter) in _BREAKING else letter for letter in text)


def _runs(text: str, bold: bool) -> Iterator[tuple[hb.Font, str, bool]]:
    """Parts of ``text`` from left to right, each in one typeface and direction (right to left: True)."""
    fonts: list[hb.Font] = []
    for letter in text:
        stays = fonts and (unicodedata.category(letter) in _JOINING or letter == " ")
        font = fonts[-1] if stays and _has(fonts[-1], letter) else font_of(letter, bold)
        fonts.append(font or _box())
    levels = _levels(text)
    places = [list(group) for _, group in groupby(range(len(text)), key=lambda i: (levels[i], fonts[i]))]
    for level in (2, 1):  # rule L2: reverse what is nested deeper, then what contains it
        for start in range(len(places)):
            if levels[places[start][0]] >= level and (start == 0 or levels[places[start - 1][0]] < level):
                end = start
                while end < len(places) and levels[places[end][0]] >= level:
                    end += 1
                places[start:end] = reversed(places[start:end])
    for run in places:
        yield fonts[run[0]], text[run[0] : run[-1] + 1], levels[run[0]] == 1


def starts_rtl(text: str) -> bool:
    """Whether the first letter of ``text`` is read from right to left."""
    strong = (unicodedata.bidirectional(letter) for letter in text)
    return next((kind in ("R", "AL") for kind in strong if kind in ("L", "R", "AL")), False)


def _levels(text: str) -> list[int]:
    """The nesting level of each character: 0 and 2 are read from left to right, 1 from right to left.

    The Unicode Bidirectional Algorithm (UAX 9) without its control characters: characters without a direction follow
    their neighbours, or the first letter of the text; a number after a right-to-left letter is nested in it.
    """
    kinds = [unicodedata.bidirectional(letter) for letter in text]
    base = starts_rtl(text)
    strong = _filled([kind != "L" if kind in ("L", "R", "AL") else None for kind in kinds], base)
    is_number = [kind in ("EN", "AN") for kind in kinds]
    known = [own if kind in ("L", "R", "AL", "EN", "AN") else None for kind, own in zip(kinds, strong, strict=True)]
    before, after = _filled(known, base), _filled(known[::-1], base)[::-1]
    is_rtl = [left if left == right else base for left, right in zip(before, after, strict=True)]
    return [2 if rtl and number else 1 if rtl else 2 * base for rtl, number in zip(is_rtl, is_number, strict=True)]


def _filled(known: list[bool | None], start: bool) -> list[bool]:
    """``known`` with each None replaced by the value before it."""
    values, last = [], start
    for each in known:
        last = last if each is None else each
        values.append(last)
    return values


def _has(font: hb.Font, letter: str) -> bool:
    return font.get_nominal_glyph(ord(letter)) is not None


@lru_cache(maxsize=4096)
def font_of(letter: str, bold: bool) -> hb.Font | None:
    """The first typeface that has this character; None if there is none."""
    if _has(_latin(bold), letter):
        return _latin(bold)
    for name in _BUNDLED:
        font = _open(asset(f"fonts/{name}"), 0, bold)
        if font is not None and _has(font, letter):
            return font
    for path in system_fonts():
        font = _open(path, 0, bold)
        if font is not None and _has(font, letter):
            return font
    return None


@cache
def _latin(bold: bool) -> hb.Font:
    weight = "SemiBold" if bold else "Regular"
    return hb.Font(hb.Face(hb.Blob.from_file_path(str(asset(f"fonts/Inter-{weight}.otf")))))


@cache
def _box() -> hb.Font:
    """A typeface that shows an empty box for a character that no typeface has."""
    font = _open(asset(f"fonts/{_BUNDLED[1]}"), 0, False)
    assert font is not None
    return font


@lru_cache(maxsize=_MAX_SYSTEM_FONTS)
def _open(path: Path, index: int, bold: bool) -> hb.Font | None:
    """The typeface of a file, mapped into memory; None without outlines (colour emoji, damaged files)."""
    try:
        face = hb.Face(hb.Blob.from_file_path(str(path)), index)
    except (hb.HarfBuzzError, OSError):
        return None
    if not {"glyf", "CFF ", "CFF2"} & set(face.table_tags):
        return None
    font = hb.Font(face)
    if bold:
        font.synthetic_bold = (_SYNTHETIC_BOLD, 0, False)
    return font


@cache
def system_fonts() -> tuple[Path, ...]:
    """The font files of the system; upright sans-serif ones first."""
    folders = _SYSTEM_FOLDERS.get(sys.platform, _LINUX_FOLDERS)
    found = [
        Path(folder, name)
        for top in folders
        for folder, _, names in os.walk(Path(top).expanduser())
        for name in names
        if name.lower().endswith((".ttf", ".otf", ".ttc"))
    ]

    def rank(path: Path) -> tuple[bool, bool, str]:
        name = path.name.lower()
        is_odd = any(part in name for part in ("serif", "mono", "italic", "oblique", "bold", "light", "thin", "black"))
        return is_odd, "sans" not in name and "cjk" not in name, str(path)

    return tuple(sorted(found, key=rank)[:_MAX_SYSTEM_FONTS])
