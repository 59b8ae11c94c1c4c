"""The values of arguments: numbers, for ``type`` of argparse, and names. A wrong one gives one clear line."""

import argparse
import math
from collections.abc import Callable, Iterable

from app.core.errors import SettingsError


def whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """A parser of whole numbers from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a whole number {_limits(least, most)}")
        return int(text)

    return parse


def number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """A parser of finite numbers from ``least`` to ``most``."""

    def parse(text: str) -> float:
        value = _float(text)
        if not (math.isfinite(value) and least <= value <= most):
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number {_limits(least, most)}".rstrip())
        return value

    return parse


def positive(text: str) -> float:
    value = _float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a positive number")
    return value


def _limits(least: float, most: float) -> str:
    if most < math.inf:
        return f"from {least:.15g} to {most:.15g}"
    return f"of {least:.15g} or more" if least > -math.inf else ""


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


count = whole(1)


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises SettingsError if one of ``given`` is not ``known``."""
    names = sorted(set(known))
    if unknown := sorted(set(given) - set(names)):
        raise SettingsError(f"no {what} {unknown[0]!r}; choose from: {', '.join(names) or 'none'}")
