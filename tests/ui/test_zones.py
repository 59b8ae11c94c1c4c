"""Zones and counting lines on the picture."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import plain_frame

from app.capture.capture import SourceState, SourceStatus
from app.core.camera_hours import Occupancy
from app.core.types import Event, EventKind, Image, Label
from app.pipeline.camera import CameraView
from app.settings.monitor import CameraSettings
from app.ui.canvas import Canvas
from app.ui.hud import Screen, render
from app.ui.palette import PAPER, STYLES
from app.ui.zones import draw_zones

FULL = Event("e", EventKind.OCCUPANCY_REACHED, "door", 1.0, 1.7e9)
RED = STYLES[Label.NO_MASK].colour


def view(counted: Occupancy | None = None, **settings: object) -> CameraView:
    camera = CameraSettings.model_validate({"uri": "0", "name": "door", **settings})
    frame = replace(plain_frame(0), image=np.full((300, 400, 3), 90, np.uint8))
    status = SourceStatus("door", SourceState.LIVE, 0.0)
    return CameraView("door", status, True, frame, settings=camera, occupancy=counted)


def drawn(shown: CameraView) -> Image:
    board = Canvas(np.full((300, 400, 3), 90, np.uint8), 12.0)
    draw_zones(board, shown)
    return board.image


def bright(image: Image, rows: slice, columns: slice) -> int:
    return int((image[rows, columns].min(axis=2) > 200).sum())


def test_zones_are_outlined_and_not_filled() -> None:
    zone = {"name": "ward", "polygon": [[0.1, 0.5], [0.5, 0.5], [0.5, 0.9], [0.1, 0.9]]}
    image = drawn(view(zone=[zone]))
    assert bright(image, slice(266, 275), slice(60, 180)) > 100, "the lower side"
    assert (image[200:250, 60:180] == 90).all()
    assert (drawn(view()) == 90).all()
    assert (drawn(CameraView("door", SourceStatus("door", SourceState.LIVE, 0.0), True)) == 90).all()


@pytest.mark.parametrize("points", [[[0.5, 0.9], [0.5, 0.1]], [[0.5, 0.1], [0.5, 0.9]]])
def test_the_arrow_of_a_line_points_inside(points: list[list[float]]) -> None:
    """Who goes where the arrow points is counted as coming in: the right side, seen from the first to the second."""
    image = drawn(view(line=[{"name": "main", "points": points}]))
    left, right = (bright(image, slice(130, 170), columns) for columns in (slice(170, 197), slice(204, 231)))
    assert (left > right) is (points[0][1] < points[1][1])
    assert min(left, right) == 0


def test_counts_are_red_while_the_limit_is_reached() -> None:
    line = {"name": "main", "points": [[0.5, 0.9], [0.5, 0.1]]}
    shown = view(Occupancy("door", 0.0, {"main": (12, 2)}, 10), line=[line], occupancy={"limit": 10})
    assert shown.occupancy is not None
    full = replace(shown, occupancy=replace(shown.occupancy, alert=FULL))
    assert [int((np.abs(drawn(each).astype(int) - RED).max(axis=2) < 25).sum()) > 200 for each in (shown, full)] == [
        False,
        True,
    ]
    assert (drawn(shown) == PAPER).all(axis=2).any()


def test_the_window_shows_the_lines() -> None:
    plain, lined = view(), view(Occupancy("door"), line=[{"name": "main", "points": [[0.5, 0.9], [0.5, 0.1]]}])
    assert (render(plain, Screen()) != render(lined, Screen())).any()
