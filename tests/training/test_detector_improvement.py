"""Improve: the score layers of the detector learn scenes of the user, and are only used if they are proven better."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes_improve import BOX, picture

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Image, Label
from app.pipeline.image_labeler import for_photos, load_labeler
from app.settings.load import load_settings
from app.settings.vision import DetectorSettings
from app.training.detector import cells, improvement
from app.training.detector.cells import ReplayCells, cells_of, read_replay_cells
from app.training.detector.head import DetectorHead
from app.training.detector.improvement import DetectorImprovement, fit, improve_detector, view_of
from app.training.types import Scene, SceneFace
from app.vision.detector_loader import for_video
from app.vision.multi_view import MultiViewDetector
from app.vision.yunet_detector import BUNDLED, YuNetDetector


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "VIEW_PX", 160)
    monkeypatch.setattr(improvement, "VIEWS", 3)
    monkeypatch.setattr(improvement, "STEPS", 60)
    monkeypatch.setattr(improvement, "STRENGTHS", (0.1,))


@pytest.fixture(scope="module")
def head() -> DetectorHead:
    return DetectorHead(resources.model(BUNDLED["int8"]))


@pytest.fixture(scope="module")
def replay(head: DetectorHead) -> ReplayCells:
    return read_replay_cells(head)


def sign(number: int) -> Image:
    """A sign with two eyes and a mouth, in other colours and places for each ``number``."""
    rng = np.random.default_rng(number)
    image = np.full((150, 150, 3), rng.integers(60, 200, 3), np.uint8)
    x, y = (int(value) for value in rng.integers(70, 80, 2))
    cv2.ellipse(image, (x, y), (32, 40), 0, 0, 360, (60, 190, 240), -1, cv2.LINE_AA)
    for dx in (-13, 13):
        cv2.circle(image, (x + dx, y - 10), 5, (30, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(image, (x, y + 16), (14, 8), 0, 0, 180, (50, 40, 170), 4, cv2.LINE_AA)
    return np.clip(image * rng.uniform(0.8, 1.1) + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def read(path: Path) -> Image:
    kind, number = path.name.split("-")
    return sign(int(number)) if kind == "sign" else picture(int(number))


def scenes_of(kind: str, label: Label, numbers: range) -> list[Scene]:
    return [Scene(Path(f"{kind}-{n}"), "door", (SceneFace(BOX, label),)) for n in numbers]


def write(head: DetectorHead, path: Path, weights: np.ndarray, replay: ReplayCells) -> DetectorHead:
    examples = [replay.guard.windows[replay.guard.places == place] for place in range(len(weights))]
    head.write(path, head.network_with(weights, examples))
    return DetectorHead(path)


def write_weak(
    head: DetectorHead, path: Path, replay: ReplayCells, scenes: list[Scene], strength: float
) -> DetectorHead:
    """``head`` with a weakness: what ``scenes`` say is wrong."""
    rng = np.random.default_rng(1)
    own = cells_of(head, [(each, view_of(each, read(each.path), rng)) for each in scenes], read, rng)
    return write(head, path, fit(head.weights, replay.known, own, strength), replay)


def load(path: Path) -> YuNetDetector:
    return YuNetDetector(path, score=improvement.COUNTS_SCORE, threads=1)


def improved(head: DetectorHead, replay: ReplayCells, scenes: list[Scene]) -> DetectorImprovement | None:
    order = np.random.default_rng(3).permutation(len(scenes))
    mixed = [scenes[i] for i in order]
    return improve_detector(head, replay, mixed, round(0.7 * len(mixed)), read, load, seed=1)


@pytest.mark.parametrize("precision", BUNDLED)
def test_features_and_weights_give_the_scores_of_the_detector(
    precision: str, replay: ReplayCells, tmp_path: Path
) -> None:
    head = DetectorHead(resources.model(BUNDLED[precision]))
    image = np.ascontiguousarray(np.tile(picture(1), (2, 2, 1))[:160, :160])
    windows, places = cells.windows_of(head.run(image)[0])
    scores = cells.Cells(windows, places, places, places).scores(head.weights)
    found = YuNetDetector(head.path, score=0.3, threads=1).run_pass(image)[:, 0]
    np.testing.assert_allclose(
        np.sort(scores[scores >= 0.3]), np.sort(found), atol=0.1 if precision == "int8" else 1e-4
    )
    again = write(head, tmp_path / "new.tflite", head.weights * 1.1, replay)
    np.testing.assert_allclose(again.weights, head.weights * 1.1, atol=0.02 * np.abs(head.weights).max())
    assert again.fingerprint == head.fingerprint, "only the score layers differ"
    assert again.metadata == head.metadata
    assert precision == "int8" or not np.array_equal(again.weights, head.weights)


def test_a_model_that_is_no_detector_is_refused() -> None:
    with pytest.raises(ModelError):
        DetectorHead(resources.model("classifier.tflite"))
    with pytest.raises(ModelError, match=r"it is no \.tflite file"):
        DetectorHead(resources.model("face_detector.onnx"))


def test_the_bundled_replay_sample_belongs_to_the_bundled_detectors(head: DetectorHead, tmp_path: Path) -> None:
    """If this fails, the detector has changed: run benchmarks/replay_sample.py --detector."""
    sizes = [resources.model(name).stat().st_size for name in ("replay.npz", cells.BUNDLED)]
    assert sum(sizes) < 5e6
    whole = read_replay_cells(DetectorHead(resources.model(BUNDLED["float32"])))
    scores = whole.guard.scores(head.weights)
    assert scores[whole.guard.kinds == cells.FACE].mean() > 0.6 > 0.1 > scores[whole.guard.kinds == cells.OTHER].mean()
    other = DetectorHead(head.path)
    other.fingerprint = "other"
    with pytest.raises(ModelError, match=r"made with another detector .* train-detector"):
        read_replay_cells(other)
    with pytest.raises(ModelError, match="cannot read"):
        read_replay_cells(head, tmp_path / "none.npz")


def test_an_object_that_is_taken_for_a_face_is_learned_away(
    head: DetectorHead, replay: ReplayCells, tmp_path: Path
) -> None:
    weak = write_weak(head, tmp_path / "weak.tflite", replay, scenes_of("sign", Label.MASK, range(40, 70)), 1.0)
    signs = scenes_of("sign", Label.NOT_FACE, range(24))
    assert sum(bool(load(weak.path).detect(read(each.path))) for each in signs) > 20, "it takes signs for faces"
    done = improved(weak, replay, signs + scenes_of("face", Label.MASK, range(12)))
    assert done is not None
    found = done.comparison
    assert found.new_right == found.faces > found.old_right
    assert found.lost == 0
    assert done.is_better
    assert not done.forgets


def test_a_missed_face_is_learned(head: DetectorHead, replay: ReplayCells, tmp_path: Path) -> None:
    weak = write_weak(head, tmp_path / "weak.tflite", replay, scenes_of("face", Label.NOT_FACE, range(40, 70)), 40.0)
    faces = scenes_of("face", Label.NO_MASK, range(30))
    assert sum(bool(load(weak.path).detect(read(each.path))) for each in faces) < 3, "it misses this face"
    done = improved(weak, replay, faces)
    assert done is not None
    assert done.comparison.new_right == done.comparison.faces > done.comparison.old_right
    assert done.is_better


def test_verdicts_that_no_face_is_one_make_it_forget_and_are_refused(
    head: DetectorHead, replay: ReplayCells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(improvement, "STRENGTHS", (100.0,))
    done = improved(head, replay, scenes_of("face", Label.NOT_FACE, range(30)))
    assert done is not None
    assert done.comparison.interval[0] > 0, "it has learned them"
    assert done.forgets
    assert not done.is_better


def test_labels_without_sense_never_give_a_better_detector(head: DetectorHead, replay: ReplayCells) -> None:
    rng = np.random.default_rng(1)
    scenes = [
        scenes_of("face", Label.MASK if rng.random() < 0.5 else Label.NOT_FACE, range(n, n + 1))[0] for n in range(30)
    ]
    done = improved(head, replay, scenes)
    assert done is not None
    assert not done.is_better


def test_a_detector_that_is_right_learns_nothing(head: DetectorHead, replay: ReplayCells) -> None:
    assert improved(head, replay, scenes_of("face", Label.MASK, range(20))) is None


def test_in_video_weak_detections_continue_a_track_with_an_improved_detector_too(
    head: DetectorHead, replay: ReplayCells, tmp_path: Path
) -> None:
    version = write(head, tmp_path / "new.tflite", head.weights, replay)
    assert for_video(DetectorSettings(model=version.path)).score == for_video(DetectorSettings()).score
    own = tmp_path / "own.tflite"
    version.metadata = version.metadata.model_copy(update={"version": "own"})
    version.write(own, version.network_with(version.weights, [replay.guard.windows] * 3))
    assert for_video(DetectorSettings(model=own)).score is None


def test_photos_are_searched_in_several_views_with_an_improved_detector_too(
    head: DetectorHead, replay: ReplayCells, tmp_path: Path
) -> None:
    version = write(head, tmp_path / "new.tflite", head.weights, replay)
    labeler = load_labeler(for_photos(load_settings(None, {"detector": {"model": str(version.path)}})))
    assert isinstance(labeler.detector, MultiViewDetector)
