"""Shares with their 95 % intervals."""

import math
from dataclasses import dataclass

Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Rate:
    """A share (``right`` of ``total``) with its Wilson 95 % interval."""

    right: int
    total: int
    share: float
    low: float
    high: float


def wilson(right: int, total: int) -> Rate:
    """Wilson's score interval (1927) at 95 %. For an empty set it is 0 to 1."""
    if total == 0:
        return Rate(0, 0, math.nan, 0.0, 1.0)
    share, z2 = right / total, Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return Rate(right, total, share, max(middle - half, 0.0), min(middle + half, 1.0))


def difference(new: Rate, old: Rate) -> tuple[float, float]:
    """The 95 % interval of ``new.share - old.share``: Newcombe's method 10 (1998), from both Wilson intervals."""
    change = new.share - old.share
    low = change - math.hypot(new.share - new.low, old.high - old.share)
    return low, change + math.hypot(new.high - new.share, old.share - old.low)
