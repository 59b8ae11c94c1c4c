"""What the tests of the window look at: views of a camera, and what was drawn of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from fakes import plain_frame

from app.capture.capture import SourceState, SourceStatus
from app.core.types import (
    Box,
    Counts,
    Event,
    EventKind,
    FaceLabel,
    FrameResult,
    Image,
    Label,
    StageTimes,
    Track,
)
from app.pipeline.camera import CameraView
from app.ui import cards, faces
from app.ui.canvas import Canvas, Sprite, composed


def track(box: Box, label: Label = Label.MASK, id_: int = 1) -> Track:
    return Track(id_, box, FaceLabel(label, 0.9), (0, 0), 0, 0, 9, 9, True)


def status(state: SourceState = SourceState.LIVE, error: str = "") -> SourceStatus:
    return SourceStatus("door", state, 0.0, last_error=error)


COUNTS = Counts({Label.MASK: 1}, {Label.MASK: 2, Label.NO_MASK: 1})
ALERT = Event("e", EventKind.NO_MASK, "door", 1.0, 1.7e9, 7, 0.97, 2.0, Box(1, 1, 9, 9))
FACE = track(Box(100, 140, 90, 110), Label.NO_MASK, 7)


def view(
    *tracks: Track,
    state: SourceState = SourceState.LIVE,
    alerts: tuple[Event, ...] = (),
    size: tuple[int, int] = (480, 480),
    error: str = "",
    waiting: dict[int, float] | None = None,
    name: str = "door",
    grey: int = 90,
) -> CameraView:
    frame = replace(plain_frame(30), image=np.full((size[1], size[0], 3), grey, np.uint8))
    result = FrameResult(frame, tracks, (), COUNTS, (), alerts, StageTimes(), (), waiting or {})
    return CameraView(name, status(state, error), True, frame, tracks, COUNTS, alerts, 0.04, 12.0, analysed=result)


@dataclass
class Drawn:
    """What was drawn: texts with their extents, cards with their colours, and images."""

    texts: list[tuple[str, Box]]
    cards: list[tuple[Box, tuple[int, int, int]]]
    images: list[Image]

    def words(self) -> str:
        return " ".join(text for text, _ in self.texts)

    def add(self, other: "Drawn", x: int, y: int) -> None:
        self.texts += [(text, box.moved(x, y)) for text, box in other.texts]
        self.cards += [(box.moved(x, y), colour) for box, colour in other.cards]
        self.images += other.images


class KeptSprite(Sprite):
    """A sprite that knows what was drawn on it."""

    drawn: Drawn


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawn]:
    """Records what is drawn, also on cards and labels that are drawn once and kept."""
    records = [Drawn([], [], [])]
    text, card, paste, blend = Canvas.text, Canvas.card, Canvas.paste, Canvas.blend

    def keep_text(board: Canvas, xy: tuple[float, float], content: str, *more: object, **options: object) -> Box:
        box = text(board, xy, content, *more, **options)  # type: ignore[arg-type]
        if content:
            records[-1].texts.append((content, box))
        return box

    def keep_card(board: Canvas, box: Box, radius: float, fill: tuple[int, int, int], opacity: float = 1.0) -> None:
        records[-1].cards.append((box, fill))
        card(board, box, radius, fill, opacity)

    def keep_image(board: Canvas, image: Image, box: Box, radius: float = 0.0) -> None:
        records[-1].images.append(image)
        paste(board, image, box, radius)

    def keep_sprite(board: Canvas, sprite: Sprite, x: int, y: int) -> None:
        if isinstance(sprite, KeptSprite):
            records[-1].add(sprite.drawn, x, y)
        blend(board, sprite, x, y)

    def keep_composed(width: int, height: int, unit: float, draw: Callable[[Canvas], None]) -> Sprite:
        records.append(Drawn([], [], []))
        draw(Canvas(np.zeros((height, width, 3), np.uint8), unit))
        known = records.pop()
        records.append(Drawn([], [], []))
        sprite = KeptSprite(*composed(width, height, unit, draw))
        records.pop()
        sprite.drawn = known
        return sprite

    def forget() -> None:
        cards.card_sprite.cache_clear()
        faces.label_sprite.cache_clear()

    forget()
    for name, replacement in (("text", keep_text), ("card", keep_card), ("paste", keep_image), ("blend", keep_sprite)):
        monkeypatch.setattr(Canvas, name, replacement)
    for module in (cards, faces):
        monkeypatch.setattr(module, "composed", keep_composed)
    yield records[0]
    forget()


def overlap(a: Box, b: Box) -> float:
    """The common area in px, without what rounding adds."""
    width, height = min(a.x2, b.x2) - max(a.x, b.x), min(a.y2, b.y2) - max(a.y, b.y)
    return max(0.0, width - 1) * max(0.0, height - 1)


def analysed(frame_index: int, *boxes: Box) -> FrameResult:
    frame = replace(plain_frame(frame_index), image=np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8))
    return FrameResult(frame, (), (), Counts({}, {}), (), (), StageTimes(), boxes)
