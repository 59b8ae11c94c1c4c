"""YuNet through OpenCV, with the files that a user would bring."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.domain import Image
from app.errors import ModelError
from app.vision.detect import load_detector
from app.vision.fetch import YUNET
from app.vision.settings import DetectorSettings
from app.vision.yunet import YuNetDetector, load_yunet

FILES = ("yunet_n_320_320.onnx", "face_detection_yunet_2023mar.onnx")


@pytest.fixture(scope="module", params=FILES)
def model(shared_data: Path, request: pytest.FixtureRequest) -> Path:
    return shared_data / "models" / str(request.param)


@pytest.fixture(scope="module")
def scene(shared_data: Path) -> Image:
    image = cv2.imread(str(shared_data / "frames" / "train" / "ilc2021_00001.jpg"))
    assert image is not None
    return image  # type: ignore[return-value]


def test_faces_are_found_with_their_points(model: Path, scene: Image) -> None:
    found = YuNetDetector(model).detect(scene)
    assert found
    for one in found:
        assert 0.6 <= one.score <= 1
        assert len(one.landmarks) == 5


def test_a_frame_twice_the_size_gives_the_same_faces(model: Path, scene: Image) -> None:
    detector = YuNetDetector(model, working_width_px=scene.shape[1])
    small = detector.detect(scene)
    large = cv2.resize(scene, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found = detector.detect(large)  # type: ignore[arg-type]
    for one in small:
        if one.score > 0.8:
            assert max(one.box.scaled(2).iou(other.box) for other in found) > 0.8


@pytest.mark.parametrize("shape", [(64, 64), (31, 33), (375, 500), (500, 90)])
def test_frames_of_any_size_without_a_face_give_nothing(model: Path, shape: tuple[int, int]) -> None:
    assert YuNetDetector(model).detect(np.full((*shape, 3), 90, np.uint8)) == []


def test_small_faces_can_be_left_out(model: Path, scene: Image) -> None:
    every = YuNetDetector(model, score=0.3, min_face_px=1).detect(scene)
    limit = sorted(one.box.size for one in every)[-1]
    large = YuNetDetector(model, score=0.3, min_face_px=int(limit)).detect(scene)
    assert 0 < len(large) == sum(one.box.size >= int(limit) for one in every)


def test_the_fetched_file_is_used_where_none_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.vision.yunet.model_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="models fetch yunet"):
        load_detector(DetectorSettings(kind="yunet"))
    (tmp_path / YUNET.file_name).write_bytes(model.read_bytes())
    assert load_detector(DetectorSettings(kind="yunet")).detect(np.zeros((64, 64, 3), np.uint8)) == []


def test_missing_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="models fetch yunet"):
        YuNetDetector(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ModelError, match="no usable YuNet file"):
        YuNetDetector(broken)


def test_settings_must_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--detector-model"):
        load_yunet(DetectorSettings(kind="yunet"))
    with pytest.raises(ModelError, match="no YuNet file"):
        load_yunet(DetectorSettings(kind="yunet", model=tmp_path / "none.onnx"))
