"""Classifiers of other programs: what is missing, and a JSON file beside the model that says it."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core import resources
from app.core.errors import ModelError
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision.classifier import LiteRtClassifier, load_classifier
from app.vision.detector_loader import load_detector
from app.vision.model_format import ModelFormat, model_format
from app.vision.model_metadata import read_classifier_metadata

BUNDLED = read_classifier_metadata(resources.model("classifier.tflite"))
LABELS, SIDE_PX = [label.value for label in BUNDLED.labels], BUNDLED.input_px


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bundled network without its metadata, as another program would export it."""
    path = resources.model("classifier.tflite")
    with zipfile.ZipFile(path) as archive:
        start = min(member.header_offset for member in archive.infolist())
    return path.read_bytes()[:start]


def write(folder: Path, plain: bytes, sidecar: str = "", **metadata: Any) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(plain)
    if sidecar:
        (folder / sidecar).write_text(json.dumps({"labels": LABELS, "input_px": SIDE_PX, **metadata}))
    return path


def crops(count: int = 3) -> Any:
    return np.random.default_rng(1).integers(0, 255, (count, SIDE_PX, SIDE_PX, 3), np.uint8)


@pytest.mark.parametrize("sidecar", ["model.tflite.json", "model.json"])
def test_a_json_file_says_what_a_plain_file_does_not(tmp_path: Path, plain: bytes, sidecar: str) -> None:
    bundled = LiteRtClassifier(resources.model("classifier.tflite"))
    path = write(tmp_path, plain, sidecar, temperature=bundled.metadata.temperature)
    classifier = load_classifier(ClassifierSettings(model=path))
    assert (classifier.metadata.name, classifier.metadata.margin) == ("model", 0.0)
    assert (classifier.classify(crops()) == bundled.classify(crops())).all()


def test_channels_and_scaling_are_applied(tmp_path: Path, plain: bytes) -> None:
    """The bundled network scales by itself, so pixels from 0 to 1 look black to it."""
    rgb, bgr, dark = (tmp_path / name for name in ("rgb", "bgr", "dark"))
    for folder in (rgb, bgr, dark):
        folder.mkdir()
    plain_rgb = LiteRtClassifier(write(rgb, plain, "model.json"))
    plain_bgr = LiteRtClassifier(write(bgr, plain, "model.json", channels="bgr"))
    scaled = LiteRtClassifier(write(dark, plain, "model.json", scaling=[0, 1]))
    assert (plain_bgr.classify(np.ascontiguousarray(crops()[..., ::-1])) == plain_rgb.classify(crops())).all()
    black = plain_rgb.classify(np.zeros_like(crops()))
    assert np.allclose(scaled.classify(crops()), black, atol=0.02)
    assert not np.allclose(plain_rgb.classify(crops()), black, atol=0.02)


def test_a_plain_file_names_what_is_missing(tmp_path: Path, plain: bytes) -> None:
    path = write(tmp_path, plain)
    with pytest.raises(
        ModelError, match=r'labels and input size; write them into .*model\.tflite\.json, such as \{"lab'
    ):
        load_classifier(ClassifierSettings(model=path))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"input_px": 96},
            f"takes images of {SIDE_PX}x{SIDE_PX} pixels, but its input_px is 96; write input_px: {SIDE_PX}",
        ),
        ({"labels": ["mask", "no_mask"]}, f"returns {len(LABELS)} values for 2 labels"),
        ({"labels": ["with_mask", "bare", "x"]}, "labels.0: Input should be 'mask'"),
        ({"labels": ["mask", "mask", "no_mask"]}, "at most once"),
        ({"labels": ["mask", "no_mask", "unsure"]}, "at most once"),
        ({"scaling": "0..1"}, "scaling: Input should be"),
        ({"marginn": 0.1}, "marginn: Extra inputs"),
    ],
)
def test_a_json_file_that_does_not_fit_is_reported(
    tmp_path: Path, plain: bytes, metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        load_classifier(ClassifierSettings(model=write(tmp_path, plain, "model.json", **metadata)))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["x", "[1]", '"text"', "7", "\x00"])
def test_a_json_file_that_is_none_is_reported(tmp_path: Path, plain: bytes, text: str) -> None:
    path = write(tmp_path, plain)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_classifier(ClassifierSettings(model=path))


def make_zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def test_the_content_tells_the_format(tmp_path: Path, plain: bytes) -> None:
    (tmp_path / "h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "lite.h5").write_bytes(plain)
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    make_zip(tmp_path / "keras.zip", "config.json", "model.weights.h5")
    make_zip(tmp_path / "torch.pt", "archive/data.pkl")
    found = {path.name: model_format(path) for path in tmp_path.iterdir()}
    assert found == {
        "h5": ModelFormat.HDF5,
        "lite.h5": ModelFormat.LITERT,
        "x.onnx": ModelFormat.ONNX,
        "empty.tflite": ModelFormat.UNKNOWN,
        "folder": ModelFormat.UNKNOWN,
        "saved": ModelFormat.SAVED_MODEL,
        "keras.zip": ModelFormat.KERAS,
        "torch.pt": ModelFormat.PYTORCH,
    }
    for path in tmp_path.iterdir():
        if found[path.name] is not ModelFormat.LITERT:
            with pytest.raises(ModelError, match=found[path.name].value):
                load_classifier(ClassifierSettings(model=path))
        with pytest.raises(ModelError, match=r"not a detector of maskwatch|is not a model of maskwatch"):
            load_detector(DetectorSettings(model=path))
