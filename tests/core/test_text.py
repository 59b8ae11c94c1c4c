"""One is one, and a long list is a short line."""

import pytest

from app.core.text import counted, listed, reason_text


def test_one_is_told_in_the_singular() -> None:
    assert [counted(count, "old file") for count in (0, 1, 2)] == ["0 old files", "1 old file", "2 old files"]


@pytest.mark.parametrize(
    ("names", "told"),
    [("a", "a"), ("abcdef", "a, b, c, d, e, f"), ("abcdefg", "a, b, c, d, e and 2 more")],
)
def test_a_long_list_is_cut(names: str, told: str) -> None:
    assert listed(names) == told


def test_reasons_are_words_for_people() -> None:
    assert [reason_text(reason) for reason in ("mask", "left", "restarted", "")] == [
        "mask on",
        "left the picture",
        "restarted",
        "",
    ]
