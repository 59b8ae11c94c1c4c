"""Improve: the last layer of the classifier learns faces of the user, and is only used if it is proven to be better."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from fakes_improve import BOX, picture, right_label, write_weak

from app.core import resources
from app.core.errors import DataError, ModelError
from app.core.types import Label
from app.training.classifier import improvement
from app.training.classifier.head import HeadModel, probabilities_of
from app.training.classifier.improvement import Comparison, OwnFace, chosen, held_back, improve
from app.training.classifier.replay import read_replay
from app.training.data.face_pool import PooledFace
from app.training.types import Sample
from app.vision.classifier import LiteRtClassifier, calibrated
from app.vision.yunet_detector import BUNDLED

DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(improvement, "VIEWS", 3)
    monkeypatch.setattr(improvement, "STEPS", 100)


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return HeadModel(resources.model("classifier.tflite"))


def own_face(number: int, label: Label) -> OwnFace:
    sample = Sample(Path(f"{number}"), label, "door", BOX)
    patch = np.ascontiguousarray(picture(number)[..., ::-1])
    face = PooledFace(patch, label, "door", sample, None, BOX, None, BOX.size)
    return OwnFace(face, number * DAY_S / 4, 0.9)


def days_of(faces: list[OwnFace]) -> list[str]:
    return [str(int(each.wall_s // DAY_S)) for each in faces]


def test_features_and_weights_give_the_outputs_of_the_model(model: HeadModel, tmp_path: Path) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (5, *[model.metadata.input_px] * 2, 3)).astype(np.uint8)
    own = calibrated(probabilities_of(model.features(crops), model.weights), model.metadata.temperature)
    np.testing.assert_allclose(own, LiteRtClassifier(model.path, 1).classify(crops), atol=1e-5)
    weights = model.weights + 0.1
    path = tmp_path / "new.tflite"
    model.write(path, weights, model.metadata)
    again = HeadModel(path)
    np.testing.assert_array_equal(again.weights, weights)
    assert again.fingerprint == model.fingerprint, "only the last layer differs"
    assert again.metadata == model.metadata


def test_a_model_that_is_no_classifier_is_refused() -> None:
    with pytest.raises(ModelError):
        HeadModel(resources.model(BUNDLED["float32"]))
    with pytest.raises(ModelError, match=r"it is no \.tflite file"):
        HeadModel(resources.model("classifier.keras"))


def test_the_bundled_replay_sample_belongs_to_the_bundled_classifier(
    model: HeadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, the classifier has changed: run benchmarks/replay_sample.py."""
    replay = read_replay(model)
    assert resources.model("replay.npz").stat().st_size < 5e6
    right = chosen(replay.features, model.weights, None, model.metadata) == replay.targets
    assert right[replay.is_guard & (replay.targets < 2)].mean() > 0.9
    network = HeadModel(model.path)
    network.fingerprint = "other"
    with pytest.raises(ModelError, match=r"was not made from a bundled classifier; give --replay FOLDER"):
        read_replay(network)
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    with pytest.raises(ModelError, match="cannot read"):
        read_replay(model)


def test_a_weakness_of_the_model_in_use_is_learned_away(model: HeadModel, tmp_path: Path) -> None:
    path = tmp_path / "weak.tflite"
    write_weak(model, path)
    faces = [own_face(number, right_label(model)) for number in range(24)]
    done = improve(HeadModel(path), read_replay(model), faces, days_of(faces), seed=1)
    found = done.comparison
    assert (found.old_right, found.new_right) == (0, found.faces)
    assert done.is_better
    assert not done.forgets


def test_labels_without_sense_never_give_a_better_model(model: HeadModel) -> None:
    rng = random.Random(1)
    faces = [own_face(number, rng.choice((Label.MASK, Label.NO_MASK, Label.INCORRECT))) for number in range(24)]
    done = improve(model, read_replay(model), faces, days_of(faces), seed=1)
    assert not done.is_better


def test_too_few_faces_are_refused_with_how_many_are_missing(model: HeadModel) -> None:
    faces = [own_face(number, Label.MASK) for number in range(12)]
    with pytest.raises(DataError, match=r"12 collected faces with a label; .* until there are 2[0-9]: [0-9]+ more"):
        improve(model, read_replay(model), faces, days_of(faces), seed=1)


def test_whole_days_are_held_back() -> None:
    assert held_back([0.0] * 10, list("aaaaaaabbb")) == 7
    assert held_back([0.0] * 10, list("aaaaaabbbb")) == 6
    assert held_back([0.0] * 10, list("abbbbbbbbb")) == 7, "of one long day, a part"
    assert held_back([0.0] * 10, list("aaaaaaaaaa")) == 7


@pytest.mark.parametrize(
    ("faces", "gained", "lost", "is_above", "has_more"),
    [
        (100, 15, 1, True, False),
        (100, 6, 3, False, True),
        (100, 0, 0, False, False),
        (100, 3, 3, False, False),
        (100, 2, 9, False, False),
        (20, 3, 0, False, True),
    ],
)
def test_the_interval_decides_and_says_how_many_are_missing(
    faces: int, gained: int, lost: int, is_above: bool, has_more: bool
) -> None:
    found = Comparison(faces, 50, 50 + gained - lost, gained, lost)
    assert (found.interval[0] > 0) is is_above
    assert (found.more_needed > 0) is has_more
    if has_more:
        factor = 1 + found.more_needed / faces
        more = Comparison(math.ceil(faces * factor), 0, 0, math.ceil(gained * factor), math.floor(lost * factor))
        assert more.interval[0] > 0


def test_the_interval_is_that_of_bonett_and_price() -> None:
    """Their formula for 12 gained and 5 lost of 80: (13 - 6) / 82 ± 1.96 * sqrt((19/82 - (7/82)**2) / 82)."""
    assert Comparison(80, 0, 0, 12, 5).interval == pytest.approx((-0.0171, 0.1878), abs=1e-3)
