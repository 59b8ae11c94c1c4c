"""Exported files give the predictions of the trained network on every runtime."""

from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelError, OutputError
from app.core.resources import model as bundled
from app.core.types import Label
from app.training.export import export_classifier, write_model
from app.training.networks import ShippedNetwork, build_paper, build_shipped, paper_network
from app.vision.classifier import KerasClassifier, LiteRtClassifier
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
    with pytest.raises(ModelError, match="4 values for 3 labels"):
        write_model(model, METADATA, tmp_path / "three.tflite")
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


def test_the_bundled_classifier_is_small_and_has_three_labels() -> None:
    path = bundled("classifier.tflite")
    assert path.stat().st_size <= 1_000_000
    assert read_classifier_metadata(path).labels == (Label.MASK, Label.NO_MASK, Label.INCORRECT)
