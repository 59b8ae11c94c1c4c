"""What a node keeps of the hub: models are checked, tried, and rolled back if the program ends while it tries them."""

import asyncio
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.fleet.messages import PARTS, TABLES, Applied, Desired, Revision
from app.fleet.revisions import KEEP_S, NodeRevisions, self_test
from app.settings.fleet import FleetSettings

ACCEPTS = FleetSettings(node="box", accept_settings=True, accept_models=True)


class Stream:
    """The chunks of one object, as the server returns them."""

    def __init__(self, content: bytes) -> None:
        self._chunks = [content[start : start + 10] for start in range(0, len(content), 10)]

    async def get_msg(self, stream: str, seq: int, subject: str, **how: Any) -> Any:
        return SimpleNamespace(data=self._chunks[seq - 1], seq=seq)


def model(number: int, content: bytes, part: str = "model", **more: Any) -> Desired:
    name = hashlib.sha256(content).hexdigest()
    revision = Revision(number=number, content=name, nuid="n", size=len(content), fingerprint=name[:12], **more)
    return Desired(**{part: revision})


def node_of(folder: Path, fault: str = "", settings: FleetSettings = ACCEPTS) -> NodeRevisions:
    async def try_model(part: str, path: Path) -> str:
        return fault

    return NodeRevisions(settings, folder, try_model)


def use(node: NodeRevisions, desired: Desired, content: bytes = b"") -> bool:
    """Whether the node takes it."""
    asyncio.run(node.offer(Stream(content), desired))  # type: ignore[arg-type]
    taken = node.take()
    if taken is not None:
        node.accept(*taken)
    return taken is not None


def used(number: int, content: bytes) -> Applied:
    return Applied(number=number, fingerprint=hashlib.sha256(content).hexdigest()[:12])


@pytest.mark.parametrize("part", TABLES)
def test_a_model_is_kept_over_a_restart_once_it_has_worked(part: str, tmp_path: Path) -> None:
    node = node_of(tmp_path / "kept")
    assert use(node, model(1, b"first model", part), b"first model")
    assert node.on_trial == part
    node.end_trial()
    again = node_of(tmp_path / "kept")
    path = again.model(part)
    assert path is not None
    assert path.read_bytes() == b"first model"
    assert not use(again, model(1, b"first model", part))  # it is not loaded a second time
    others = {other: Applied() for other in PARTS if other != part}
    assert again.applied() == {part: used(1, b"first model"), **others}


@pytest.mark.parametrize("part", TABLES)
def test_a_model_that_ends_the_program_is_rolled_back_and_not_tried_again(part: str, tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"good", part), b"good")
    node.end_trial()
    use(node, model(2, b"bad", part), b"bad")
    for _ in range(2):  # the program ends, and starts again
        node = node_of(tmp_path)
        path = node.model(part)
        assert path is not None
        assert path.read_bytes() == b"good"
        applied = node.applied()[part]
        assert (applied.number, applied.refused) == (1, 2)
        assert "ended while it tried" in applied.reason
        assert not use(node, model(2, b"bad", part), b"bad")
    assert use(node, model(3, b"better", part), b"better")
    assert node.applied()[part] == used(3, b"better")
    node.end_trial()


def test_only_old_files_that_no_part_uses_are_deleted(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    for number, content in enumerate((b"first", b"second", b"third"), 1):
        use(node, model(number, content), content)
        node.end_trial()
    use(node, model(1, b"detector", "detector"), b"detector")
    assert not use(node, model(4, b"waits"), b"waits")
    for path in tmp_path.glob("*.tflite"):
        age_s = 0 if path.read_bytes() == b"waits" else 2 * KEEP_S
        os.utime(path, (time.time() - age_s,) * 2)
    node.end_trial()
    assert sorted(path.read_bytes() for path in tmp_path.glob("*.tflite")) == [b"detector", b"third", b"waits"]


def test_a_model_that_replaces_one_on_trial_is_rolled_back_to_the_one_that_worked(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"good"), b"good")
    node.end_trial()
    use(node, model(2, b"untested"), b"untested")
    use(node, model(3, b"bad"), b"bad")
    assert node_of(tmp_path).applied()["model"].number == 1


