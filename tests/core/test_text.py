"""Singular and plural, short lists, and texts of event reasons."""

import io

import pytest

from app.core.text import CsvWriter, counted, listed, parse_duration, reason_text


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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.2s", 0.2), ("200ms", 0.2), ("10m", 600), ("6 h", 21_600), ("2d", 172_800), ("90", 90), ("1:30", 90)],
)
def test_a_duration_has_a_unit_or_is_a_clock_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1:70", "10 x", "1:2:3:4", "nan"])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_table_program_finds_no_formula() -> None:
    file = io.StringIO()
    table = CsvWriter(file, ["camera", "seconds"])
    table.writerow({"camera": "=1+1", "seconds": -1.5})
    table.writerows([{"camera": name, "seconds": 0.0} for name in ("@door", "+x", "-x", "a-b", "")])
    assert [line.partition(",")[0] for line in file.getvalue().splitlines()] == [
        "'=1+1",
        "'@door",
        "'+x",
        "'-x",
        "a-b",
        "",
    ]
    assert ",-1.5\n" in file.getvalue(), "a number stays one"
