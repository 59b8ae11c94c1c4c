"""Conformance of the back ends: each gives the answers of LiteRT with float32, within the rounding of float32."""

import gc
import os
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from vision.test_detector import demo_frame

from app.cli.main import main
from app.core import resources
from app.core.errors import ModelError
from app.core.types import Box, Detection
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision import backends
from app.vision.backends import SharedNetworks, is_installed
from app.vision.classifier import MaskClassifier, load_classifier
from app.vision.model_metadata import read_classifier_metadata, read_detector_metadata
from app.vision.yunet_detector import YuNetDetector, load_yunet

BOX_PX, SCORE, PROBABILITY = 0.05, 1e-3, 1e-4
"""The tolerance that docs/speed.md states."""


@pytest.fixture(scope="module", params=["openvino", "onnx"])
def backend(request: pytest.FixtureRequest) -> str:
    if not is_installed(request.param):
        pytest.skip(f"maskwatch[{request.param}] is not installed")
    return str(request.param)


def detector(backend: str, threads: int = 1) -> YuNetDetector:
    return load_yunet(DetectorSettings(backend=backend, precision="float32", threads=threads, score=0.4))  # type: ignore[arg-type]


def classifier(backend: str) -> MaskClassifier:
    return load_classifier(ClassifierSettings(backend=backend, threads=1))  # type: ignore[arg-type]


def agree(found: list[Detection], expected: list[Detection]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("x", "y", "width", "height"):
            assert getattr(one.box, name) == pytest.approx(getattr(other.box, name), abs=BOX_PX)
        assert one.score == pytest.approx(other.score, abs=SCORE)
        assert np.ravel(one.landmarks) == pytest.approx(np.ravel(other.landmarks), abs=BOX_PX)


def test_the_same_faces_are_detected(backend: str) -> None:
    """Frames of several sizes, wide ones that are shrunk, padded ones, and parts around tracked faces."""
    expected, found = detector("litert"), detector(backend)
    frame = demo_frame()
    assert len(expected.detect(frame)) >= 2
    for image in (frame, demo_frame(60)[20:461, 31:], cv2.resize(frame, (1277, 720)), frame[100:131, 50:60]):
        agree(found.detect(image), expected.detect(image))  # type: ignore[arg-type]
    tracked = [Box(180, 150, 60, 80)]
    agree(found.detect_tracked(frame, tracked), expected.detect_tracked(frame, tracked))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_faces_get_the_same_probabilities(backend: str, count: int) -> None:
    expected, found = classifier("litert"), classifier(backend)
    assert found.metadata == expected.metadata
    side_px = expected.metadata.input_px // 8
    crops = np.random.default_rng(2).integers(0, 256, (count, side_px, side_px, 3), np.uint8)
    crops = crops.repeat(8, axis=1).repeat(8, axis=2)
    np.testing.assert_allclose(found.classify(crops), expected.classify(crops), atol=PROBABILITY)


def test_threads_share_a_network(backend: str) -> None:
    shared, image = SharedNetworks(), np.ascontiguousarray(demo_frame()[::2, ::2])
    settings = DetectorSettings(backend=backend, threads=1)  # type: ignore[arg-type]
    detectors = [load_yunet(settings, shared) for _ in range(4)]
    assert len({id(each.network) for each in detectors}) == 1
    expected = detectors[0].detect(image)
    assert expected
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(lambda each: each.detect(image), detectors * 2))


def test_a_shared_network_that_nobody_needs_any_more_is_forgotten() -> None:
    shared = SharedNetworks()
    detector = load_yunet(DetectorSettings(), shared)
    network = weakref.ref(detector.network)
    assert load_yunet(DetectorSettings(), shared).network is network()
    del detector
    gc.collect()
    assert network() is None


def test_an_onnx_file_carries_the_metadata_of_the_keras_file() -> None:
    for name, read in (("classifier", read_classifier_metadata), ("face_detector", read_detector_metadata)):
        assert read(resources.model(f"{name}.onnx")) == read(resources.model(f"{name}.keras"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    for backend, package in (("openvino", "openvino"), ("onnx", "onnx"), ("onnx-cuda", "onnx")):
        with pytest.raises(ModelError, match=rf"pip install 'maskwatch\[{package}\]'"):
            detector(backend)
    assert backends.available_backends() == ["litert"]


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    for backend, package in (("openvino", "openvino"), ("onnx-cuda", "onnxruntime")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ModelError, match=f"{package} cannot be loaded: .*; reinstall it"):
            detector(backend)
    assert backends.available_backends() == ["litert", "openvino", "onnx"], "the doctor then tries it and says why"


def test_a_file_or_precision_that_a_backend_cannot_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    onnx, litert = resources.model("classifier.onnx"), resources.model("classifier.tflite")
    for backend, model, advice in (("onnx", litert, "back end litert"), ("litert", onnx, "back end onnx")):
        with pytest.raises(ModelError, match=rf"the back end {backend} cannot run .*; use the {advice}"):
            load_classifier(ClassifierSettings(backend=backend, model=model))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="only LiteRT runs int8: for openvino"):
        load_yunet(DetectorSettings(backend="openvino", precision="int8"))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(onnx.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"damaged\.onnx is not a model of maskwatch"):
        load_classifier(ClassifierSettings(backend="onnx", model=damaged))


@pytest.mark.skipif(not is_installed("onnx"), reason="maskwatch[onnx] is not installed")
def test_an_onnx_model_of_another_program_needs_a_json_file(tmp_path: Path) -> None:
    content = resources.model("classifier.onnx").read_bytes().replace(b"maskwatch.json", b"something.else")
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"write them into .*model\.onnx\.json"):
        load_classifier(ClassifierSettings(backend="auto", model=path))
    path.with_suffix(".json").write_text(
        read_classifier_metadata(resources.model("classifier.keras")).model_dump_json()
    )
    crops = np.random.default_rng(3).integers(0, 256, (2, 80, 80, 3), np.uint8)
    loaded = load_classifier(ClassifierSettings(backend="auto", model=path))
    np.testing.assert_allclose(loaded.classify(crops), classifier("litert").classify(crops), atol=PROBABILITY)
    path.write_bytes(content[:5000])
    with pytest.raises(ModelError, match=r"onnx cannot run .*model\.onnx"):
        load_classifier(ClassifierSettings(backend="onnx", model=path))


@pytest.mark.skipif(not is_installed("onnx"), reason="maskwatch[onnx] is not installed")
def test_a_provider_that_the_installed_package_lacks_is_named() -> None:
    from app.vision.onnx_runtime import PROVIDERS, available_providers

    missing = sorted(set(PROVIDERS) - set(available_providers()))
    assert "onnx" not in missing
    for backend in missing:
        with pytest.raises(ModelError, match=f"has no {PROVIDERS[backend]}"):
            detector(backend)


def test_only_a_keras_file_is_written_as_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.tflite"
    shutil.copy(resources.model("classifier.tflite"), path)
    assert main(["models", "convert", str(path), "--output", str(tmp_path / "x.onnx")]) == 2
    assert "give the .keras file" in capsys.readouterr().err


@pytest.mark.skipif(not is_installed("openvino"), reason="maskwatch[openvino] is not installed")
def test_openvino_sends_no_telemetry(tmp_path: Path) -> None:
    """Its telemetry writes a client id into the home folder when it is imported."""
    code = (
        "import sys, app.vision.openvino_runtime as runtime; runtime.import_openvino().Core(); "
        "print([name for name, module in sys.modules.items() if name.startswith('openvino_telemetry') and module])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
