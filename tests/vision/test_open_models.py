"""The open models: chosen by flag, setting and argument; trained on nothing that is for research only."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app import label_faces, load_settings
from app.cli.main import main
from app.core import resources
from app.core.errors import SettingsError
from app.core.types import Image, Label
from app.settings.vision import ClassifierSettings
from app.training.classifier.head import HeadModel
from app.training.classifier.open_tests import held_out_faces
from app.training.classifier.replay import read_replay
from app.training.data.licences import OPEN_SOURCES
from app.training.data.samples import class_folders
from app.training.data.splits import photograph
from app.vision.classifier import classifier_file, load_classifier
from app.vision.model_metadata import read_classifier_metadata
from app.vision.preprocess import to_crop


@pytest.mark.parametrize(
    ("backend", "name"), [("litert", "classifier.tflite"), ("keras", "classifier.keras"), ("onnx", "classifier.onnx")]
)
def test_the_setting_chooses_the_file_of_the_back_end(backend: str, name: str) -> None:
    settings = ClassifierSettings.model_validate({"backend": backend, "models": "open"})
    assert classifier_file(settings) == resources.model(f"open/{name}")
    assert resources.model(f"open/{name}").is_file()
    assert classifier_file(settings.model_copy(update={"models": "default"})) == resources.model(name)
    own = settings.model_copy(update={"model": Path("own.tflite")})
    assert classifier_file(own) == Path("own.tflite")


def test_a_settings_file_chooses_the_open_models(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[classifier]\nmodels = "open"\n')
    assert load_settings(path).classifier.models == "open"
    path.write_text('[classifier]\nmodels = "free"\n')
    with pytest.raises(SettingsError, match=r"classifier\.models"):
        load_settings(path)


def test_the_open_classifier_learned_from_open_sources_only() -> None:
    for name in ("open/classifier.tflite", "open/classifier.keras"):
        metadata = read_classifier_metadata(resources.model(name))
        assert metadata.name == "maskwatch-open"
        assert metadata.trained_on
        assert set(metadata.trained_on) <= set(OPEN_SOURCES)
    assert not set(read_classifier_metadata(resources.model("classifier.tflite")).trained_on) <= set(OPEN_SOURCES)


def test_both_classifiers_have_the_same_labels_and_input() -> None:
    first, other = (
        read_classifier_metadata(resources.model(name)) for name in ("classifier.tflite", "open/classifier.tflite")
    )
    assert (first.labels, first.input_px, first.margin) == (other.labels, other.input_px, other.margin)


def test_the_open_replay_sample_belongs_to_the_open_classifier() -> None:
    model = HeadModel(resources.model("open/classifier.tflite"))
    assert read_replay(model).fingerprint == model.fingerprint
    assert resources.model("open/replay.npz").stat().st_size < 1e6


def test_label_faces_uses_the_models_of_its_argument(demo_frame: Image) -> None:
    chosen, default = label_faces(demo_frame, models="open"), label_faces(demo_frame)
    assert [face.label.label for face in chosen] == [Label.NO_MASK, Label.MASK]
    assert [face.label.confidence for face in chosen] != [face.label.confidence for face in default]
    by_settings = label_faces(demo_frame, load_settings(None, {"classifier": {"models": "open"}}))
    assert by_settings == chosen


def test_commands_use_the_models_of_the_flag(
    demo_frame: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "faces.png"
    cv2.imwrite(str(image), demo_frame)
    confidences = []
    for models in ("default", "open"):
        table = tmp_path / f"{models}.csv"
        files = ["--table", str(table), "--output", str(tmp_path / models)]
        assert main(["annotate", str(image), "--models", models, *files]) == 0
        confidences.append(table.read_text("utf-8"))
    assert confidences[0] != confidences[1]
    capsys.readouterr()
    config = tmp_path / "settings.toml"
    config.write_text('[classifier]\nmodels = "open"\n')
    main(["models", "list", "--config", str(config)])
    used = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if line.endswith("IN USE")]
    assert used == [str(resources.model(name)) for name in ("face_detector.tflite", "open/classifier.tflite")]


def test_real_faces_are_labelled_by_the_open_classifier(shared_data: Path) -> None:
    """Masked faces of photographs without copies in training, and bare ones of a set that it never saw."""
    classifier = load_classifier(ClassifierSettings(models="open"))
    masked = [
        sample.path
        for sample in class_folders(shared_data / "faces12k" / "Test")
        if sample.label is Label.MASK and photograph(sample.path) == sample.path.name
    ][:60]
    bare = [sample.path for sample in held_out_faces(shared_data)][:60]
    size_px = classifier.metadata.input_px
    for paths, label in ((masked, Label.MASK), (bare, Label.NO_MASK)):
        crops = np.stack([to_crop(cv2.imread(str(path)), size_px) for path in paths])
        rows = classifier.classify(crops)[:, :2]
        assert (rows.argmax(axis=1) == (Label.MASK, Label.NO_MASK).index(label)).mean() > 0.85
