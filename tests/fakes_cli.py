"""Calls of the command line."""

import threading

import pytest

from app.cli.main import main

DEMO = ("watch", "--headless", "--source", "demo", "--fast")


def fails(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """The one line that a failing command prints on standard error."""
    before = set(threading.enumerate())
    try:
        returned = main(argv)
    except SystemExit as stop:  # raised by argparse
        returned = stop.code
    assert returned == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert set(threading.enumerate()) <= before, "no thread survives"
    return lines[0]


def headless(source: object, *more: str) -> tuple[str, ...]:
    return ("watch", "--headless", "--source", str(source), "--fast", *more)
