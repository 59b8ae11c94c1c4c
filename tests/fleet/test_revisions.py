"""What a node keeps of the hub: models are checked, tried, and rolled back if the program ends while it tries them."""

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.fleet.messages import Applied, Desired, Revision
from app.fleet.revisions import NodeRevisions
from app.settings.fleet import FleetSettings

ACCEPTS = FleetSettings(node="box", accept_settings=True, accept_models=True)


class Stream:
    """The chunks of one object, as the server returns them."""

    def __init__(self, content: bytes) -> None:
        self._chunks = [content[start : start + 10] for start in range(0, len(content), 10)]

    async def get_msg(self, stream: str, seq: int, subject: str, **how: Any) -> Any:
        return SimpleNamespace(data=self._chunks[seq - 1], seq=seq)


def model(number: int, content: bytes, **more: Any) -> Desired:
    name = hashlib.sha256(content).hexdigest()
    return Desired(model=Revision(number=number, content=name, nuid="n", size=len(content), **more))


def node_of(folder: Path, fault: str = "", settings: FleetSettings = ACCEPTS) -> NodeRevisions:
    async def try_model(path: Path) -> str:
        return fault

    return NodeRevisions(settings, folder, try_model)


def use(node: NodeRevisions, desired: Desired, content: bytes = b"") -> bool:
    """Whether the node takes it."""
    asyncio.run(node.offer(Stream(content), desired))  # type: ignore[arg-type]
    taken = node.take()
    if taken is not None:
        node.accept(*taken)
    return taken is not None


def test_a_model_is_kept_over_a_restart_once_it_has_worked(tmp_path: Path) -> None:
    node = node_of(tmp_path / "kept")
    assert use(node, model(1, b"first model"), b"first model")
    assert node.is_on_trial
    node.end_trial()
    again = node_of(tmp_path / "kept")
    assert again.model is not None
    assert again.model.read_bytes() == b"first model"
    assert not use(again, model(1, b"first model"))  # it is not loaded a second time
    assert again.applied()["model"] == Applied(number=1)


def test_a_model_that_ends_the_program_is_rolled_back_and_not_tried_again(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"good"), b"good")
    node.end_trial()
    use(node, model(2, b"bad"), b"bad")
    for _ in range(2):  # the program ends, and starts again
        node = node_of(tmp_path)
        assert node.model is not None
        assert node.model.read_bytes() == b"good"
        applied = node.applied()["model"]
        assert (applied.number, applied.refused) == (1, 2)
        assert "ended while it tried" in applied.reason
        assert not use(node, model(2, b"bad"), b"bad")
    assert use(node, model(3, b"better"), b"better")
    assert node.applied()["model"] == Applied(number=3)
    node.end_trial()
    assert sorted(path.read_bytes() for path in tmp_path.glob("*.tflite")) == [b"better", b"good"]


def test_a_model_that_replaces_one_on_trial_is_rolled_back_to_the_one_that_worked(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"good"), b"good")
    node.end_trial()
    use(node, model(2, b"untested"), b"untested")
    use(node, model(3, b"bad"), b"bad")
    assert node_of(tmp_path).applied()["model"].number == 1


def test_a_model_whose_file_was_deleted_is_read_again(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"first"), b"first")
    node.end_trial()
    (path,) = tmp_path.glob("*.tflite")
    path.unlink()
    again = node_of(tmp_path)
    assert again.applied()["model"].number == 0
    assert use(again, model(1, b"first"), b"first")
    assert again.model == path


@pytest.mark.parametrize(
    ("content", "fault", "settings", "reason"),
    [
        (b"another", "", ACCEPTS, "another SHA-256"),
        (b"content", "self-test: a mask was missed", ACCEPTS, "a mask was missed"),
        (b"content", "", FleetSettings(node="box", accept_settings=True), "accept_models"),
    ],
)
def test_a_model_that_is_changed_or_wrong_or_not_wanted_is_refused(
    content: bytes, fault: str, settings: FleetSettings, reason: str, tmp_path: Path
) -> None:
    node = node_of(tmp_path, fault, settings)
    assert not use(node, model(1, b"content"), content)
    assert reason in node.applied()["model"].reason
    assert node.model is None


def test_the_hub_can_give_the_own_model_back(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    use(node, model(1, b"first"), b"first")
    assert use(node, Desired(model=Revision(number=2)))
    assert node.model is None
    assert not node.is_on_trial


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
