"""Which sign a kiosk shows, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Box, FaceLabel, Label, Track
from app.ui.kiosk_sign import ShownSign, Sign, choose_sign, updated


def track(label: Label, size: float = 100.0) -> Track:
    return Track(1, Box(0, 0, size, size), FaceLabel(label, 0.9), (0, 0), 0, 0, 9, 9, True)


@pytest.mark.parametrize(
    ("tracks", "sign"),
    [
        ([], Sign.IDLE),
        ([track(Label.MASK)], Sign.THANK_YOU),
        ([track(Label.UNSURE)], Sign.UNSURE),
        ([track(Label.INCORRECT)], Sign.COVER_NOSE),
        ([track(Label.NO_MASK)], Sign.WEAR_MASK),
        ([track(Label.MASK), track(Label.UNSURE)], Sign.UNSURE),
        ([track(Label.INCORRECT), track(Label.MASK), track(Label.NO_MASK)], Sign.WEAR_MASK),
        ([track(Label.MASK, 200), track(Label.NO_MASK, 80)], Sign.THANK_YOU),
    ],
)
def test_most_urgent_of_the_nearest_people_is_answered(tracks: list[Track], sign: Sign) -> None:
    assert choose_sign(tracks) is sign


def shown_after(*steps: tuple[Sign, float], every_s: float = 0.05) -> Sign:
    """The sign after each sign was chosen for so many seconds."""
    shown, now_s = ShownSign(), 0.0
    for sign, for_s in steps:
        end_s = now_s + for_s
        while now_s <= end_s:
            shown = updated(shown, sign, now_s)
            now_s += every_s
    return shown.sign


def test_sign_changes_when_it_was_chosen_for_a_moment() -> None:
    assert shown_after((Sign.UNSURE, 0.3)) is Sign.UNSURE, "somebody who arrives is answered at once"
    assert shown_after((Sign.UNSURE, 0.3), (Sign.WEAR_MASK, 0.4)) is Sign.UNSURE
    assert shown_after((Sign.UNSURE, 0.3), (Sign.WEAR_MASK, 1.0)) is Sign.WEAR_MASK
    assert shown_after((Sign.WEAR_MASK, 1.0), (Sign.THANK_YOU, 0.7)) is Sign.THANK_YOU


def test_short_doubt_or_gap_does_not_change_the_sign() -> None:
    assert shown_after((Sign.THANK_YOU, 1.0), (Sign.UNSURE, 1.0), (Sign.THANK_YOU, 0.1)) is Sign.THANK_YOU
    assert shown_after((Sign.WEAR_MASK, 1.0), (Sign.IDLE, 1.5)) is Sign.WEAR_MASK
    leaving = {shown_after((Sign.WEAR_MASK, 1.0), (Sign.IDLE, 0.05 * i)) for i in range(60)}
    assert leaving == {Sign.WEAR_MASK, Sign.IDLE}


def test_alternating_signs_show_that_it_is_unsure() -> None:
    alternating = [(sign, 0.05) for sign in (Sign.WEAR_MASK, Sign.COVER_NOSE) * 30]
    assert shown_after((Sign.THANK_YOU, 1.0), *alternating[:20]) is Sign.THANK_YOU
    assert shown_after((Sign.THANK_YOU, 1.0), *alternating) is Sign.UNSURE


@given(st.lists(st.tuples(st.sampled_from(Sign), st.floats(0.01, 3.0)), min_size=1, max_size=60))
def test_shown_sign_was_chosen_a_short_time_ago(steps: list[tuple[Sign, float]]) -> None:
    shown, now_s = ShownSign(), 0.0
    chosen_s = dict.fromkeys(Sign, 0.0)
    for sign, step_s in steps:
        now_s += step_s
        chosen_s[sign] = now_s
        shown = updated(shown, sign, now_s)
        if shown.sign not in (Sign.UNSURE, Sign.IDLE):
            assert now_s - chosen_s[shown.sign] < 2.5
