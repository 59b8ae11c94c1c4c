"""Two OpenCV packages, and what is left after one of them was removed."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from app.capture.opencv_packages import missing_library_advice, opencv_packages, opencv_state, repair_advice

ROOT = Path(__file__).resolve().parents[2]


def add_package(folder: Path, name: str, version: str) -> None:
    """Package metadata as pip leaves it in ``folder``."""
    information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The program with the packages in ``folder`` before the installed ones."""
    path = os.pathsep.join((str(folder), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-m", "app", *command], env=environment, capture_output=True, text=True, timeout=60
    )


def test_one_package_is_no_fault() -> None:
    assert list(opencv_packages()) == ["opencv-python"]
    assert opencv_state().version == cv2.__version__
    assert opencv_state().fault == ""


@pytest.mark.parametrize("name", ["opencv-python-headless", "opencv-contrib-python", "opencv_contrib_python_headless"])
def test_a_second_package_is_named_with_the_commands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_package(tmp_path, name, "4.10.0.84")
    monkeypatch.syspath_prepend(str(tmp_path))
    both = " ".join(sorted(["opencv-python", name.replace("_", "-")]))
    assert repair_advice() == f"pip uninstall -y {both}; pip install 'opencv-python<5,>=4.10'"


def test_other_packages_are_not_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_package(tmp_path, "opencv-stubs", "0.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(opencv_packages()) == ["opencv-python"]


def test_files_of_another_package_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "")
    assert opencv_state().fault == "cv2 opens no window"
    monkeypatch.setattr(cv2, "__version__", "4.5.5")
    assert opencv_state().fault == "cv2 is of version 4.5.5"


def test_what_is_left_of_a_removed_package_is_reported(tmp_path: Path) -> None:
    add_package(tmp_path, "opencv-python-headless", "4.10.0.84")
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").touch()
    watch = run(tmp_path, "watch", "--headless", "--source", "demo")
    assert watch.returncode == 2
    assert watch.stderr.count("\n") == 1, watch.stderr
    doctor = run(tmp_path, "doctor")
    assert doctor.returncode == 1
    assert "1 fault" in doctor.stdout, doctor.stdout
    for text in (watch.stderr, doctor.stdout):
        assert "and opencv-python-headless 4.10.0.84" in text
        assert "pip uninstall -y opencv-python opencv-python-headless; pip install 'opencv-python" in text


@pytest.mark.parametrize(
    ("library", "package"),
    [("libGL.so.1", "libgl1"), ("libgthread-2.0.so.0", "libglib2.0-0"), ("libSM.so.6", "libsm6")],
)
def test_a_missing_system_library_is_named_with_its_package(library: str, package: str) -> None:
    advice = missing_library_advice(
        ImportError(f"{library}: cannot open shared object file: No such file or directory")
    )
    assert f" {package} " in advice.replace(";", " ")
    assert "apt install" in advice
    assert missing_library_advice(ImportError("No module named 'cv2'")) == ""


@pytest.mark.parametrize("command", [("doctor",), ("annotate", "photo.jpg")])
def test_a_command_says_what_to_install_if_libgl_is_missing(command: tuple[str, ...], tmp_path: Path) -> None:
    """Regression: doctor ended with the same error instead of listing it."""
    (tmp_path / "cv2").mkdir()
    error = "ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    (tmp_path / "cv2" / "__init__.py").write_text(f"raise {error}")
    process = run(tmp_path, *command)
    lines = [line for line in (process.stdout + process.stderr).splitlines() if "libGL" in line]
    assert process.returncode in (1, 2)
    assert "apt install libgl1 libglib2.0-0 libsm6" in lines[0]
    assert "Traceback" not in process.stderr
    if command == ("doctor",):
        assert len(lines) == 1
        assert "1 fault" in process.stdout


def test_a_second_package_that_works_is_no_fault(tmp_path: Path) -> None:
    add_package(tmp_path, "opencv-contrib-python", cv2.__version__)
    doctor = run(tmp_path, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "if one is removed, the other stops: pip uninstall -y opencv-contrib-python opencv-python" in doctor.stdout
