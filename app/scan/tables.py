"""The Parquet files of a scan. The same rows give the same bytes with the same version of pyarrow."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.alerts.event_records import RECORD_FIELDS, event_from_record, event_record
from app.capture.recording_reader import Fault
from app.core.camera_hours import CameraHour
from app.core.errors import OutputError, SettingsError
from app.scan.analysis import Hour, ShardResult

try:
    import pyarrow
    import pyarrow.parquet as parquet
except ImportError as error:
    raise SettingsError(
        "'maskwatch scan' needs pyarrow: pip install 'maskwatch[scan]' (from a checkout: pip install '.[scan]')"
    ) from error

Row = dict[str, Any]
_TEXT, _REAL, _COUNT = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
_EVENT_TYPES = dict.fromkeys(("people", "track_id", "frame_width_px", "frame_height_px"), _COUNT) | dict.fromkeys(
    ("time_s", "wall_s", "confidence", "duration_s", "box_x", "box_y", "box_width", "box_height"), _REAL
)
MANIFEST = pyarrow.schema(
    {
        "shard_id": _TEXT,
        "recording": _TEXT,
        "path": _TEXT,
        "size": _COUNT,
        "camera": _TEXT,
        "start_wall_s": _REAL,
        "start_from": _TEXT,
        "start_s": _REAL,
        "end_s": _REAL,
        "lead_in_s": _REAL,
        "estimate_core_s": _REAL,
    }
)
RECORDINGS = pyarrow.schema({"recording": _TEXT, "uri": _TEXT, "offset_s": _REAL, "size": _COUNT, "duration_s": _REAL})
RESULT = pyarrow.schema(
    {
        "record": _TEXT,  # event, hour, fault or total
        "shard_id": _TEXT,
        **{name: _EVENT_TYPES.get(name, _TEXT) for name in RECORD_FIELDS},
        "thumbnail": pyarrow.binary(),
        "hour_s": _COUNT,
        "masked": _COUNT,
        "bare": _COUNT,
        "incorrect": _COUNT,
        "watched_ms": _COUNT,
        "from_s": _REAL,
        "to_s": _REAL,
        "frames": _COUNT,
    }
)


def encode(rows: Sequence[Row], schema: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def decode(content: bytes, where: str) -> list[Row]:
    """Raises OutputError if ``content``, of the file ``where``, is damaged."""
    try:
        rows: list[Row] = parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise OutputError(f"{where} is damaged ({reason}); delete it and run 'maskwatch scan resume'") from error
    return rows


def encode_result(shard_id: str, camera: str, result: ShardResult) -> bytes:
    rows: list[Row] = [
        {"record": "event", **event_record(event), "thumbnail": result.thumbnails.get(event.id)}
        for event in result.events
    ]
    for hour in result.hours:
        seen = hour.seen
        counts = {"masked": seen.masked, "bare": seen.bare, "incorrect": seen.incorrect}
        rows.append({"record": "hour", "hour_s": seen.hour_s, **counts, "watched_ms": hour.watched_ms})
    rows += [{"record": "fault", **asdict(fault)} for fault in result.faults]
    rows.append({"record": "total", "frames": result.frames, "watched_ms": result.watched_ms})
    return encode([{**row, "shard_id": shard_id, "camera": camera} for row in rows], RESULT)


def decode_result(content: bytes, where: str) -> ShardResult:
    """Raises OutputError."""
    rows = decode(content, where)
    of = {kind: [row for row in rows if row["record"] == kind] for kind in ("event", "hour", "fault", "total")}
    return ShardResult(
        events=tuple(event_from_record(row) for row in of["event"]),
        hours=tuple(
            Hour(
                CameraHour(row["camera"], row["hour_s"], row["masked"], row["bare"], row["incorrect"]),
                row["watched_ms"],
            )
            for row in of["hour"]
        ),
        faults=tuple(Fault(row["from_s"], row["to_s"], row["reason"]) for row in of["fault"]),
        frames=sum(row["frames"] for row in of["total"]),
        watched_ms=sum(row["watched_ms"] for row in of["total"]),
        thumbnails={row["id"]: row["thumbnail"] for row in of["event"] if row["thumbnail"]},
    )
