"""The cards over the image of a camera: its name and state, the counts, and the alerts."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from app.capture.capture import SourceState
from app.core.types import Box, Counts, Label
from app.pipeline.camera import CameraView
from app.ui.canvas import blur_faces
from app.ui.cards import Card, Part, Picture
from app.ui.motion import ShownAlert
from app.ui.palette import STYLES, Chrome

MARGIN = 0.7
"""Distance of the cards from the edges and from each other, in units."""
SMALL = 24.0
"""Images that are lower than this, in units, have only the most important parts."""
_STATE_ICONS = {
    SourceState.LIVE: "live",
    SourceState.CONNECTING: "dots",
    SourceState.ENDED: "stop",
    SourceState.STANDBY: "pause",
}
_COUNTED = (Label.MASK, Label.NO_MASK, Label.INCORRECT)


def title_card(
    view: CameraView,
    chrome: Chrome,
    unit: float,
    room_px: float,
    is_paused: bool = False,
    shown_fps: float | None = None,
) -> Card:
    """Name and state of the camera, at most ``room_px`` wide; with ``shown_fps`` also rates."""
    state, is_ended_file = view.status.state, view.status.state is SourceState.ENDED and not view.is_live
    is_file = state is SourceState.LIVE and not view.is_live
    icon = "pause" if is_paused else "play" if is_file else _STATE_ICONS.get(state, "camera_off")
    word = "Paused" if is_paused else "Playing" if is_file else state.value.capitalize()
    row = [
        Part(icon, chrome.text, 0.9, is_icon=True),
        Part(view.camera, chrome.text, bold=True),
        Part(word, chrome.dim),
    ]
    if view.duration_s and view.frame is not None:
        position_s = view.duration_s if is_ended_file else view.position_s
        row.append(Part(f"{minutes(position_s)} / {minutes(view.duration_s)}", chrome.dim))
    if shown_fps is not None and view.frame is not None:
        rates = f"{shown_fps:.0f} fps, analysed {view.analysis_fps:.0f}/s"
        row.append(Part(rates + (f", age {age_text(view.age_s)}" if view.is_live else ""), chrome.dim))
    card = Card((tuple(row),), chrome.card, chrome.opacity)
    while len(row) > 2 and card.size(unit)[0] > room_px:  # the name is more important
        row.pop()
        card = replace(card, rows=(tuple(row),))
    return card.fitted(unit, room_px)


def age_text(age_s: float) -> str:
    return f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.0f} s"


def minutes(time_s: float) -> str:
    """A length as minutes and seconds, with hours if there are any."""
    whole = int(time_s)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else str(whole // 60)
    return f"{hours}:{whole % 60:02d}"


def count_rows(counts: Counts, is_live: bool) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The rows of the counts: a heading, then how many people, with a mask, without one, and with one worn wrong.

    The first row is who is in view, by the label that they show; the second everybody so far, by their worst label.
    Faces that are not decided are in none.
    """
    now, counted = ([numbers.get(label, 0) for label in _COUNTED] for numbers in (counts.now, counts.seen))
    heading = "Today, at worst" if is_live else "In all, at worst"
    return ("Now", (sum(now), *now)), (heading, (sum(counted), *counted))


@lru_cache(maxsize=64)
def counts_card(
    table: tuple[tuple[str, tuple[int, ...]], ...], size: tuple[int, int], unit: float, chrome: Chrome
) -> Card:
    """Who is in view, and who was so far. Only icons and *now* where there is little room in ``size``, px."""
    width_px, height_px = size
    if height_px < SMALL * unit:
        table = table[:1]
    styles = [STYLES[label] for label in _COUNTED]
    icons = [Part("person", chrome.dim, is_icon=True)]
    icons += [Part(style.icon, style.ink, is_icon=True, behind=style.colour) for style in styles]
    headings = [Part(heading, chrome.dim) for heading, _ in table]
    first = max(heading.width_px(unit) for heading in headings) / unit + 0.4
    has_words = len(table) > 1 and width_px > 46 * unit
    words = [
        Part(word if has_words else "", chrome.dim, 0.85) for word in ("People", *(style.word for style in styles))
    ]
    digits = max(len(str(number)) for _, numbers in table for number in numbers) * 0.68 + 0.3
    columns = [max(1.45 * has_words + word.width_px(unit) / unit + 0.6 * has_words, digits) for word in words]

    def numbers_of(numbers: Sequence[int]) -> list[Part]:
        return [Part(str(number), chrome.text if number else chrome.dim, 1.1, bold=True) for number in numbers]

    rows: list[tuple[Part, ...]] = []
    if has_words:
        heads = [
            (icon, word._replace(width=wide - 1.45)) for icon, word, wide in zip(icons, words, columns, strict=True)
        ]
        rows.append((Part("", chrome.dim, 0.85, width=first), *(part for pair in heads for part in pair)))
    for heading, (_, numbers) in zip(headings, table, strict=True):
        row = [heading._replace(width=first)]
        for icon, number, wide in zip(icons, numbers_of(numbers), columns, strict=True):
            row += [number._replace(width=wide)] if has_words else [icon, number._replace(width=digits)]
        rows.append(tuple(row))
    card = Card(tuple(rows), chrome.card, chrome.opacity)
    is_too_wide = card.size(unit)[0] > width_px - 2 * MARGIN * unit
    return replace(card, rows=tuple(row[3:] for row in rows)) if is_too_wide else card


def alert_card(alert: ShownAlert, chrome: Chrome, is_small: bool, blur: bool, verbose: bool) -> Card:
    """The face, what is wrong with it, where and since when. It turns neutral while it resolves."""
    event, style, resolves = alert.event, STYLES[Label(alert.event.kind.value)], alert.is_resolving
    ink, dim = (chrome.text, chrome.dim) if resolves else (style.ink, style.ink)
    word = style.word if event.people == 1 else f"{event.people} people: {style.word.lower()}"
    clock = time.strftime("%H:%M:%S", time.localtime(event.wall_s))
    number = f"  #{event.track_id}" if verbose else ""
    icon = Part(style.icon, style.ink, 1.1, is_icon=True, behind=style.colour)
    title = (icon, Part(word + number, ink, 1.15, bold=True))
    place = (Part(event.camera, dim), Part(clock, dim))
    state = (Part("Resolving" if resolves else f"for {minutes(alert.for_s)}", dim, bold=resolves),)
    picture = _blurred(alert.picture) if alert.picture is not None and blur else alert.picture
    fill, opacity = (chrome.card, chrome.opacity) if resolves else (style.colour, 0.94)
    return Card((title, place) if is_small else (title, place, state), fill, opacity * round(alert.opacity, 1), picture)


@lru_cache(maxsize=32)
def _blurred(picture: Picture) -> Picture:
    image, side = picture.image.copy(), float(picture.image.shape[0])
    blur_faces(image, [Box(side * 0.18, side * 0.14, side * 0.64, side * 0.72)])
    return Picture(image)
