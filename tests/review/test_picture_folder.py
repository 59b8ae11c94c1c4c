"""The folder of clips and faces."""

import os
import time
from pathlib import Path

from fakes_review import event
from fixtures_threads import no_thread_survives  # noqa: F401

from app.review import clips
from app.review.picture_folder import PictureFolder


def test_old_and_large_clips_are_deleted_and_other_files_stay(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    own = tmp_path / "holiday.jpg"
    own.write_bytes(b"x")
    now_s = time.time()
    for number in range(4):
        for suffix in (clips.VIDEO, clips.POSTER):
            folder.file(event(number).id, suffix).write_bytes(bytes(1000))
            os.utime(folder.file(event(number).id, suffix), (now_s, now_s - 86400 * (4 - number)))
    (tmp_path / ".00.clip.77.part.mp4").write_bytes(bytes(10))
    assert folder.enforce(now_s, 3.5 * 86400, 5000) == 2
    left = {number for number in range(4) if folder.has(event(number).id, clips.VIDEO)}
    assert left == {2, 3}
    assert folder.delete(now_s - 1.5 * 86400) == 1
    assert folder.delete() == 2
    assert list(tmp_path.iterdir()) == [own]


def test_any_event_id_is_a_safe_file_name(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "clips")
    for event_id in ("../../x", "a/b", ".hidden", "Tür 1", "x" * 500):
        path = folder.file(event_id, clips.VIDEO)
        assert path.parent == tmp_path / "clips"
        folder.create()
        path.write_bytes(b"1")
    assert folder.usage() == (5, 5)
    assert folder.delete() == 5
