"""The progress of a training run on the terminal."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.training.types import EpochRecord


class TrainingProgress:
    """Shows the steps of the current epoch, and prints a line for each complete epoch. Use it in a ``with`` block:
    after Ctrl-C it prints that the same command resumes the run, because only the current epoch is lost."""

    def __init__(self, console: Console, title: str = "training") -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        self._console = console
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task(title, total=None, loss="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if kind is KeyboardInterrupt:
            self._console.print("stopped; run the same command to resume after the last complete epoch")

    def on_step(self, step: int, steps: int, loss: float) -> None:
        self._progress.update(self._task, completed=step, total=steps, loss=f"loss {loss:.3f}")

    def on_epoch(self, record: EpochRecord) -> None:
        developed = f"; development {_text(record.development)}" if record.development else ""
        line = f"epoch {record.epoch + 1}: {_text(record.training)}{developed}; {record.seconds:.0f} s"
        self._console.print(line, highlight=False, soft_wrap=True)
        self._progress.reset(self._task, loss="")


def _text(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