def test_a_model_waits_until_that_of_another_part_is_no_longer_on_trial(tmp_path: Path) -> None:
    """A fault in between is that of the first one, and the second one is not affected."""
    node = node_of(tmp_path)
    use(node, model(1, b"classifier"), b"classifier")
    assert not use(node, model(1, b"detector", "detector"), b"detector")
    assert (node.on_trial, node.applied()["detector"]) == ("model", Applied())
    assert use(node, Desired(settings=Revision(number=1, content="policy.dwell_s = 4")))
    node.roll_back("it hung")
    taken = node.take()
    assert taken is not None
    node.accept(*taken)
    assert (node.on_trial, node.applied()["detector"]) == ("detector", used(1, b"detector"))
    assert node.applied()["model"] == Applied(refused=1, reason="it hung")


@pytest.mark.parametrize("part", TABLES)
def test_a_model_whose_file_was_deleted_is_read_again(part: str, tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"first", part), b"first")
    node.end_trial()
    (path,) = tmp_path.glob("*.tflite")
    path.unlink()
    again = node_of(tmp_path)
    assert again.applied()[part].number == 0
    assert use(again, model(1, b"first", part), b"first")
    assert again.model(part) == path


@pytest.mark.parametrize("part", TABLES)
@pytest.mark.parametrize(
    ("content", "fault", "settings", "reason"),
    [
        (b"another", "", ACCEPTS, "another SHA-256"),
        (b"content", "self-test: a mask was missed", ACCEPTS, "a mask was missed"),
        (b"content", "", FleetSettings(node="box", accept_settings=True), "accept_models"),
    ],
)
def test_a_model_that_is_changed_or_wrong_or_not_wanted_is_refused(
    content: bytes, fault: str, settings: FleetSettings, reason: str, part: str, tmp_path: Path
) -> None:
    node = node_of(tmp_path, fault, settings)
    assert not use(node, model(1, b"content", part), content)
    assert reason in node.applied()[part].reason
    assert node.model(part) is None


def test_the_self_test_refuses_what_is_no_model_of_the_part(tmp_path: Path) -> None:
    """With the real one, as a process of its own."""
    models = Path(__file__).parents[2] / "models"
    onnx = tmp_path / "model.tflite"
    shutil.copy(models / "face_detector.onnx", onnx)
    assert asyncio.run(self_test("detector", models / "face_detector_float32.tflite")) == ""
    assert "is not a detector" in asyncio.run(self_test("detector", models / "classifier.tflite"))
    assert "is not a classifier" in asyncio.run(self_test("model", models / "face_detector.tflite"))
    assert "is not a detector" in asyncio.run(self_test("detector", onnx))


@pytest.mark.parametrize("part", TABLES)
def test_the_hub_can_give_the_own_model_back(part: str, tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"first", part), b"first")
    assert use(node, Desired(**{part: Revision(number=2)}))
    assert node.model(part) is None
    assert not node.on_trial


def test_what_is_for_other_nodes_changes_nothing(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    assert not use(node, model(1, b"first", nodes=("other",)), b"first")
    assert node.applied()["model"] == Applied()


def test_settings_that_are_invalid_are_refused_with_the_reason(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    assert use(node, Desired(settings=Revision(number=1, content="policy.dwell_s = 4")))
    assert not use(node, Desired(settings=Revision(number=2, content="policy.dwell_s = -4")))
    assert (node.settings_text, node.applied()["settings"].refused) == ("policy.dwell_s = 4", 2)
    assert "policy.dwell_s" in node.applied()["settings"].reason
    assert node_of(tmp_path).settings_text == "policy.dwell_s = 4"
    assert node_of(tmp_path, settings=FleetSettings(node="box")).settings_text == ""


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "revisions.json").write_text("nonsense")
    assert node_of(tmp_path).settings_text == ""


def test_what_version_1_0_0_kept_is_still_used(tmp_path: Path) -> None:
    name = hashlib.sha256(b"model").hexdigest()
    (tmp_path / f"{name}.tflite").write_bytes(b"model")
    old = {"number": 3, "content": name, "nuid": "n", "size": 5, "nodes": []}
    settings = {"number": 2, "content": "policy.dwell_s = 4", "nuid": "", "size": 0, "nodes": []}
    kept = {"settings": settings, "model": old, "before": settings, "on_trial": False, "bad": {"number": 0}}
    (tmp_path / "revisions.json").write_text(json.dumps(kept))
    node = node_of(tmp_path)
    assert (node.settings_text, node.model("model")) == ("policy.dwell_s = 4", tmp_path / f"{name}.tflite")
    assert not node.on_trial
