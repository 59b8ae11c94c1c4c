"""Every component of a build is listed with its licence, and an excluded component stops the build."""

import ctypes
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import make_pictures
import notices
import numpy as np
import platformdirs
import pytest
import slim

ROOT = Path(__file__).resolve().parents[2]


def entry(path: str | Path, name: str = "") -> notices.Entry:
    return name or Path(path).name, str(path), "DATA"


def test_files_are_grouped_by_project(tmp_path: Path) -> None:
    cascade = ROOT / "assets" / "haarcascade_frontalface_default.xml"
    reduced = tmp_path / "slim.so"
    reduced.write_bytes(b"smaller")
    origins = {str(reduced): platformdirs.__file__}
    entries = [
        entry(ROOT / "LICENSE"),
        entry(cascade),
        entry(platformdirs.__file__),
        entry(reduced),
        entry(json.__file__),
    ]
    found = {each.name: each for each in notices.components(ROOT, [*entries, ("gone", "", "DATA")], origins)}
    assert found.keys() == {"haarcascade_frontalface_default", "platformdirs", "Python"}
    assert "Intel" in found["haarcascade_frontalface_default"].texts[0][1]
    assert found["platformdirs"].licence == "MIT"
    assert found["platformdirs"].size_bytes == Path(platformdirs.__file__).stat().st_size + len(b"smaller")


def test_licence_missing_in_the_wheel_is_added() -> None:
    imutils = Path(platformdirs.__file__).parents[1] / "imutils" / "__init__.py"
    [found] = notices.components(ROOT, [entry(imutils)], {})
    assert (found.name, found.licence) == ("imutils", "The MIT License (MIT)")
    assert "Adrian Rosebrock" in found.texts[0][1]


