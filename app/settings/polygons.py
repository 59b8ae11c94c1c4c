"""Areas and lines in a picture, as fractions of its width and height, and their checks."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

Point = tuple[float, float]
"""Fractions of the width and the height of a picture."""


def _check_polygon(polygon: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(polygon) < 3:
        raise ValueError("a region needs at least three corners")
    _check_points(polygon)
    if crosses_itself(polygon):
        raise ValueError("the outline crosses or touches itself; move or remove a corner")
    return polygon


def _check_points(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if any(not 0 <= value <= 1 for point in points for value in point):
        raise ValueError("corners are fractions of width and height, from 0 to 1")
    return points


def _check_line(line: tuple[Point, Point]) -> tuple[Point, Point]:
    if line[0] == line[1]:
        raise ValueError("both points are the same; move one")
    return line


def crosses_itself(polygon: Sequence[Point]) -> bool:
    """Whether two sides have a point in common that is not the corner between them."""
    sides = list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))
    for i, (a, b) in enumerate(sides):
        after = sides[(i + 1) % len(sides)][1]
        turns_back = (b[0] - a[0]) * (after[0] - b[0]) + (b[1] - a[1]) * (after[1] - b[1]) < 0
        if a == b or (turns_back and _turn(a, b, after) == 0):
            return True
        if any(_meet(a, b, c, d) for c, d in sides[i + 2 : len(sides) - (i == 0)]):
            return True
    return False


def _turn(a: Point, b: Point, c: Point) -> float:
    """0 if the way from ``a`` over ``b`` to ``c`` is straight; else its sign says to which hand it turns."""
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the lines from ``a`` to ``b`` and from ``c`` to ``d`` have a point in common."""
    is_near = all(max(min(a[i], b[i]), min(c[i], d[i])) <= min(max(a[i], b[i]), max(c[i], d[i])) for i in (0, 1))
    return is_near and _turn(a, b, c) * _turn(a, b, d) <= 0 and _turn(c, d, a) * _turn(c, d, b) <= 0


Polygon = Annotated[tuple[Point, ...], AfterValidator(_check_polygon)]
Line = Annotated[tuple[Point, Point], AfterValidator(_check_points), AfterValidator(_check_line)]
