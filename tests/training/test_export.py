"""Exported files give the predictions of the trained network on every runtime."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.cli.main import main
from app.core.errors import ModelError, OutputError
from app.core.resources import model as bundled
from app.core.types import Label
from app.settings.vision import ClassifierSettings
from app.training.export import export_classifier, write_model
from app.training.networks import ShippedNetwork, build_paper, build_shipped, paper_network
from app.vision.backends import is_installed
from app.vision.classifier import KerasClassifier, LiteRtClassifier, load_classifier
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata, write_metadata

# Keras causes a deprecation warning of numpy 2 when it saves TensorFlow's arrays; we cannot change that.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

METADATA = ClassifierMetadata(
    name="test", labels=(Label.MASK, Label.NO_MASK, Label.INCORRECT), input_px=64, margin=0.1, temperature=1.3
)


def crops(size_px: int, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (count, size_px // 8, size_px // 8, 3), np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def agree(stem: Path) -> None:
    keras_file, litert = KerasClassifier(stem.with_suffix(".keras")), LiteRtClassifier(stem.with_suffix(".tflite"))
    assert keras_file.metadata == litert.metadata
    shown = crops(litert.metadata.input_px)
    np.testing.assert_allclose(keras_file.classify(shown), litert.classify(shown), atol=1e-4)


def test_an_export_has_its_metadata_and_equal_predictions(tmp_path: Path) -> None:
    files = export_classifier(build_shipped(ShippedNetwork()), METADATA, tmp_path / "new" / "classifier")
    assert [read_classifier_metadata(path) for path in files] == [METADATA, METADATA]
    agree(tmp_path / "new" / "classifier")
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["classifier.keras", "classifier.tflite"]


def test_int8_is_smaller_and_close(tmp_path: Path) -> None:
    model = build_paper(paper_network("model_6"))
    metadata = METADATA.model_copy(update={"labels": METADATA.labels[:2], "input_px": 128})
    shown = crops(128)
    export_classifier(model, metadata, tmp_path / "float")
    write_model(model, metadata, tmp_path / "int8.tflite", shown)
    assert (tmp_path / "int8.tflite").stat().st_size < 0.5 * (tmp_path / "float.tflite").stat().st_size
    exact, near = (LiteRtClassifier(tmp_path / name).classify(shown) for name in ("float.tflite", "int8.tflite"))
    assert np.abs(exact - near).max() < 0.1


def test_a_classifier_with_the_output_not_face_runs_in_every_format(tmp_path: Path) -> None:
    metadata = METADATA.model_copy(update={"labels": (*METADATA.labels, Label.NOT_FACE)})
    model = build_shipped(ShippedNetwork(classes=4))
    export_classifier(model, metadata, tmp_path / "float")
    agree(tmp_path / "float")
    write_model(model, metadata, tmp_path / "int8.tflite", crops(64))
    exact, near = (LiteRtClassifier(tmp_path / name).classify(crops(64)) for name in ("float.tflite", "int8.tflite"))
    assert exact.shape == (5, 4)
    assert np.abs(exact - near).max() < 0.1
    write_model(model, METADATA, tmp_path / "three.tflite")
    with pytest.raises(ModelError, match="4 values for 3 labels"):
        LiteRtClassifier(tmp_path / "three.tflite")


def test_metadata_is_not_written_twice(tmp_path: Path) -> None:
    keras_path, _ = export_classifier(build_shipped(ShippedNetwork()), METADATA, tmp_path / "classifier")
    with pytest.raises(ModelError, match="export the model again"):
        write_metadata(keras_path, METADATA)


def test_an_unwritable_path_raises_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another path"):
        export_classifier(build_shipped(ShippedNetwork()), METADATA, tmp_path / "file" / "classifier")


@pytest.mark.parametrize("name", ["classifier", "paper/model_6"])
def test_the_bundled_files_agree_on_both_runtimes(name: str) -> None:
    agree(bundled(name))


def test_the_bundled_classifier_is_small_and_knows_what_is_no_face() -> None:
    path = bundled("classifier.tflite")
    assert path.stat().st_size <= 1_000_000
    metadata = read_classifier_metadata(path)
    assert metadata.labels == (Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.NOT_FACE)
    assert metadata.candidate_score is not None


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network as another program would save it: ``network.h5``, ``saved`` (SavedModel) and
    ``expected.npy``, its probabilities for ``crops(32)`` scaled to [-1, 1], labels no_mask and mask."""
    from app.vision.tensorflow_import import import_tensorflow

    import_tensorflow()
    import h5py
    import keras

    folder = tmp_path_factory.mktemp("foreign")
    layers = [keras.layers.DepthwiseConv2D(3, strides=2), keras.layers.Flatten(), keras.layers.Dense(2)]
    network = keras.Sequential([keras.Input((32, 32, 3)), *layers, keras.layers.Softmax()])
    network.save(folder / "network.h5")
    with h5py.File(folder / "network.h5", "r+") as file:  # as Keras 2 wrote it
        config = file.attrs["model_config"]
        file.attrs["model_config"] = config.replace('"depth_multiplier": 1', '"groups": 1, "depth_multiplier": 1')
        assert "groups" in file.attrs["model_config"]
    network.export(folder / "saved", verbose=False)
    np.save(folder / "expected.npy", network(crops(32) / np.float32(127.5) - 1).numpy())
    return folder


