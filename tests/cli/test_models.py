"""``maskwatch models list``."""

import argparse
import errno
import shutil
import zipfile
from pathlib import Path

import pytest

from app.cli import models
from app.cli.main import main
from app.core import resources
from app.vision.model_versions import ModelVersions


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    parser = argparse.ArgumentParser()
    models.register(parser.add_subparsers())
    args = parser.parse_args(["models", "list", *options])
    assert args.run(args) == 0
    return capsys.readouterr().out


def test_bundled_models_are_listed_with_kind_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys).splitlines()
    kinds = {Path(line.split("  ")[0]).name: line.split("  ")[1] for line in lines}
    assert kinds["face_detector.tflite"].startswith("detector yunet")
    assert kinds["face_detector_float32.tflite"].startswith("detector yunet")
    assert kinds["classifier.tflite"].startswith("classifier")


def test_damaged_model_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "face_detector.tflite").write_bytes(b"half a file")
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    assert "DAMAGED" in listed(capsys)


def test_a_damaged_version_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "events.db"
    versions = ModelVersions(tmp_path / "events.db.models")
    bundled = resources.model("classifier.tflite").read_bytes()
    for fingerprint, content in (("aaa", bundled[:1000]), ("bbb", bundled)):
        versions.add(fingerprint, lambda path, content=content: path.write_bytes(content), "better.")
    lines = {line.split("  ")[0]: line for line in listed(capsys, "--store", str(store)).splitlines()}
    assert "DAMAGED" in lines["aaa"]
    assert lines["bbb"].split("  ")[1] == "classifier"


def test_full_disk_keeps_the_model_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.tflite"
    output.write_bytes(b"the old model")
    model, bundled = tmp_path / "other.tflite", resources.model("classifier.tflite")
    with zipfile.ZipFile(bundled) as metadata:
        model.write_bytes(bundled.read_bytes()[: metadata.infolist()[0].header_offset])

    def full(_: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    arguments = ["models", "convert", str(model), "--labels", "mask,no_mask,incorrect,not_face"]
    assert main([*arguments, "--output", str(output)]) == 2
    assert f"cannot write {output}: No space left on device" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [output, model]
    assert output.read_bytes() == b"the old model"
