"""Singular and plural, short lists, and texts of event reasons."""

import pytest

from app.core.text import counted, listed, reason_text


def test_one_item_is_singular() -> None:
    assert [counted(count, "old file") for count in (0, 1, 2)] == ["0 old files", "1 old file", "2 old files"]


@pytest.mark.parametrize(
    ("names", "text"),
    [("a", "a"), ("abcdef", "a, b, c, d, e, f"), ("abcdefg", "a, b, c, d, e and 2 more")],
)
def test_a_long_list_is_shortened(names: str, text: str) -> None:
    assert listed(names) == text


def test_reasons_have_readable_texts() -> None:
    assert [reason_text(reason) for reason in ("mask", "left", "restarted", "")] == [
        "mask on",
        "left the view",
        "restarted",
        "",
    ]