def test_a_project_without_a_record_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: Debian's pip 23 installs imutils so, and its licence was missing in the executable."""
    (tmp_path / "drawing").mkdir()
    (tmp_path / "drawing" / "__init__.py").touch()
    information = tmp_path / "drawing-1.0.egg-info"
    information.mkdir()
    (information / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: drawing\nVersion: 1.0\nLicense: MIT\n")
    (information / "SOURCES.txt").write_text("setup.py\ndrawing/__init__.py\n")  # what Python 3.11 reads
    (information / "installed-files.txt").write_text("../drawing/__init__.py\nPKG-INFO\n")  # and later ones
    monkeypatch.syspath_prepend(str(tmp_path))
    notices.owners.cache_clear()
    try:
        [found] = notices.components(ROOT, [entry(tmp_path / "drawing" / "__init__.py")], {})
    finally:
        notices.owners.cache_clear()
    assert (found.name, found.licence) == ("drawing", "MIT")


def test_native_libraries_have_hashes(tmp_path: Path) -> None:
    library = tmp_path / "libsystem.so.1"
    library.write_bytes(b"native")
    [found] = notices.components(ROOT, [entry(library), entry(library, "libsystem.txt")], {})
    digest = hashlib.sha256(b"native").hexdigest()
    assert found.sha256 == {"libsystem.so.1": digest, "libsystem.txt": digest}
    [found] = notices.components(ROOT, [entry(platformdirs.__file__)], {})
    assert not found.sha256


def test_components_can_be_counted_twice() -> None:
    sizes = [notices.components(ROOT, [entry(platformdirs.__file__)], {})[0].size_bytes for _ in range(2)]
    assert sizes[0] == sizes[1]


def test_notices_contain_each_licence_text() -> None:
    pytest.importorskip("PyInstaller", reason="needs the build packages: pip install '.[package]'")
    found = notices.components(ROOT, [entry(ROOT / "assets" / "haarcascade_frontalface_default.xml")], {})
    text = notices.render(found)
    assert "Redistribution and use in source and binary forms" in text
    assert "PyInstaller boot loader" in text
    names = [record["name"] for record in json.loads(notices.to_json(found))]
    assert names == ["haarcascade_frontalface_default", "PyInstaller boot loader"]


def test_notices_contain_the_licence_of_the_typefaces() -> None:
    fonts = sorted((ROOT / "assets" / "fonts").iterdir())
    [found] = notices.components(ROOT, [entry(path) for path in fonts], {})
    assert found.licence == "OFL-1.1"
    assert "SIL OPEN FONT LICENSE" in found.texts[0][1]
    assert all(path.name in found.texts[0][1] for path in fonts if path.suffix != ".txt")
    assert sum(path.stat().st_size for path in fonts) < 2_000_000


def test_tensorflow_stops_the_build() -> None:
    components = [notices.Component("python", "tensorflow-cpu", "2.19", "Apache-2.0")]
    with pytest.raises(SystemExit, match="tensorflow-cpu"):
        notices.check_absent(components, ["matplotlib"])
    notices.check_absent([notices.Component("python", "numpy", "2", "BSD")], ["matplotlib"])


def test_bill_of_materials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cyclonedx", reason="needs the build packages: pip install '.[package]'")
    import sbom

    library = tmp_path / "maskwatch" / "_internal" / "cv2" / "cv2.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"native")
    models = tmp_path / "models"
    models.mkdir()
    (models / "classifier.tflite").write_bytes(b"weights")
    metadata = {"version": "1.2.3", "commit": "abc", "system": "linux-x86_64", "form": "one folder"}
    metadata["built"] = "2023-11-14T22:13:20Z"
    monkeypatch.setattr(sbom.platform, "freedesktop_os_release", lambda: {"ID": "ubuntu"})
    components = [
        {"kind": "python", "name": "opencv-python", "version": "4.14", "licence": "Apache-2.0", "size_bytes": 6}
        | {"sha256": {"cv2/cv2.so": "00" * 32}},
        {"kind": "system", "name": "libssl3", "version": "3.0", "licence": "?", "size_bytes": 1, "sha256": {}},
    ]
    text = sbom.render(components, metadata, [tmp_path / "maskwatch"], models)
    assert text == sbom.render(components, metadata, [tmp_path / "maskwatch"], models), "reproducible"
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == "1.2.3"
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["opencv-python"]["purl"] == "pkg:pypi/opencv-python@4.14"
    assert parts["libssl3"]["purl"] == "pkg:deb/ubuntu/libssl3@3.0"
    [native] = parts["opencv-python"]["components"]
    assert native["name"] == "cv2/cv2.so"
    assert native["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"native").hexdigest()}]
    assert parts["models/classifier.tflite"]["type"] == "machine-learning-model"
    assert str(tmp_path) not in text
    library.unlink()
    bill = json.loads(sbom.render(components, metadata, [tmp_path / "maskwatch"], models))
    [native] = next(part for part in bill["components"] if part["name"] == "opencv-python")["components"]
    assert native["hashes"][0]["content"] == "00" * 32, "a one-file build has no folder"


needs_compiler = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not all(map(shutil.which, ("cc", "nm", "strip"))),
    reason="needs Linux with a C compiler and binutils: apt install build-essential",
)


def compiled(path: Path, code: str, *flags: str) -> Path:
    source = path.with_suffix(".c")
    path.parent.mkdir(exist_ok=True)
    source.write_text(code)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source), *flags], check=True)
    source.unlink()
    return path


