"""Keras networks written as ONNX give the same answers in ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from app.cli.main import main
from app.core.errors import ModelError
from app.core.types import Label
from app.training.export import write_model
from app.training.networks import ShippedNetwork, build_paper, build_shipped, paper_network
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata

pytest.importorskip("onnx", reason="maskwatch[train] is not installed")
onnx_runtime = pytest.importorskip("onnxruntime", reason="maskwatch[onnx] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with numpy 2


def metadata(input_px: int, labels: int) -> ClassifierMetadata:
    names = (Label.MASK, Label.NO_MASK, Label.INCORRECT)[:labels]
    return ClassifierMetadata(name="test", labels=names, input_px=input_px, margin=0.1)


@pytest.mark.parametrize("name", ["shipped", "model_1", "baseline"])
def test_every_network_of_ours_can_be_written(tmp_path: Path, name: str) -> None:
    model = build_shipped(ShippedNetwork()) if name == "shipped" else build_paper(paper_network(name))
    size_px, labels = model.input_shape[1], model.output_shape[-1]
    random = np.random.default_rng(1)
    for layer in model.layers:  # as after training: no value is 0 or 1
        layer.set_weights(
            [random.uniform(0.1, 0.3, weights.shape) / weights.size**0.3 for weights in layer.get_weights()]
        )
    path, given = tmp_path / "model.onnx", metadata(size_px, labels)
    write_model(model, given, path)
    assert read_classifier_metadata(path) == given
    images = random.uniform(0, 255, (3, size_px, size_px, 3)).astype(np.float32)
    session = onnx_runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert "maskwatch.json" in session.get_modelmeta().custom_metadata_map
    (found,) = session.run(None, {"image": images})
    np.testing.assert_allclose(found, np.asarray(model(images, training=False)), atol=1e-4)


def test_a_layer_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((16, 16, 3))
    for layer in (keras.layers.UpSampling2D(name="odd"), keras.layers.Activation("gelu", name="odd")):
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(layer(inputs)))
        with pytest.raises(ModelError, match=r"layer odd.* cannot be written as ONNX"):
            write_model(model, metadata(16, 3), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_file_of_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.keras"
    write_model(build_shipped(ShippedNetwork()), metadata(64, 3), path)
    assert main(["models", "convert", str(path), "--output", str(tmp_path / "own.onnx")]) == 0
    assert "use it with the back end onnx" in capsys.readouterr().out
    assert read_classifier_metadata(tmp_path / "own.onnx") == metadata(64, 3)
