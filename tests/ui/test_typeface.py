"""Text in every script: shaped, in visual order, and never replaced by question marks."""

import numpy as np
import pytest

from app.ui import typeface
from app.ui.typeface import font_of, text_mask, text_width

NAMES = {
    "Latin": "Größe Łódź Việt Nam",
    "Greek": "Είσοδος",
    "Cyrillic": "Вход Київ",
    "Arabic": "المدخل الرئيسي",
    "Hebrew": "כניסה ראשית",
    "Devanagari": "मुख्य द्वार",
    "Thai": "ทางเข้า",
    "Chinese": "大门入口",
    "Japanese": "玄関カメラ",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("bold", [False, True])
def test_each_script_is_drawn_with_bundled_letters(name: str, bold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typeface, "system_fonts", lambda: ())
    assert all(font_of(letter, False) for letter in name)
    marks = text_mask("?" * len(name), 40, bold).mask
    drawn = text_mask(name, 40, bold).mask
    assert drawn.max() == 255
    assert drawn.shape != marks.shape or (drawn != marks).any()


def test_a_letter_that_no_typeface_has_is_an_empty_box(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = "\U00012345"
    typeface.font_of.cache_clear()
    text_mask.cache_clear()
    monkeypatch.setattr(typeface, "system_fonts", lambda: ())
    box, mark = text_mask(unknown, 40).mask, text_mask("?", 40).mask
    typeface.font_of.cache_clear()
    text_mask.cache_clear()
    assert box.shape != mark.shape
    middle = box[box.shape[0] // 3 : 2 * box.shape[0] // 3, box.shape[1] // 3 : 2 * box.shape[1] // 3]
    assert middle.max() == 0 < box.max()


def columns(text: str) -> list[int]:
    """The ink in each column of pixels."""
    return [int(column) for column in text_mask(text, 60).mask.astype(int).sum(axis=0)]


def test_letters_join_in_arabic() -> None:
    """Joined letters leave no empty column between them; separated ones do."""
    assert min(columns("سيسي")) > 0
    assert min(columns("س ي س ي")) == 0
    assert text_width("سيسي", 40) < text_width("س", 40) * 2 + text_width("ي", 40) * 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("אב גד", ["גד", "אב"]),  # the first word is on the right
        ("אב 12", ["12", "אב"]),
        ("Kamera אב 12 Ost", ["Kamera", "12", "אב", "Ost"]),
        ("אב Ost 3", ["Ost 3", "אב"]),
        ("Tor 12 Ost", ["Tor 12 Ost"]),
        ("אב (A3)", ["(A3)", "אב"]),
    ],
)
def test_right_to_left_words_are_in_visual_order(text: str, parts: list[str]) -> None:
    """The ink of the whole is the ink of its parts from left to right."""
    whole = np.array([value for value in columns(text) if value])
    expected = np.array([value for part in parts for value in columns(part) if value])
    assert abs(len(whole) - len(expected)) <= 2 * len(parts)
    quarters = [int(row.sum()) for row in np.array_split(whole, 4)]
    assert quarters == pytest.approx([int(row.sum()) for row in np.array_split(expected, 4)], rel=0.12, abs=400)


def test_numbers_have_the_same_width() -> None:
    """A clock must not shake."""
    assert len({text_width(digit, 40) for digit in "0123456789"}) == 1


def test_line_breaks_are_blanks() -> None:
    assert text_width("a\nb", 40) == text_width("a b", 40)
    assert text_mask("", 40).width == 0
