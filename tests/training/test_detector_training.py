"""Assignment, losses, network and training loop of the detector, on small images."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs the extra 'train'")

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.data.images import ImageCache
from app.training.detector.augmentation import DetectorAugmentation, Sampler, TrainingView
from app.training.detector.loss import assign, box_loss, cell_grid, decode_boxes, detector_loss, flatten_levels, overlap
from app.training.detector.network import HEADS, DetectorShape, build_detector, load_detector_network, load_onnx
from app.training.detector.training import DETECTOR_RECIPE, MOST_FACES, DetectorTask, open_network, to_batch
from app.training.export import export_detector
from app.training.trainer import CHECKPOINT, Fitted, Trainer
from app.training.types import Recipe, Scene, SceneFace
from app.vision import yunet_detector
from app.vision.model_metadata import DetectorMetadata

# Keras causes a deprecation warning of numpy 2 when it saves TensorFlow's arrays; we cannot change that.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TINY = DetectorShape(stem=8, width=8)
METADATA = DetectorMetadata(name="test", strides=(8, 16, 32), score=0.3)
GRID = cell_grid(64, 64)


def maps(seed: int = 0, size: int = 64) -> list[np.ndarray]:
    """Random network outputs: the maps of ``HEADS`` for each stride."""
    rng = np.random.default_rng(seed)
    sides = [size // stride for stride in (8, 16, 32)]
    return [
        rng.normal(0, 0.5, (1, side, side, channels)).astype(np.float32)
        for side in sides
        for channels in HEADS.values()
    ]


def decoded(given: list[np.ndarray], score: float) -> np.ndarray:
    """(N, 15) float32 as the running detector decodes them, all strides."""
    rows = [
        yunet_detector.decode_level([level[0] for level in given[4 * i : 4 * i + 4]], stride, score)
        for i, stride in enumerate((8, 16, 32))
    ]
    return np.concatenate(rows)


def test_the_grid_has_every_cell_of_every_stride() -> None:
    grid = cell_grid(64, 32)
    assert grid.strides.tolist() == [8.0] * 32 + [16.0] * 8 + [32.0] * 2
    assert grid.centers[0].tolist() == [4, 4]
    assert grid.centers[9].tolist() == [12, 12]
    assert grid.centers[-1].tolist() == [48, 16]


def test_training_and_inference_decode_alike() -> None:
    raw = np.asarray(flatten_levels(maps()))
    boxes = np.asarray(decode_boxes(raw, GRID))[0]
    rows = decoded(maps(), 0.0)
    assert rows[:, 0] == pytest.approx(1 / (1 + np.exp(-raw[0, :, 0])), abs=1e-5)
    points = np.tile(GRID.centers, 5) + raw[0, :, 5:] * GRID.strides[:, None]
    assert rows[:, 5:] == pytest.approx(points, abs=1e-3)
    assert rows[:, 1:3] == pytest.approx(boxes[:, :2], abs=1e-3)
    assert rows[:, 1:3] + rows[:, 3:5] == pytest.approx(boxes[:, 2:], abs=1e-3)


def test_overlap_and_box_loss_of_simple_boxes() -> None:
    one = np.array([[0, 0, 10, 10.0]], np.float32)
    assert np.asarray(overlap(one, one)) == pytest.approx(1, abs=1e-4)
    assert np.asarray(box_loss(one, one, overlap(one, one))) == pytest.approx(0, abs=1e-4)
    beside = np.array([[10, 0, 20, 10.0]], np.float32)
    # hull 20x10, centres 10 apart: 1 + 100 / 500; the sides are alike
    assert np.asarray(box_loss(one, beside, overlap(one, beside))) == pytest.approx(1.2, abs=1e-4)


def test_cells_are_assigned_to_faces_they_fit() -> None:
    truths = np.zeros((1, 3, 4), np.float32)
    truths[0, 0] = 4, 4, 20, 20
    truths[0, 1] = 30, 30, 62, 62
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (1, len(GRID.strides), 1))
    at_first = np.flatnonzero((np.abs(GRID.centers - 12) < 1).all(axis=1) & (GRID.strides == 8))
    at_second = np.flatnonzero((np.abs(GRID.centers - 44) < 1).all(axis=1) & (GRID.strides == 8))
    boxes[0, at_first], boxes[0, at_second] = truths[0, 0], truths[0, 1]
    chosen, which = (np.asarray(x)[0] for x in assign(np.zeros((1, len(boxes[0])), np.float32), boxes, truths, GRID))
    assert chosen.sum() == 2
    assert which[at_first].tolist() == [0]
    assert which[at_second].tolist() == [1]
    assert chosen[at_first].all()
    assert chosen[at_second].all()


def test_every_face_gets_a_cell_even_with_bad_boxes() -> None:
    truths = np.zeros((1, 4, 4), np.float32)
    truths[0, :3] = [[1, 1, 7, 8], [20, 20, 60, 60], [40, 2, 52, 14]]
    raw = flatten_levels(maps(3))
    chosen, which = assign(raw[..., 0], decode_boxes(raw, GRID), truths, GRID)
    assert set(np.asarray(which)[0][np.asarray(chosen)[0]].tolist()) == {0, 1, 2}


def test_empty_images_give_finite_losses_and_ignored_cells_no_loss() -> None:
    raw = maps(1)
    truths, points = np.zeros((1, 4, 4), np.float32), np.full((1, 4, 10), np.nan, np.float32)
    cells = len(GRID.strides)
    score_loss, box, known = detector_loss(raw, truths, points, np.zeros((1, cells), bool), GRID)
    assert float(score_loss) > 0
    assert float(box) == float(known) == 0
    ignored, *_ = detector_loss(raw, truths, points, np.ones((1, cells), bool), GRID)
    assert float(ignored) == 0


def test_batches_are_padded_and_excess_faces_become_neutral() -> None:
    faces = np.full((MOST_FACES + 2, 14), np.nan, np.float32)
    faces[:, :4] = [0, 0, 20, 20]
    faces[:2, :4] = [48, 48, 56, 56]  # the smallest
    view = TrainingView(np.zeros((64, 64, 3), np.uint8), faces, np.array([[0, 0, 3, 3]], np.float32))
    empty = TrainingView(view.image, faces[:0], np.empty((0, 4), np.float32))
    batch = to_batch([view, empty], GRID)
    assert batch.truths.shape == (2, MOST_FACES, 4)
    assert (batch.truths[0] == [0, 0, 20, 20]).all()
    ignored = GRID.centers[batch.ignored[0]]
    assert sorted(map(tuple, ignored[GRID.strides[batch.ignored[0]] == 8].tolist())) == [(4, 4), (52, 52)]
    assert not batch.ignored[1].any()
    assert not batch.truths[1].any()


def test_the_published_shape_is_small_and_has_four_maps_for_each_of_three_strides() -> None:
    model = build_detector()
    assert model.count_params() == 73_840
    outputs = [tuple(x.shape) for x in model(np.zeros((1, 64, 96, 3), np.float32))]
    assert outputs == [(1, 64 // s, 96 // s, channels) for s in (8, 16, 32) for channels in (1, 1, 4, 10)]


def test_extra_blocks_start_as_the_identity() -> None:
    plain, deeper = build_detector(TINY), build_detector(replace(TINY, extra_blocks=(1, 2, 1)))
    for layer in plain.layers:
        deeper.get_layer(layer.name).set_weights(layer.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    for one, other in zip(plain(image), deeper(image), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("shape", [(64, 96), (160, 128)])
def test_published_weights_give_what_opencv_computes(shared_data: Path, shape: tuple[int, int]) -> None:
    file = shared_data / "models" / "yunet_n_320_320.onnx"
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    net = cv2.dnn.readNetFromONNX(str(file))
    net.setInput(cv2.dnn.blobFromImage(image))
    names = [f"{head}_{stride}" for stride in (8, 16, 32) for head in HEADS]
    ours = load_onnx(file)(image[None].astype(np.float32))
    for name, one, reference in zip(names, ours, net.forward(names), strict=True):
        given = np.asarray(one).reshape(-1, one.shape[-1])
        if name[:3] in ("cls", "obj"):
            given = 1 / (1 + np.exp(-given))
        assert given == pytest.approx(reference.reshape(given.shape), abs=1e-4)


def test_files_without_an_initial_network_raise_an_error(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b"no network"), ("a.keras", b"no network"), ("a.npz", b"no network")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            open_network(tmp_path / name)


def predictions_of(detector: yunet_detector.YuNetDetector, image: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """(N, 15) float32 of all cells, finest grid first."""
    return np.asarray(detector.run_pass(image))


def expected_of(network: Any, image: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return decoded([np.asarray(one) for one in network(image[None].astype(np.float32), training=False)], 0.0)


def test_the_exports_give_the_networks_predictions(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    model = build_detector(TINY)
    images = [np.random.default_rng(i).integers(0, 255, (64, 96 - 9 * i, 3), np.uint8) for i in range(4)]
    keras_path, int8_path, float_path = export_detector(model, METADATA, tmp_path / "face_detector", images)
    exact, whole = (yunet_detector.YuNetDetector(path, score=0.0, threads=1) for path in (float_path, int8_path))
    assert exact.metadata == whole.metadata == METADATA
    wanted = expected_of(load_detector_network(keras_path), images[0])
    assert predictions_of(exact, images[0]) == pytest.approx(wanted, rel=1e-3, abs=1e-3)
    near = predictions_of(whole, images[0])
    assert near.shape == wanted.shape
    assert np.abs(near[:, 1:3] - wanted[:, 1:3]).mean() < 2


@pytest.fixture
def sampler(tmp_path: Path) -> Sampler:
    scenes = []
    for i in range(4):
        image = np.full((64, 64, 3), 40 * i, np.uint8)
        cv2.circle(image, (30, 30), 14, (200, 220, 255), -1)
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), image)
        scenes.append(Scene(path, "", (SceneFace(Box(16, 16, 28, 28), Label.MASK),)))
    return Sampler(scenes, [], ImageCache(), DetectorAugmentation())


RECIPE = replace(DETECTOR_RECIPE, epochs=2, batch=2, evaluate_every=2)


def task_of(sampler: Sampler, sizes_px: tuple[int, ...] = (64,), **settings: Any) -> DetectorTask:
    recipe = replace(RECIPE, **settings)
    return DetectorTask(build_detector(TINY), recipe, sampler, sampler, lambda _: {"ap": 0.5}, sizes_px)


def train(folder: Path, task: DetectorTask, recipe: Recipe, budget_s: float = math.inf) -> Fitted:
    folder.mkdir(exist_ok=True)
    return Trainer(task, recipe, folder, budget_s=budget_s).run()


def test_sizes_alternate_and_batches_repeat_for_a_seed(sampler: Sampler) -> None:
    task = task_of(sampler, (64, 96))
    first, again = (list(task.batches(3, 0.0)) for _ in range(2))
    assert [batch.images.shape for batch in first] == [(2, 64, 64, 3), (2, 96, 96, 3)]
    assert all(np.array_equal(a.images, b.images) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].images, next(task.batches(4, 0.0)).images)


def test_the_last_tenth_has_fewer_mosaics(sampler: Sampler) -> None:
    calm = replace(sampler, mix=DetectorAugmentation(mosaic=0.0))
    task = DetectorTask(build_detector(TINY), RECIPE, sampler, calm, lambda _: {}, (64,))
    usual = task_of(sampler)
    assert np.array_equal(next(task.batches(0, 0.89)).images, next(usual.batches(0, 0.89)).images)
    assert not np.array_equal(next(task.batches(0, 0.9)).images, next(usual.batches(0, 0.9)).images)


def test_an_interrupted_run_resumes(tmp_path: Path, sampler: Sampler) -> None:
    halted = train(tmp_path, task_of(sampler), replace(RECIPE, epochs=1000), budget_s=1e-6)
    assert [record.epoch for record in halted.history] == [0]
    fitted = train(tmp_path, task_of(sampler), RECIPE)
    assert fitted.history[0] == halted.history[0]
    assert [record.epoch for record in fitted.history] == [0, 1]
    assert fitted.history[1].development == {"loss": 0.5, "ap": 0.5}
    assert np.isfinite(list(fitted.history[1].training.values())).all()
    kept = json.loads((tmp_path / "history.json").read_text("utf-8"))
    assert [entry["epoch"] for entry in kept] == [0, 1]
    with pytest.raises(DataError, match=r"checkpoint\.npz has no weights of a detector"):  # the network is smaller
        open_network(tmp_path / CHECKPOINT)


def test_the_best_weights_on_the_development_split_are_kept(tmp_path: Path, sampler: Sampler) -> None:
    seen: list[list[np.ndarray]] = []
    scores = iter((0.3, 0.6, 0.5))

    def judge(model: Any) -> dict[str, float]:
        seen.append(model.get_weights())
        return {"ap": next(scores)}

    recipe = replace(RECIPE, epochs=5)
    model = build_detector()
    fitted = train(tmp_path, DetectorTask(model, recipe, sampler, sampler, judge, (64,)), recipe)
    found = [record.development.get("ap") for record in fitted.history]
    assert found == [None, 0.3, None, 0.6, 0.5]  # the last epoch is evaluated too
    restored = open_network(tmp_path / CHECKPOINT)  # another run can begin with them
    for best, result, kept in zip(seen[1], model.get_weights(), restored.get_weights(), strict=True):
        np.testing.assert_array_equal(best, result)
        np.testing.assert_array_equal(best, kept)
    assert any(not np.array_equal(best, last) for best, last in zip(seen[1], seen[2], strict=True))


def test_minimising_the_loss_finds_the_faces() -> None:
    import keras
    import tensorflow as tf

    truths, points = np.zeros((1, 2, 4), np.float32), np.full((1, 2, 10), np.nan, np.float32)
    truths[0] = [[5, 6, 25, 30], [30, 20, 62, 60]]
    points[0, 1] = [40, 32, 52, 32, 46, 40, 41, 48, 51, 48]
    raw = [tf.Variable(level) for level in maps(2)]
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(raw)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            losses = detector_loss(raw, truths, points, np.zeros((1, len(GRID.strides)), bool), GRID)
            total = tf.add_n(losses)
        optimizer.apply(tape.gradient(total, raw), raw)

    for _ in range(150):
        step()
    found = yunet_detector.non_max_suppression(decoded([x.numpy() for x in raw], 0.5), 0.4)
    found = found[np.argsort(found[:, 1])]
    assert found[:, 1:3] == pytest.approx(truths[0, :, :2], abs=1)
    assert found[:, 1:3] + found[:, 3:5] == pytest.approx(truths[0, :, 2:], abs=1)
    assert found[1, 5:] == pytest.approx(points[0, 1], abs=1)


def test_the_shipped_files_are_one_network() -> None:
    from app.core import resources
    from app.vision.model_metadata import read_detector_metadata

    names = ("face_detector.keras", "face_detector.tflite", "face_detector_float32.tflite")
    keras_path, int8_path, float_path = map(resources.model, names)
    assert read_detector_metadata(keras_path) == read_detector_metadata(int8_path) == read_detector_metadata(float_path)
    network = load_detector_network(keras_path)
    assert network.count_params() < 250_000
    image = cv2.resize(cv2.imread(str(resources.asset("self_test.jpg"))), (320, 256))
    wanted = expected_of(network, image)
    exact, whole = (
        predictions_of(yunet_detector.YuNetDetector(path, score=0.0), image) for path in (float_path, int8_path)
    )
    assert exact == pytest.approx(wanted, rel=1e-2, abs=1e-2)
    faces = wanted[:, 0] > 0.5
    assert faces.any()
    assert np.abs(whole[faces, :5] - wanted[faces, :5]).mean(axis=0) == pytest.approx(0, abs=1.5)
