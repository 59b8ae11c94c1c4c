"""Reports as JSON data, and as rows of terminal and Markdown tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from app.core.types import Label
from app.training.classifier.evaluation import SetReport
from app.training.metrics import Rate, Scores


def plain(value: Any) -> Any:
    """Converts our dataclasses and values for JSON. Numbers have five decimals, NaN becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def percent(rate: Rate) -> str:
    """``98.1 (97.0-98.8)``: the share and its interval in percent."""
    if not rate.total:
        return "-"
    return f"{100 * rate.share:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


HEADINGS = (
    "set", "faces", "mask %", "no_mask %", "incorrect %", "not_face %", "two-way %", "balanced %", "macro-F1", "ECE",
    "unsure %", "errors removed %", "two-way errors removed %",
)  # fmt: skip


def rows(reports: Sequence[SetReport], slices: bool = True) -> list[tuple[str, ...]]:
    """One row per set in the order of ``HEADINGS``, with its slices indented below it."""
    table = []
    for report in reports:
        unsure: tuple[str, ...] = ("-", "-", "-")
        if report.unsure is not None:
            found = report.unsure
            unsure = share(found.rejected_share), share(found.removed), share(found.two_way_removed)
        table.append((report.name, *_figures(report.scores), *unsure))
        if slices:
            table += [("  " + name, *_figures(scores), "", "", "") for name, scores in report.slices.items()]
    return table


def _figures(scores: Scores) -> tuple[str, ...]:
    order = (Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.NOT_FACE)
    recalls = [percent(scores.recall[label]) if label in scores.recall else "-" for label in order]
    return (
        str(scores.faces),
        *recalls,
        share(scores.two_way_balanced),
        share(scores.balanced_accuracy),
        f"{scores.macro_f1:.3f}",
        f"{scores.calibration_error:.3f}",
    )


def markdown(headings: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *table]
    return "\n".join("| " + " | ".join(cell.strip() or " " for cell in line) + " |" for line in lines)


def probes_markdown(probes: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of the shortcut probes of each set, or '' without probes."""
    if not probes:
        return ""
    clues = list(next(iter(probes.values())))
    table = [(name, *(share(found[clue]) for clue in clues)) for name, found in probes.items()]
    return "\n" + markdown(("balanced accuracy of shortcuts alone", *(f"{clue} %" for clue in clues)), table) + "\n"
