"""A short month of a camera whose classifier has a weakness, from what it collects to a model without it, and back."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes_improve import masked_picture, picture, write_weak
from fakes_video import write_clip
from fakes_web import Running, serving

from app.alerts.event_store import EventStore
from app.cli.main import main
from app.core import resources
from app.core.types import Box, Image, Label
from app.review.collected import CollectedFaces
from app.review.picture_folder import PictureFolder
from app.training.classifier import improvement
from app.training.classifier.head import HeadModel
from app.training.detector import improvement as detector_improvement

SIDE_PX = 150
SETTINGS = """
[alerts]
store = "{store}"
store_files = true
[classifier]
model = "{model}"
[collect]
enabled = true
[policy]
dwell_s = 0.5
min_observations = 3
min_confidence = 0.8
cooldown_s = 0
[tracking]
lost_after_s = 0.3
"""


def clip(path: Path, visits: int, first: int, bare_visit: int) -> Path:
    """In each visit three masked people of many colours; in ``bare_visit`` the one on the right is bare."""

    def images() -> Iterator[Image]:
        for visit in range(visits):
            numbers = [first + 3 * visit + place for place in range(3)]
            people = [masked_picture(number) for number in numbers]
            if visit == bare_visit:
                people[2] = picture(numbers[2])
            for i in range(6):
                yield np.roll(np.hstack(people), 2 * i, axis=1)
            for _ in range(2):
                yield np.full((SIDE_PX, 3 * SIDE_PX, 3), 128, np.uint8)

    return write_clip(path, images(), fps=5)


def truth(box: Box, time_s: float) -> Label:
    """What the first clip shows there: its last visit has a bare face on the right."""
    return Label.NO_MASK if time_s > 17.5 and box.center[0] > 2 * SIDE_PX else Label.MASK


def label_on_pages(running: Running, store: Path, faces: CollectedFaces) -> None:
    with EventStore(store) as events:
        times_s = {event.id: event.time_s for event in events.events()}
    with running.browser() as (client, secret):
        for number, face in enumerate(faces.faces()):
            right = truth(face.box, times_s.get(face.id, 0.0))
            is_verdict = face.id in times_s and number % 2
            verdict = {"verdict": "right"} if right == face.label else {"verdict": "wrong_label", "label": right}
            path = f"events/{face.id}/verdict" if is_verdict else f"faces/{face.id}/label"
            answer = client.post(f"/api/v1/{path}", headers=secret, json=verdict if is_verdict else {"label": right})
            assert answer.status_code == 200
        assert "Every collected face has a label" in client.get("/label").text


def test_a_weakness_is_collected_labelled_learned_away_and_comes_back_with_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(improvement, "VIEWS", 3)
    monkeypatch.setattr(improvement, "STEPS", 60)
    monkeypatch.setattr(detector_improvement, "VIEWS", 1)
    monkeypatch.setattr(detector_improvement, "STEPS", 5)
    weak, store, config = (tmp_path / name for name in ("weak.tflite", "events.db", "settings.toml"))
    write_weak(HeadModel(resources.model("classifier.tflite")), weak, masked_picture, Label.NO_MASK)
    config.write_text(SETTINGS.format(store=store.as_posix(), model=weak.as_posix()))
    before, later = clip(tmp_path / "before.mp4", 12, 0, 11), clip(tmp_path / "later.mp4", 2, 200, 1)
    options = ["--config", str(config)]

    def alerted(video: Path) -> list[int]:
        """Where faces alert: 0 on the left, 2 on the right."""
        found = tmp_path / "found.jsonl"
        found.unlink(missing_ok=True)
        assert main(["watch", "--headless", "--fast", "--source", str(video), "--events", str(found), *options]) == 0
        events = [json.loads(line) for line in found.read_text().splitlines()]
        return sorted(int(each["box_x"] // SIDE_PX) for each in events if each["kind"] == "no_mask")

    assert len(alerted(before)) > 30, "of 36 faces"
    faces = CollectedFaces(PictureFolder(store.with_name("events.db.collected")))
    with serving(tmp_path) as running:
        label_on_pages(running, store, faces)
    assert {face.known_label for face in faces.faces()} == {Label.MASK, Label.NO_MASK}
    capsys.readouterr()
    assert main(["improve", *options]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert ": better. Use it: maskwatch models use " in first
    assert main(["models", "use", first.split("models use ")[1].split()[0], *options]) == 0
    assert alerted(later) == [2], "of six, only the bare face"
    assert main(["models", "rollback", *options]) == 0
    assert len(alerted(later)) > 3, "the old model is wrong as before"
