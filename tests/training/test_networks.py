"""The study's seven networks and the shipped one: shapes, sizes, and the order of pooling and ReLU."""

from dataclasses import replace

import numpy as np
import pytest

from app.core.errors import DataError
from app.training.export import litert_bytes
from app.training.networks import (
    LARGE_NETWORK,
    PAPER_NETWORKS,
    ShippedNetwork,
    build_paper,
    build_shipped,
    built,
    paper_network,
    shipped_network_of,
)


@pytest.mark.parametrize("network", PAPER_NETWORKS, ids=lambda network: network.name)
def test_each_network_of_the_study_gives_probabilities(network) -> None:  # type: ignore[no-untyped-def]
    model = build_paper(network)
    crops = np.random.default_rng(0).integers(0, 256, (2, network.input_px, network.input_px, 3), np.uint8)
    answers = np.asarray(model(crops.astype(np.float32), training=False))
    assert answers.shape == (2, 2)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    names = [type(layer).__name__ for layer in model.layers]
    assert names.count("MaxPooling2D") == len(network.filters)
    assert ("BatchNormalization" in names) == network.batch_norm


def test_model_6_has_the_number_of_weights_of_its_description() -> None:
    conv = (3 * 9 + 1) * 64 + (64 * 9 + 1) * 32 + (32 * 9 + 1) * 16
    dense = 14 * 14 * 16 * 2 + 2  # 128 -> 63 -> 30 -> 14 with 'valid' convolutions and halving
    norm = 4 * (64 + 32 + 16)
    assert build_paper(paper_network("model_6")).count_params() == conv + dense + norm


def test_grey_networks_ignore_colour() -> None:
    model = build_paper(paper_network("model_1"))
    grey = np.full((1, 128, 128, 3), 100, np.float32)
    coloured = grey + np.array([30, 0, -30 * 0.299 / 0.114], np.float32)
    np.testing.assert_allclose(np.asarray(model(grey)), np.asarray(model(coloured)), atol=1e-5)


def test_pooling_and_relu_commute() -> None:
    import keras

    maps = np.random.default_rng(0).normal(size=(1, 9, 9, 4)).astype(np.float32)
    pool, relu = keras.layers.MaxPooling2D(), keras.layers.ReLU()
    assert np.array_equal(np.asarray(pool(relu(maps))), np.asarray(relu(pool(maps))))


def test_an_unknown_network_lists_the_choices() -> None:
    with pytest.raises(DataError, match="baseline, model_1"):
        paper_network("model_9")


def test_the_shipped_network_is_smaller_than_a_megabyte() -> None:
    model = build_shipped(ShippedNetwork())
    assert model.output_shape == (None, 3)
    assert len(litert_bytes(model)) <= 1_000_000


def test_the_large_network_has_the_size_of_its_description() -> None:
    model = build_shipped(replace(LARGE_NETWORK, classes=4))
    trainable = sum(int(np.prod(weights.shape)) for weights in model.trainable_weights)
    assert 355_000 < trainable < 365_000
    assert model.get_weights()[-1].shape == (4,)


def test_the_parameters_of_a_network_are_read_from_it() -> None:
    network = ShippedNetwork(input_px=48, widths=(4, 6, 8, 10), bottleneck=5, classes=4)
    assert shipped_network_of(build_shipped(network)) == network
    assert shipped_network_of(build_paper(paper_network("model_6"))) is None


def test_the_global_policy_is_restored_after_building() -> None:
    import keras

    before = keras.config.dtype_policy().name
    model = built(lambda: build_shipped(ShippedNetwork()), "mixed_bfloat16")
    assert model.layers[2].compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == before
