"""Running a plan: attempts, commits, what a kill leaves behind, verification and the report."""

import csv
import errno
import io
import json
from math import inf
from pathlib import Path

import pytest
from fakes_scan import BARE, MASKED, InProcessEngine, Visit, write_video

from app.core.errors import OutputError
from app.scan.planner import ScanOptions, make_plan
from app.scan.report import html_page, make_report, write_csv
from app.scan.run_folder import DoneShard, RunFolder
from app.scan.runner import MAX_ATTEMPTS, run_plan, verify
from app.scan.tables import encode_result
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

VISITS = (Visit(1, 6, BARE), Visit(9, 12, MASKED, x=100), Visit(16, 19, MASKED), Visit(22, 26.5, BARE))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    write_video(tmp_path / "door/2026-11-20/10-59-50.mp4", VISITS, 30.0)
    (tmp_path / "door/2026-11-20/12-00-00.mp4").touch()
    folder = RunFolder(tmp_path / "run")
    options = ScanOptions(CameraSettings(uri="scan", every_s=0.2, timezone="UTC"), 8.0)
    folder.create(make_plan([str(tmp_path / "door")], Settings(), options))
    return folder


def results(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder.path / "shards").iterdir()}


def test_all_shards_are_done_once_and_two_scans_give_the_same_bytes(folder: RunFolder) -> None:
    engine = InProcessEngine()
    assert run_plan(folder, engine).done == 4
    assert engine.closed
    before = results(folder)
    assert len(before) == 4
    assert run_plan(folder, InProcessEngine()).done == 0
    for path in (folder.path / "shards").iterdir():
        path.unlink()
    assert run_plan(folder, InProcessEngine()).done == 4
    assert results(folder) == before


def test_a_failing_shard_is_tried_three_times_then_kept_for_retry_failed(folder: RunFolder) -> None:
    bad = folder.plan().shards[1].shard.id
    engine = InProcessEngine(lambda task: "the disk is gone" if task.shard.id == bad else "")
    summary = run_plan(folder, engine)
    assert (summary.done, [each.shard_id for each in summary.failed]) == (3, [bad])
    assert [attempt for shard, attempt in engine.attempts if shard == bad] == list(range(1, MAX_ATTEMPTS + 1))
    assert folder.failed()[bad].reason == "the disk is gone"
    assert run_plan(folder, InProcessEngine()).done == 0  # resume does not repeat what was given up
    assert run_plan(folder, InProcessEngine(), only_failed=True).done == 1
    assert folder.failed() == {}


def test_a_shard_that_fails_once_is_done_by_its_second_attempt(folder: RunFolder) -> None:
    assert run_plan(folder, InProcessEngine(lambda task: "killed" if task.attempt == 1 else "")).done == 4
    assert {line.attempt for line in folder.done().values()} == {2}


def test_a_killed_run_continues_with_what_is_not_complete(folder: RunFolder) -> None:
    run_plan(folder, InProcessEngine())
    whole = results(folder)
    done = folder.path / "done.jsonl"
    lines = done.read_text().splitlines(keepends=True)
    (folder.path / "shards" / ".abc.1.part.parquet").write_bytes(b"half")
    damaged = json.loads(lines[0])["shard_id"]
    (folder.path / "shards" / f"{damaged}.parquet").write_bytes(b"PAR1")
    done.write_text("".join(lines[:3]) + lines[3][:40])  # killed while it wrote the last line
    engine = InProcessEngine()
    assert run_plan(folder, engine).done == 2
    assert {shard for shard, _ in engine.attempts} == {damaged, json.loads(lines[3])["shard_id"]}
    assert results(folder) == whole
    assert len(folder.done()) == 4


def test_a_full_disk_stops_the_run_and_nothing_counts_as_failed(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    engine = InProcessEngine()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match=r"No space left.*scan resume"):
            run_plan(folder, engine)
    assert engine.closed
    assert (folder.done(), folder.failed()) == ({}, {})
    assert results(folder) == {}
    assert run_plan(folder, InProcessEngine()).done == 4


def test_two_runs_at_once_are_refused(folder: RunFolder) -> None:
    with folder.locked(), pytest.raises(OutputError, match="another maskwatch is scanning"):
        run_plan(RunFolder(folder.path), InProcessEngine())


def test_no_shard_is_started_after_the_budget(folder: RunFolder) -> None:
    summary = run_plan(folder, InProcessEngine(), budget_s=0.0)
    assert (summary.done, summary.left) == (1, 3)


def test_verify_finds_a_result_that_was_changed(folder: RunFolder) -> None:
    run_plan(folder, InProcessEngine())
    assert verify(folder, InProcessEngine(), share=1.0) == (4, [])
    each = folder.plan().shards[0]
    line = folder.done()[each.shard.id]
    result = folder.result(line)
    assert result is not None
    import hashlib
    from dataclasses import replace

    content = encode_result(each.shard.id, "door", replace(result, events=result.events[1:]))
    folder.commit(replace(line, sha256=hashlib.sha256(content).hexdigest()), content)
    count, (difference,) = verify(folder, InProcessEngine(), share=1.0)
    assert (count, difference.shard_id, difference.same_events) == (4, each.shard.id, False)
    scores = tuple(replace(event, confidence=event.confidence - 0.01) for event in result.events)
    content = encode_result(each.shard.id, "door", replace(result, events=scores))
    folder.commit(replace(line, sha256=hashlib.sha256(content).hexdigest()), content)
    _, (difference,) = verify(folder, InProcessEngine(), share=1.0)
    assert difference.same_events


def test_the_report_adds_up_what_is_done(folder: RunFolder) -> None:
    bad = folder.plan().shards[-1].shard
    assert bad.end_s == inf
    run_plan(folder, InProcessEngine(lambda task: "cannot <read>" if task.shard.id == bad.id else ""))
    report = make_report(folder)
    rows = [(row.seen.hour_s, row.seen.people, row.seen.bare, row.alerts) for row in report.hours]
    assert rows == [(1_795_168_800, 1, 1, 1), (1_795_172_400, 3, 1, 1)]
    assert (report.done, report.shards, report.planned_s) == (3, 4, pytest.approx(30.0))
    page = html_page(report)
    for text in ("50.0% wore a mask correctly", "cannot &lt;read&gt;", "12-00-00.mp4", "Not complete", "type=search"):
        assert text in page
    table = io.StringIO()
    write_csv(report, table)
    first = next(csv.DictReader(table.getvalue().splitlines()))
    assert (first["camera"], first["hour"], first["people"]) == ("door", "2026-11-20 10:00+00:00", "1")


def test_lines_of_done_shards_are_complete(folder: RunFolder) -> None:
    run_plan(folder, InProcessEngine())
    line = next(iter(folder.done().values()))
    assert isinstance(line, DoneShard)
    assert (line.node, line.cpu_s, line.attempt) == ("here:1", 0.9, 1)
