"""Drawing the regions that alerts are for: corners clicked into the window, kept in the settings file."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import OutputError, SettingsError
from app.settings.monitor import Polygon
from app.settings.root import load_settings
from app.ui.canvas import Canvas
from app.ui.palette import PAPER, WARN


@dataclass(frozen=True, slots=True)
class RegionDraft:
    """Regions being drawn: those that are closed, and the corners of the one that is not. All from 0 to 1."""

    closed: tuple[Polygon, ...] = ()
    corners: Polygon = ()

    def click(self, x: float, y: float) -> "RegionDraft":
        corner = (round(min(max(x, 0.0), 1.0), 4), round(min(max(y, 0.0), 1.0), 4))
        return replace(self, corners=(*self.corners, corner))

    def close(self) -> "RegionDraft":
        """End the open region; one of fewer than three corners is dropped."""
        closed = (*self.closed, self.corners) if len(self.corners) >= 3 else self.closed
        return RegionDraft(closed)

    def undo(self) -> "RegionDraft":
        """Take back the last corner, or else the last region."""
        if self.corners:
            return replace(self, corners=self.corners[:-1])
        return RegionDraft(self.closed[:-1])


def draw_regions(board: Canvas, closed: Sequence[Polygon], corners: Polygon = ()) -> None:
    """Outlines of the regions, and the one being drawn with its corners."""
    height, width = board.image.shape[:2]

    def pixels(polygon: Polygon) -> NDArray[np.int32]:
        return np.array([(round(x * width), round(y * height)) for x, y in polygon], np.int32)

    for polygon in closed:
        cv2.polylines(board.image, [pixels(polygon)], True, PAPER, board.stroke, cv2.LINE_AA)
    if corners:
        points = pixels(corners)
        cv2.polylines(board.image, [points], False, WARN, board.stroke, cv2.LINE_AA)
        for x, y in points.tolist():
            cv2.circle(board.image, (x, y), 2 * board.stroke, WARN, -1, cv2.LINE_AA)


def save_regions(path: Path, camera: str, regions: Sequence[Polygon]) -> None:
    """Write ``regions`` into the settings file: into the table of the camera of this name where the file has one, its
    name given or made from its address, else into ``[policy]``. Everything else in the file, its comments included,
    stays as it is.

    Raises OutputError where the file cannot be written or has a fault; it is then as it was.
    """
    import tomlkit

    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        owner = document
        for table, known in zip(document.get("camera", []), load_settings(path).camera, strict=False):
            if known.name == camera:
                owner = table
        is_inline = isinstance(owner, tomlkit.items.InlineTable)
        policy = owner.setdefault("policy", tomlkit.inline_table() if is_inline else tomlkit.table())
        policy["regions"] = [[list(corner) for corner in polygon] for polygon in regions]
        whole = path.resolve()  # a link to the file stays one
        part = whole.with_name(f".{whole.name}.part")
        part.touch(0o600)
        part.write_text(tomlkit.dumps(document), encoding="utf-8")
        shutil.copymode(whole, part)  # it may hold passwords
        part.replace(whole)
    except (OSError, ValueError, SettingsError) as error:
        raise OutputError(f"cannot save regions to {path}: {error}; check its rights") from error
