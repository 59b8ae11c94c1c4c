"""Shares with intervals, compared with published examples."""

import pytest

from app.core.rate import difference, wilson


def test_the_difference_of_two_rates_is_that_of_newcombe() -> None:
    """Table II of Newcombe (1998), method 10: 56 of 70 and 48 of 80; 9 of 10 and 3 of 10; 10 of 10 and 0 of 10."""
    for new, old, interval in (
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ):
        assert difference(wilson(*new), wilson(*old)) == pytest.approx(interval, abs=1e-4)
