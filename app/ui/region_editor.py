"""Editor for alert regions: the user clicks corners in the window. Saves the policy in the settings file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.settings.file_edit import edited
from app.settings.load import load_settings
from app.settings.polygons import Polygon, crosses_itself
from app.ui.canvas import Canvas
from app.ui.palette import INK, PAPER


@dataclass(frozen=True, slots=True)
class RegionDraft:
    """Closed regions and the corners of the open one; coordinates from 0 to 1 of the frame size."""

    closed: tuple[Polygon, ...] = ()
    corners: Polygon = ()

    def click(self, x: float, y: float) -> "RegionDraft":
        corner = (round(min(max(x, 0.0), 1.0), 4), round(min(max(y, 0.0), 1.0), 4))
        return replace(self, corners=(*self.corners, corner))

    @property
    def can_close(self) -> bool:
        """Whether the outline of the open region does not cross itself."""
        return len(self.corners) < 3 or not crosses_itself(self.corners)

    def close(self) -> "RegionDraft":
        """Closes the open region; one with fewer than three corners is discarded."""
        closed = (*self.closed, self.corners) if len(self.corners) >= 3 else self.closed
        return RegionDraft(closed)

    def undo(self) -> "RegionDraft":
        """Removes the last corner, or the last region if there is no open one."""
        if self.corners:
            return replace(self, corners=self.corners[:-1])
        return RegionDraft(self.closed[:-1])


def draw_regions(board: Canvas, closed: Sequence[Polygon], draft: RegionDraft | None = None) -> None:
    """Draws the ``closed`` regions on an image of a camera, or those of ``draft`` with the corners of the open one."""

    def pixels(polygon: Polygon) -> list[tuple[float, float]]:
        return [(x * board.width, y * board.height) for x, y in polygon]

    for polygon in closed if draft is None else draft.closed:
        for colour, width in ((INK, board.stroke + 2), (PAPER, board.stroke)):
            board.lines(pixels(polygon), colour, width, closed=True)
    corners = pixels(draft.corners) if draft is not None else []
    if corners:
        board.lines(corners, PAPER, board.stroke)
    for corner in corners:
        board.dot(corner, 2.6 * board.stroke, INK)
        board.dot(corner, 2 * board.stroke, PAPER)


def save_policy(path: Path, camera: str, name: str, value: Any) -> None:
    """Saves a setting of the policy in the settings file: for the camera with this name, or else in ``[policy]``.

    The rest of the file, with its comments, is unchanged. Raises OutputError if the file is invalid or cannot be
    written; it is then unchanged.
    """
    import tomlkit

    with edited(path, f"save {name} to") as document:
        cameras = zip(document.get("camera", []), load_settings(path).camera, strict=False)
        target: Any = next((table for table, settings in cameras if settings.name == camera), document)
        is_inline = isinstance(target, tomlkit.items.InlineTable)
        policy = target.setdefault("policy", tomlkit.inline_table() if is_inline else tomlkit.table())
        policy[name] = value