@pytest.mark.parametrize("name", ["network.h5", "saved"])
def test_a_model_of_another_program_is_converted(foreign: Path, name: str, tmp_path: Path) -> None:
    output = tmp_path / "out.tflite"
    command = ["models", "convert", str(foreign / name), "--output", str(output)]
    assert main([*command, "--labels", "no_mask,mask", "--scaling", "-1", "1"]) == 0
    classifier = load_classifier(ClassifierSettings(model=output))
    assert classifier.metadata.labels == (Label.NO_MASK, Label.MASK)
    np.testing.assert_allclose(classifier.classify(crops(32)), np.load(foreign / "expected.npy"), atol=1e-4)


def test_a_keras_2_file_runs_with_its_json_file(foreign: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.h5"
    path.write_bytes((foreign / "network.h5").read_bytes())
    (tmp_path / "network.json").write_text('{"labels": ["no_mask", "mask"], "input_px": 32, "scaling": [-1, 1]}')
    classifier = load_classifier(ClassifierSettings(model=path, backend="keras"))
    np.testing.assert_allclose(classifier.classify(crops(32)), np.load(foreign / "expected.npy"), atol=1e-4)
    with pytest.raises(ModelError, match=r"Keras 2 model\); convert it once: maskwatch models convert"):
        load_classifier(ClassifierSettings(model=path))


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
@pytest.mark.parametrize("is_quantized", [False, True])
def test_outputs_of_one_value_and_of_logits(tmp_path: Path, is_quantized: bool) -> None:
    """One value is the second label's; integer inputs and outputs are quantized as the file says; a file for one
    image also labels several."""
    from app.vision.tensorflow_import import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32)])
    def network(images: object) -> object:
        return tf.reshape(tf.reduce_sum(tf.reduce_mean(images, (1, 2)), axis=1), (1, 1))

    module = tf.Module()
    module.network = network
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], module)
    shown = np.stack([np.full((16, 16, 3), grey, np.uint8) for grey in (0, 100, 255)])
    if is_quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None] / np.float32(127.5) - 1] for image in shown)
        converter.inference_input_type, converter.inference_output_type = tf.int8, tf.uint8
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    metadata = {"labels": ["mask", "no_mask"], "input_px": 16, "scaling": [-1, 1], "outputs": "logits"}
    (tmp_path / "model.json").write_text(json.dumps(metadata))
    logits = 3 * (np.array([0, 100, 255]) / 127.5 - 1)
    expected = 1 / (1 + np.exp(-logits))
    for backend in ("litert", "openvino") if is_installed("openvino") else ("litert",):
        classifier = load_classifier(ClassifierSettings(model=tmp_path / "model.tflite", backend=backend))
        np.testing.assert_allclose(classifier.classify(shown)[:, 1], expected, atol=0.02)
        np.testing.assert_allclose(classifier.classify(shown).sum(axis=1), 1, atol=1e-6)
    metadata["outputs"] = "probabilities"
    (tmp_path / "model.json").write_text(json.dumps(metadata))
    classifier = load_classifier(ClassifierSettings(model=tmp_path / "model.tflite"))
    np.testing.assert_allclose(classifier.classify(shown)[:, 1], logits, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "yes,no"], "--labels: Input should be 'mask'"),
        (["--labels", "mask,no_mask", "--output", "x.h5"], "another name that ends in .tflite"),
        ([], "write them into"),
    ],
)
def test_a_conversion_that_cannot_work_is_refused(
    foreign: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "convert", str(foreign / "network.h5"), *options]) == 2
    assert message in capsys.readouterr().err
