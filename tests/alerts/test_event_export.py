"""Event files as rows, hours and plots."""

from pathlib import Path

import cv2
import pytest
from fakes_alerts import make_event

from app.alerts.export import HourRow, atomic_text_file, by_hour, hour_fields, parse_time, plot_png, total
from app.core.camera_hours import CameraHour
from app.core.errors import SettingsError
from app.core.types import EventKind


def test_failed_write_keeps_the_existing_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def write_half() -> None:
        with atomic_text_file(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_plot_of_months_is_a_readable_image(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    rows = [HourRow(CameraHour("", 3600 * hour, masked=hour % 7, bare=hour % 3), 0) for hour in range(1500)]
    plot_png(rows, tmp_path / "plot.png")
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image is not None
    assert image.shape[1] <= 5000


def test_hours_are_summed_over_cameras() -> None:
    rows = by_hour(
        [CameraHour("a", 3600, masked=1), CameraHour("b", 3600, bare=1), CameraHour("a", 7200, incorrect=2)],
        [make_event(wall_s=3700.0), make_event(EventKind.RESOLVED, wall_s=3700.0), make_event(wall_s=11_000.0)],
        until_s=20_000.0,
    )
    assert [(row.hour_s, row.seen.people, row.seen.compliance, row.alerts) for row in rows] == [
        (3600, 2, 0.5, 1),
        (7200, 2, 0.0, 0),
        (10_800, 0, None, 1),
    ]
    assert (total(rows).seen.people, total(rows).alerts) == (4, 2)
    assert {row.watched for row in rows} == {None}, "an older version recorded them"


def test_every_rate_has_its_watched_time() -> None:
    hours = [
        CameraHour("a", 3600, masked=1, bare=1, watched_s=1800.0, offline_s=600.0, quiet_s=900.0),
        CameraHour("a", 3600, watched_s=300.0),  # the part that is not stored yet
        CameraHour("b", 3600, masked=2, watched_s=3590.0),
        CameraHour("a", 4 * 3600, masked=1, watched_s=1200.0, paused_s=300.0, behind_s=300.0),
    ]
    rows = by_hour(hours, [], until_s=4.5 * 3600)
    listed = [row for row in rows if not row.is_empty]
    assert [(row.hour_s, row.watched_text, row.not_watched_text) for row in listed] == [
        (3600, "1 h 35 min, 79%", "offline 10 min, not running 15 min, watched, but no alerts by schedule 15 min"),
        (4 * 3600, "20 min, 33%", "paused 5 min, behind 5 min, not running 30 min"),
    ]
    assert [row.not_running_s for row in rows] == [900.0, 7200.0, 7200.0, 1800.0], "nobody watched in between"
    assert total(rows).watched_text == "1 h 55 min, 27%"
    assert hour_fields(listed[0])["watched_s"] == 5690.0


def test_times_are_parsed() -> None:
    assert parse_time("90m", 10_000.0) == 4_600.0
    assert parse_time("2d", 200_000.0) == 27_200.0
    assert parse_time("1970-01-02T00:00:00+00:00", 0.0) == 86_400.0
    for text in ("", "yesterday", "5x", "2026-13-01"):
        with pytest.raises(SettingsError, match="no time"):
            parse_time(text, 0.0)
