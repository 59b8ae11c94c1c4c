"""Opening hours, secrets and channel settings."""

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.errors import SettingsError
from app.core.schedule import DAYS, is_open, parse_hours, time_zone
from app.core.secrets import read_secret, redact_url, scrub, url_secrets
from app.settings.alerts import AlertSettings

MONDAY = datetime(2026, 11, 23)


def at(day: int, hour: int, minute: int = 0) -> float:
    return MONDAY.replace(day=23 + day, hour=hour, minute=minute).timestamp()


@pytest.mark.parametrize(
    ("text", "day", "hour", "expected"),
    [
        ("mon-fri 08:00-18:00", 0, 8, True),
        ("mon-fri 08:00-18:00", 0, 18, False),
        ("mon-fri 08:00-18:00", 5, 9, False),
        ("sat,sun 10:00-16:00", 6, 15, True),
        ("fri-mon 00:00-24:00", 6, 23, True),
        ("fri-mon 00:00-24:00", 2, 12, False),
        ("daily 22:00-06:00", 3, 23, True),
        ("22:00-06:00", 3, 5, True),
        ("22:00-06:00", 3, 6, False),
        ("Monday - thurs, Sat 22:00-06:00", 3, 23, True),
        ("Monday - thurs, Sat 22:00-06:00", 4, 23, False),
        ("fri 22:00-06:00", 5, 3, True),
        ("fri 22:00-06:00", 4, 3, False),
    ],
)
def test_hours_in_common_spellings(text: str, day: int, hour: int, expected: bool) -> None:
    assert is_open([parse_hours(text)], at(day, hour)) is expected


def test_empty_hours_mean_always() -> None:
    assert is_open([], at(2, 3))


@pytest.mark.parametrize("text", ["", "mon", "mon 8-18", "moon 08:00-18:00", "mon 25:00-26:00", "08:61-09:00", "x"])
def test_invalid_hours_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_hours(text)


@pytest.mark.parametrize(
    "days",
    ["sat sun", "mon-fri sat", "sat & sun", "mon to fri", "mon–fri", "mon/wed/fri", "mon-", "mon-fri-sun", "mo"],
)
def test_days_in_another_notation_are_rejected_and_not_ignored(days: str) -> None:
    with pytest.raises(ValueError, match=r"unknown day .*; several as"):
        parse_hours(f"{days} 08:00-18:00")


@given(st.sampled_from(DAYS), st.integers(0, 23), st.integers(0, 23), st.integers(0, 6), st.integers(0, 23))
def test_an_hour_is_in_a_window_or_in_its_complement(name: str, start: int, end: int, day: int, hour: int) -> None:
    inside = parse_hours(f"daily {start:02}:00-{end:02}:00")
    outside = parse_hours(f"daily {end:02}:00-{start:02}:00")
    moment = at(day, hour)
    if start != end:
        assert is_open([inside], moment) != is_open([outside], moment)
    else:
        assert is_open([inside], moment)
    assert is_open([parse_hours(f"{name} 00:00-24:00")], moment) == (DAYS.index(name) == day)


def test_a_secret_comes_from_environment_or_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_TOKEN", "from-env")
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_secret("x", None, "SOME_TOKEN", None) == "from-env"
    assert read_secret("x", None, None, file) == "from-file"
    assert read_secret("x", "plain", None, None) == "plain"
    with pytest.raises(SettingsError, match="NO_SUCH_TOKEN is not set"):
        read_secret("x", None, "NO_SUCH_TOKEN", None)
    with pytest.raises(SettingsError, match="cannot read"):
        read_secret("x", None, None, tmp_path / "absent")
    file.write_text("")
    with pytest.raises(SettingsError, match="is empty"):
        read_secret("x", None, None, file)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pass-word@host.example:8443/hooks/T0K3N-path?auth=query-secret#frag-secret",
        "tgram://123456789:bot-token-secret/987654321",
        "mailto://user:pass%2Dword@host.example?to=somebody-secret",
    ],
)
def test_all_secrets_of_a_url_are_hidden(url: str) -> None:
    hidden = url_secrets("channel", url)
    for text in (redact_url(url), scrub(f"failed for {url}", hidden)):
        for secret in ("pass-word", "T0K3N-path", "query-secret", "frag-secret", "bot-token-secret", "987654321"):
            assert secret not in text
    assert "host" in redact_url(url) or url.startswith("tgram")


@pytest.mark.parametrize("secret", ["two\nlines", "tab\tquote'", "töken"])
def test_secrets_are_hidden_as_python_writes_them_too(secret: str) -> None:
    for text in (secret, repr(secret), repr(secret.encode())):
        assert "***" in scrub(f"Illegal header value {text}", [secret])


@pytest.mark.parametrize("url", ["", "nonsense", "http://[broken", "//x"])
def test_text_that_is_not_a_url_is_hidden_completely(url: str) -> None:
    assert redact_url(url) == "***"


def settings(**channel: object) -> AlertSettings:
    return AlertSettings.model_validate({"channels": [{"name": "a", **channel}]})


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ({"kind": "webhook"}, "exactly one of url"),
        ({"kind": "webhook", "url": "http://x", "url_env": "X"}, "exactly one of url"),
        ({"kind": "webhook", "url": "ftp://x"}, "must start with http"),
        ({"kind": "command", "argv": []}, "at least 1"),
        ({"kind": "command", "argv": ["x", "{nonsense}"]}, "unknown placeholder {nonsense}"),
        ({"kind": "carrier-pigeon"}, "does not match any of the expected tags"),
        ({"kind": "sound", "colour": "red"}, "Extra inputs"),
        ({"kind": "sound", "schedule": ["often"]}, "is not an opening time"),
        ({"kind": "sound", "snapshot": True}, "set snapshots to"),
        ({"kind": "mqtt", "host": "x", "topic": "a/#"}, "pattern"),
        ({"kind": "sound", "name": "a b"}, "pattern"),
    ],
)
def test_invalid_channels_are_rejected_with_the_reason(channel: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**channel)


def test_two_channels_with_one_name_are_rejected() -> None:
    with pytest.raises(ValidationError, match="two channels are called 'a'"):
        AlertSettings.model_validate({"channels": [{"kind": "sound", "name": "a"}] * 2})


def test_snapshots_are_off_by_default(tmp_path: Path) -> None:
    assert AlertSettings(store=tmp_path / "x").snapshots == "off"
    assert not settings(kind="webhook", url="http://x").channels[0].snapshot


def test_hours_are_judged_in_the_given_time_zone() -> None:
    noon_in_london = datetime.fromisoformat("2026-11-23T12:00:00+00:00").timestamp()
    hours = [parse_hours("mon 20:00-22:00")]
    assert is_open(hours, noon_in_london, "Asia/Tokyo")
    assert not is_open(hours, noon_in_london, "Europe/London")


def test_an_unknown_time_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown time zone 'Mars'"):
        time_zone("Mars")
