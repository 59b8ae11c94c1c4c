"""What ``watch`` prints: lines, a progress bar and the summary. Standard output is reserved for data."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.camera_hours import CameraHour
from app.core.standard_streams import fault_tolerant_stderr
from app.core.text import counted, reason_text
from app.core.types import Event, EventKind, Label

if TYPE_CHECKING:  # imported late, so that the start is fast
    from rich.console import Console

_COUNTED_LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)


class WatchConsole:
    """Prints to standard error, which may be missing, or fail because its disk is full."""

    def __init__(self) -> None:
        self._print_above: Callable[[str], None] | None = None

    def print(self, text: str) -> None:
        """Prints one line, above a progress bar."""
        if self._print_above is not None:
            self._print_above(text)
        elif (stderr := fault_tolerant_stderr()) is not None:
            print(text, file=stderr)

    @contextmanager
    def progress(self, name: str, total: int | None) -> Iterator[Callable[[], None]]:
        """Shows a progress bar of ``total`` frames in a terminal. Yields the function to call after each frame."""
        if total is None or sys.stderr is None or not sys.stderr.isatty():
            yield lambda: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=_console(), transient=True) as progress:
            task = progress.add_task(name, total=total)
            self._print_above = partial(progress.print, markup=False, highlight=False, soft_wrap=True)
            try:
                yield lambda: progress.advance(task)
            finally:
                self._print_above = None

    def print_summary(
        self, frames: int, people: Iterable[CameraHour], raised: Mapping[EventKind, int], written: Iterable[Path]
    ) -> None:
        """``people`` of each camera, the number of events of each kind, and the written files."""
        from rich.table import Table

        from app.ui.palette import STYLES

        table = Table(title=f"{counted(frames, 'frame')} analysed", title_justify="left")
        table.add_column("source")
        for label in _COUNTED_LABELS:
            table.add_column(STYLES[label].word, justify="right")
        for each in people:
            table.add_row(each.camera, *map(str, (each.masked, each.bare, each.incorrect)))
        _console().print(table)
        counts = ", ".join(f"{count} {kind.value}" for kind, count in sorted(raised.items())) or "none"
        self.print(f"events: {counts}")
        if files := ", ".join(map(str, written)):
            self.print(f"written: {files}")


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, file=fault_tolerant_stderr())


def event_text(event: Event) -> str:
    """One readable line."""
    when = datetime.fromtimestamp(event.wall_s).strftime("%H:%M:%S")
    what = f"{event.kind.value}" + (f" ({reason_text(event.reason)})" if event.reason else "")
    who = f", person #{event.track_id}, {event.confidence:.0%}" if event.track_id else ""
    if event.people > 1:
        who = f", {event.people} people{who}"
    return f"{when} {event.camera} at {event.time_s:.1f} s: {what}{who}, {event.duration_s:.1f} s"