@needs_compiler
def test_libraries_that_are_only_required_are_replaced_by_stubs(tmp_path: Path) -> None:
    libraries, own = tmp_path / "opencv_python.libs", tmp_path / "av.libs"
    versions = tmp_path / "versions.map"
    versions.write_text("LIBAVCODEC_62 { global: *; };")
    compiled(libraries / "libgfortran-1.so", "void fortran(void){}")
    needs_gfortran = (f"-L{libraries}", "-Wl,--no-as-needed", "-l:libgfortran-1.so")
    compiled(libraries / "libopenblas-1.so", "void dgesv_(void){} void unused_(void){}", *needs_gfortran)
    compiled(libraries / "libavcodec-1.so", "void av_free(void){}", f"-Wl,--version-script={versions}")
    compiled(own / "libx265-1.so", "int x265_api_get(void){ return 7; }")
    compiled(
        own / "libavcodec-2.so",
        "int x265_api_get(void); int asked(void){ return x265_api_get(); }",
        f"-L{own}",
        "-l:libx265-1.so",
    )
    caller = "void dgesv_(void); void av_free(void); void solve(void){ dgesv_(); av_free(); }"
    libs = (f"-L{libraries}", "-l:libopenblas-1.so", "-l:libavcodec-1.so", f"-Wl,-rpath-link,{libraries}")
    opencv = compiled(tmp_path / "cv2" / "cv2.abi3.so", caller, *libs)
    module = compiled(
        tmp_path / "av" / "core.so",
        "int asked(void); int get(void){ return asked(); }",
        f"-L{own}",
        "-l:libavcodec-2.so",
        f"-Wl,-rpath-link,{own}",
    )
    entries = [
        ("cv2/cv2.abi3.so", str(opencv), "EXTENSION"),
        ("av/core.so", str(module), "EXTENSION"),
        ("av/video/core.so", str(module), "EXTENSION"),
        *(
            (f"{path.parent.name}/{path.name}", str(path), "BINARY")
            for path in (*sorted(libraries.iterdir()), *sorted(own.iterdir()))
        ),
        ("libgfortran-1.so", "opencv_python.libs/libgfortran-1.so", "SYMLINK"),
        ("libx265-1.so", "av.libs/libx265-1.so", "SYMLINK"),
    ]
    slimmed = slim.slim(entries, tmp_path / "work")
    kept = {name: source for name, source, _ in slimmed.entries}
    assert {name for name, _, _ in entries} - set(kept) == {"opencv_python.libs/libgfortran-1.so", "libgfortran-1.so"}
    assert kept["av/core.so"] != kept["av/video/core.so"]
    blas, ffmpeg = kept["opencv_python.libs/libopenblas-1.so"], kept["opencv_python.libs/libavcodec-1.so"]
    assert slimmed.origins[blas] == str(libraries / "libopenblas-1.so")
    assert slim.symbols([Path(blas)], "--defined-only") == {"dgesv_"}
    assert "av_free@@LIBAVCODEC_62" in slim.symbols([Path(ffmpeg)], "--defined-only"), "the loader checks the version"
    for library, function in ((blas, "dgesv_"), (ffmpeg, "av_free")):
        call = f"import ctypes; ctypes.CDLL({library!r}).{function}()"
        process = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
        assert process.returncode != 0
        assert f"{Path(library).name} is only a stub in this build, but {function} was called" in process.stderr
    assert ctypes.CDLL(kept["av.libs/libx265-1.so"]).x265_api_get() == 0


@needs_compiler
def test_a_stubbed_library_that_another_one_uses_stops_the_build(tmp_path: Path) -> None:
    libraries = tmp_path / "opencv_python.libs"
    blas = compiled(libraries / "libopenblas-1.so", "void dgesv_(void){}")
    code, libs = "void dgesv_(void); void solve(void){ dgesv_(); }", (f"-L{libraries}", "-l:libopenblas-1.so")
    entries = [
        ("cv2/cv2.abi3.so", str(compiled(tmp_path / "cv2.abi3.so", code, *libs)), "EXTENSION"),
        ("other.so", str(compiled(tmp_path / "other.so", code, *libs)), "EXTENSION"),
        ("opencv_python.libs/libopenblas-1.so", str(blas), "BINARY"),
    ]
    with pytest.raises(SystemExit, match="--full"):
        slim.slim(entries, tmp_path / "work")


def test_committed_images_match_the_script() -> None:
    icon = cv2.imread(str(make_pictures.ICONS / "maskwatch.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(icon.astype(int) - make_pictures.draw_icon(256)).mean() < 1
    created = cv2.imdecode(np.frombuffer(make_pictures.self_test_image(), np.uint8), cv2.IMREAD_COLOR)
    committed = cv2.imread(str(ROOT / "assets" / "self_test.jpg"))
    assert np.abs(committed.astype(int) - created).mean() < 2


def test_icon_files() -> None:
    ico = make_pictures.ico((16, 256))
    assert ico[:6] == b"\x00\x00\x01\x00\x02\x00"
    offset = int.from_bytes(ico[18:22], "little")
    assert ico[offset : offset + 4] == b"\x89PNG"
    icns = make_pictures.icns()
    assert icns[:4] == b"icns"
    assert int.from_bytes(icns[4:8], "big") == len(icns)


@pytest.mark.parametrize("name", ["haarcascade_frontalface_default", "haarcascade_profileface"])
def test_cascade_has_the_licence_of_its_file(name: str) -> None:
    path = ROOT / "assets" / f"{name}.xml"
    head = path.read_text(encoding="utf-8")[:4000]
    [found] = notices.components(ROOT, [entry(path)], {})
    assert found.name == name
    for line in found.texts[0][1].splitlines():
        assert line.strip() in head
