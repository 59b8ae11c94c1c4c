"""Zones, lines and occupancy in the settings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import SettingsError
from app.settings.load import load_settings
from app.settings.polygons import crosses_itself
from app.settings.reload import live_part, needs_restart
from app.settings.root import Settings

SQUARE = "[[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.1, 0.4]]"
ZONE = f'[[camera.zone]]\nname = "ward"\npolygon = {SQUARE}\n'
LINE = '[[camera.line]]\nname = "door"\npoints = [[0.5, 0], [0.5, 1]]\n'


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "settings.toml"
    path.write_text(f'[[camera]]\nname = "hall"\nuri = "0"\n{text}')
    return load_settings(path)


def test_zones_lines_and_a_limit_are_read(tmp_path: Path) -> None:
    text = f'{ZONE}dwell_s = 5\nalert_on = ["incorrect"]\nschedule = ["mon 08:00-18:00"]\n{LINE}'
    (camera,) = loaded(tmp_path, text + '[camera.occupancy]\nlimit = 10\nreset_at = "04:00"\n').camera
    policy = camera.policy_over(loaded(tmp_path, "[policy]\ngrace_s = 0.5\n").policy)
    ((name, rules),) = policy.zones
    assert (name, rules.dwell_s, rules.alert_on, rules.grace_s) == ("ward", 5.0, ("incorrect",), 0.5)
    assert policy.dwell_s == 2.0
    assert camera.occupancy.limit == 10
    assert policy.lines == camera.line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ZONE + ZONE, "two are called 'ward'"),
        (LINE + LINE, "two are called 'door'"),
        (ZONE.replace("[0.4, 0.4], ", "").replace("[0.4, 0.1], ", ""), "at least three corners"),
        (ZONE.replace("0.4", "1.4"), "from 0 to 1"),
        (ZONE.replace("[0.4, 0.1], [0.4, 0.4]", "[0.4, 0.4], [0.4, 0.1]"), "crosses or touches itself"),
        (ZONE.replace('"ward"', '" "'), "is empty; write a text"),
        (ZONE + 'schedule = ["later"]\n', "opening time"),
        (ZONE + 'channels = ["phne"]\n[[alerts.channels]]\nkind = "sound"\nname = "phone"\n', "did you mean phone"),
        (ZONE + 'colour = "red"\n', "unknown setting"),
        (LINE.replace("[0.5, 1]", "[0.5, 0]"), "both points are the same"),
        (LINE.replace("[0.5, 1]", "[0.5, 2]"), "from 0 to 1"),
        ("[camera.occupancy]\nlimit = 3\n", "needs a [[camera.line]]"),
        (LINE + "[camera.occupancy]\nlimit = 0\n", "must be a number from 1 to 100000"),
        (LINE + '[camera.occupancy]\nreset_at = "24:00"\n', "time of day"),
        ("zone = 3\n", "start each table with [[camera.zone]]"),
        (f"blackout = [{SQUARE.replace('[0.4, 0.1], [0.4, 0.4]', '[0.4, 0.4], [0.4, 0.1]')}]\n", "crosses"),
    ],
)
def test_a_wrong_zone_or_line_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=r"^[^\n]*$") as caught:
        loaded(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("polygon", "crosses"),
    [
        ([(0, 0), (1, 0), (1, 1)], False),
        ([(0, 0), (1, 0), (1, 0.5), (0.5, 0.5), (0.5, 1), (0, 1)], False),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], True),
        ([(0, 0), (0.5, 0.5), (1, 1)], True),  # encloses nothing
        ([(0, 0), (1, 0), (1, 1), (0, 0)], True),  # the first corner is given twice
        ([(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)], True),  # a corner on another side
        ([(0, 0), (1, 0), (0.5, 0), (0, 1)], True),  # back over the same side
        ([(0, 0), (0.5, 0), (1, 0), (1, 1)], False),  # a corner in the middle of a straight side
    ],
)
def test_an_outline_that_crosses_itself_is_found(polygon: list[tuple[float, float]], crosses: bool) -> None:
    for turn in range(len(polygon)):
        turned = polygon[turn:] + polygon[:turn]
        assert crosses_itself(turned) is crosses
        assert crosses_itself(turned[::-1]) is crosses


@given(st.lists(st.floats(0.1, 0.5), min_size=3, max_size=12))
def test_a_star_around_its_centre_never_crosses_itself(radii: list[float]) -> None:
    import math

    angles = [2 * math.pi * i / len(radii) for i in range(len(radii))]
    star = [(0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    assert not crosses_itself(star)


@pytest.mark.parametrize("text", [ZONE, LINE, LINE + "[camera.occupancy]\nlimit = 3\n"])
def test_zones_lines_and_the_limit_change_while_maskwatch_runs(tmp_path: Path, text: str) -> None:
    old, new = loaded(tmp_path, ""), loaded(tmp_path, text)
    assert needs_restart(old, new) == []
    assert live_part(old, new) == new


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "zones.md").read_text(encoding="utf-8")
    path = tmp_path / "settings.toml"
    path.write_text(text.partition("```toml\n")[2].partition("```")[0])
    (camera,) = load_settings(path).camera
    assert camera.zone[0].model_fields_set == set(type(camera.zone[0]).model_fields), "every setting"
    assert camera.line[0].model_fields_set == set(type(camera.line[0]).model_fields)
    assert camera.occupancy.model_fields_set == set(type(camera.occupancy).model_fields)
    assert camera.blackout
    assert camera.detector.region
