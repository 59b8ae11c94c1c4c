"""Converts events to flat records, whose field names are the same everywhere, and writes them line by line."""

import json
from contextlib import AbstractContextManager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from app.core.errors import OutputError
from app.core.files import output_errors
from app.core.text import CsvWriter
from app.core.types import Box, Event, EventKind

BOX_FIELDS = ("box_x", "box_y", "box_width", "box_height")
FRAME_FIELDS = ("frame_width_px", "frame_height_px")
RECORD_FIELDS = (
    "id",
    "at",
    *(field.name for field in fields(Event) if field.name not in ("id", "box", *FRAME_FIELDS)),
    *BOX_FIELDS,
    *FRAME_FIELDS,
)


def iso_time(wall_s: float) -> str:
    """Unix seconds as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_record(event: Event) -> dict[str, Any]:
    """``event`` as JSON-ready values by field name, in the order of ``RECORD_FIELDS``. A missing box gives ``None``."""
    record: dict[str, Any] = dict.fromkeys(RECORD_FIELDS)
    for field in fields(Event):
        if field.name != "box":
            record[field.name] = getattr(event, field.name)
    record["kind"] = event.kind.value
    record["at"] = iso_time(event.wall_s)
    if event.box is not None:
        sides = (event.box.x, event.box.y, event.box.width, event.box.height)
        record.update(zip(BOX_FIELDS, (round(side, 1) for side in sides), strict=True))
    return record


def event_from_record(record: dict[str, Any]) -> Event:
    """The inverse of ``event_record``. Unknown names are ignored, so files of other versions stay readable.

    Raises KeyError, TypeError or ValueError if ``record`` is not an event.
    """
    values = {field.name: record[field.name] for field in fields(Event) if field.name in record}
    values["kind"] = EventKind(record["kind"])
    if record.get("box_x") is not None:
        values["box"] = Box(*(float(record[name]) for name in BOX_FIELDS))
    return Event(**values)


def check_event_log(path: Path) -> None:
    """Raises OutputError if the name of ``path`` says no known format."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise OutputError(f"cannot write events to {path}: name it .jsonl or .csv")


class EventLog:
    """Writes each event as one line of JSON (``.jsonl``) or CSV (``.csv``), flushed at once.

    Raises OutputError if the file cannot be opened or a write fails.
    """

    def __init__(self, path: Path) -> None:
        check_event_log(path)
        self._path = path
        with self._errors():
            self._file: TextIO = path.open("w", encoding="utf-8", newline="")
            self._csv = CsvWriter(self._file, RECORD_FIELDS) if path.suffix.lower() == ".csv" else None
            if self._csv is not None:
                self._csv.writeheader()
                self._file.flush()

    def _errors(self) -> AbstractContextManager[None]:
        return output_errors(f"events to {self._path}", "choose another place")

    def write(self, event: Event) -> None:
        with self._errors():
            if self._csv is not None:
                self._csv.writerow(event_record(event))
            else:
                self._file.write(json.dumps(event_record(event), ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        with self._errors():
            self._file.close()
