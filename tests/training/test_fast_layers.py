"""Fast training layers against Keras' own: equal results, and checkpoints that can be loaded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.training.networks import PaperNetwork, build_paper, paper_network
from app.training.types import KerasModel

keras = pytest.importorskip("keras")

# Keras causes a deprecation warning of numpy 2 when it saves TensorFlow's arrays; we cannot change that.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = PaperNetwork("small", input_px=33, kernels_px=(3, 3), filters=(8, 4), dropout=0.0)


def trained_once(model: KerasModel, weights: list[np.ndarray] | None = None) -> list[np.ndarray]:
    if weights is not None:
        model.set_weights(weights)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(), jit_compile=False)
    rng = np.random.default_rng(3)
    crops = rng.integers(0, 256, (8, 33, 33, 3), np.uint8)
    model.train_on_batch(crops, np.eye(2, dtype=np.float32)[rng.integers(0, 2, 8)])
    after: list[np.ndarray] = model.get_weights()
    return after


@pytest.mark.parametrize(
    "network", [SMALL, replace(SMALL, grey=True), replace(SMALL, batch_norm=False), replace(SMALL, kernels_px=(5, 3))]
)
def test_a_step_changes_every_weight_as_keras_own_layers_do(network: PaperNetwork) -> None:
    keras.utils.set_random_seed(1)
    plain, fast = build_paper(network), build_paper(network, for_training=True)
    before = plain.get_weights()
    expected, got = trained_once(plain), trained_once(fast, before)
    assert [weight.shape for weight in expected] == [weight.shape for weight in got]
    assert any(not np.allclose(old, new) for old, new in zip(before, expected, strict=True))
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_both_give_equal_predictions() -> None:
    network = replace(SMALL, dropout=0.3)
    plain, fast = build_paper(network), build_paper(network, for_training=True)
    plain.set_weights(trained_once(fast))
    crops = np.random.default_rng(5).integers(0, 256, (4, 33, 33, 3)).astype(np.float32)
    np.testing.assert_allclose(plain(crops, training=False), fast(crops, training=False), atol=1e-6)


def test_dropout_drops_its_rate_and_keeps_the_mean() -> None:
    from app.training.fast_layers import fast_layers

    layer = fast_layers().Dropout(0.3, seed=7)
    kept = np.asarray(layer(np.ones((3, 101, 67), np.float32), training=True))
    assert abs((kept == 0).mean() - 0.3) < 0.01
    assert abs(kept.mean() - 1) < 0.02
    assert not np.array_equal(kept, np.asarray(layer(np.ones((3, 101, 67), np.float32), training=True)))
    assert np.array_equal(np.asarray(layer(np.ones((2, 3), np.float32), training=False)), np.ones((2, 3)))


def test_a_checkpoint_is_loaded_with_its_optimizer(tmp_path: Path) -> None:
    fast = build_paper(replace(paper_network("model_6"), input_px=32), for_training=True)
    fast.compile(keras.optimizers.Adam(0.01), keras.losses.CategoricalCrossentropy())
    crops = np.zeros((2, 32, 32, 3), np.float32)
    fast.train_on_batch(crops, np.eye(2, dtype=np.float32))
    fast.save(tmp_path / "last.keras")
    kept = keras.saving.load_model(tmp_path / "last.keras")
    assert int(kept.optimizer.iterations) == 1
    np.testing.assert_allclose(kept(crops), fast(crops), atol=1e-6)
