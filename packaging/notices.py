"""Lists the components of a build by project, and writes their licence notices."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

Entry = tuple[str, str, str]
"""An entry of PyInstaller's table of contents: name in the build, source file, type."""

LICENCES = Path(__file__).parent / "licences"
_TEXT_NAMES = ("LICEN", "COPYING", "NOTICE", "AUTHORS")
_RULE = "=" * 100


@dataclass(slots=True)
class Component:
    """A project with files in the build. ``kind``: python (a distribution), runtime, system or asset. ``files``: names
    in the build. ``sha256``: hashes of its native libraries by name. ``texts``: (name, text) of its licence files."""

    kind: str
    name: str
    version: str
    licence: str
    homepage: str = ""
    size_bytes: int = 0
    files: list[str] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)


def components(root: Path, entries: Iterable[Entry], origins: Mapping[str, str]) -> list[Component]:
    """The projects of ``entries``, sorted by kind and name, without maskwatch itself. ``origins`` maps a reduced source
    file to the installed original."""
    by_name: dict[tuple[str, str], Component] = {}
    for name, source, _ in entries:
        path = Path(source)
        if source in ("", "-") or not path.is_file():  # namespace packages, links
            continue
        component = _python() if name == "base_library.zip" else _component(root, Path(origins.get(source, source)))
        if component is None:
            continue
        component = by_name.setdefault((component.kind, component.name), replace(component, files=[], sha256={}))
        component.files.append(Path(name).as_posix())
        if is_native(path):
            component.sha256[Path(name).as_posix()] = sha256(path)
        component.size_bytes += path.stat().st_size
    order = ("asset", "python", "runtime", "system")
    return sorted(by_name.values(), key=lambda each: (order.index(each.kind), each.name.lower()))


def is_native(path: Path) -> bool:
    return ".so" in path.name or path.suffix in (".dll", ".pyd", ".dylib")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def owners() -> dict[str, str]:
    """The distribution of every installed file. Reads the records as text: ``Distribution.files`` creates an object for
    each of 50,000 lines, which takes half a minute if TensorFlow is installed."""
    found = {}
    for each in distributions():
        top = os.path.realpath(str(each.locate_file("")))
        name = each.metadata["Name"]
        record = each.read_text("RECORD")
        # The pip of Debian 12 installs an sdist without a record
        files = [row[0] for row in csv.reader(record.splitlines()) if row] if record else map(str, each.files or ())
        for file in files:
            if not file.startswith(".."):
                found[f"{top}{os.sep}{file}".replace("/", os.sep)] = name
    return found


def _component(root: Path, path: Path) -> Component | None:
    resolved = path.resolve()
    owner = owners().get(str(resolved))
    if owner is not None and owner.lower() != "maskwatch":
        return _of_distribution(owner)
    if resolved.name.startswith("haarcascade_"):
        return _cascade(resolved.stem)
    if resolved.parent.name == "fonts":
        return _fonts(resolved.parent)
    if resolved.name.startswith("face_detector"):
        return _yunet()
    if resolved.is_relative_to(root.resolve()) and owner is None and ".venv" not in resolved.parts:
        return None  # maskwatch itself
    if resolved.is_relative_to(Path(sys.base_prefix).resolve()):
        return _python()
    return _of_system(resolved)


def licence_of(each: Distribution) -> str:
    """The licence from the metadata of the distribution, in short form."""
    metadata = each.metadata
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classified = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("Lic")]
    lines = (metadata.get("License") or "").strip().splitlines()
    return " / ".join(classified) or (lines[0][:80] if lines else "see its licence text")


def _homepage(each: Distribution) -> str:
    links = dict(line.split(", ", 1) for line in each.metadata.get_all("Project-URL", []) if ", " in line)
    for name, link in links.items():
        if name.lower() in ("homepage", "home", "source", "source code", "repository", "source_code"):
            return link
    return str(each.metadata.get("Home-page") or next(iter(links.values()), ""))


@cache
def _of_distribution(name: str) -> Component:
    each = distribution(name)
    texts = []
    for file in each.files or ():
        upper = file.name.upper()
        if upper.startswith(_TEXT_NAMES) and not upper.endswith((".PY", ".PYC", ".H")):
            text = Path(str(each.locate_file(file))).read_text(encoding="utf-8", errors="replace")
            if text not in [other for _, other in texts]:
                texts.append((file.name, text))
    licence, own = licence_of(each), LICENCES / f"{name.lower()}.txt"
    if own.is_file() and name.lower() == "av":  # the wheel does not name the licences of its libraries
        licence += "; its FFmpeg: LGPL-3.0-or-later, with x264: GPL-2.0-or-later"
        texts.append((own.name, own.read_text(encoding="utf-8")))
    if not texts and own.is_file():  # the wheel contains no licence
        text = own.read_text(encoding="utf-8")
        licence = text.splitlines()[0]
        texts.append((own.name, text))
    return Component("python", name, each.version, licence, _homepage(each), texts=texts)


@cache
def _cascade(name: str) -> Component:
    text = (LICENCES / "haarcascade.txt").read_text(encoding="utf-8")
    if name == "haarcascade_profileface":  # the same licence, another author
        text = text.replace("Created by Rainer Lienhart.", "Contributed by David Bradley from Princeton University.")
    licence = "Intel License Agreement For Open Source Computer Vision Library (BSD style)"
    home = "https://github.com/opencv/opencv"
    return Component("asset", name, "4", licence, home, texts=[("LICENSE", text)])


@cache
def _fonts(folder: Path) -> Component:
    text = (folder / "OFL.txt").read_text(encoding="utf-8")
    home = "https://github.com/rsms/inter, https://github.com/notofonts"
    return Component("asset", "Inter and Noto Sans", "subsets", "OFL-1.1", home, texts=[("OFL.txt", text)])


@cache
def _yunet() -> Component:
    text = (LICENCES / "yunet.txt").read_text(encoding="utf-8")
    home = "https://github.com/ShiqiYu/libfacedetection.train"
    return Component("asset", "YuNet's graph and weights", "n", "Apache-2.0 and MIT", home, texts=[("LICENSE", text)])


@cache
def _python() -> Component:
    version = sys.version.split()[0]
    places = (Path(sys.base_prefix, "LICENSE.txt"), *Path(sys.base_prefix).glob("lib/python3*/LICENSE.txt"))
    text = next((path.read_text(encoding="utf-8") for path in places if path.is_file()), "")
    texts = [("LICENSE.txt", text)] if text else [("", "https://docs.python.org/3/license.html")]
    return Component("runtime", "Python", version, "PSF-2.0", "https://www.python.org", texts=texts)


@cache
def _of_package(package: str) -> Component:
    query = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    version = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    copyright_file = Path("/usr/share/doc", package.partition(":")[0], "copyright")
    texts = []
    if copyright_file.is_file():
        texts.append(("copyright", copyright_file.read_text(encoding="utf-8", errors="replace")))
    return Component("system", package.partition(":")[0], version, "see its copyright file", texts=texts)


def _of_system(path: Path) -> Component:
    """A library of the builder's system: its Debian package, or its file name if there is no such package."""
    for name in (str(path), str(path).removeprefix("/usr")):
        try:
            search = subprocess.run(["dpkg", "--search", name], capture_output=True, text=True, check=False)
        except FileNotFoundError:  # not Debian
            break
        if search.returncode == 0:
            return _of_package(search.stdout.partition(": ")[0])
    return Component("system", path.name, "", "a library of the builder's system")


def pyinstaller() -> Component:
    """PyInstaller's boot loader: part of every build, but not a separate file."""
    each = _of_distribution("pyinstaller")
    licence = "GPL-2.0-or-later with an exception that allows any licence for what it packs"
    return Component("runtime", "PyInstaller boot loader", each.version, licence, each.homepage, texts=each.texts)


def check_absent(components: Sequence[Component], excluded: Sequence[str]) -> None:
    """Raises SystemExit if the build contains an excluded distribution."""
    names = {each.name.lower() for each in components if each.kind == "python"}
    unwanted = sorted(names & {name.lower() for name in excluded} | {name for name in names if "tensorflow" in name})
    if unwanted:
        raise SystemExit(f"the build must not contain {', '.join(unwanted)}; see EXCLUDED in packaging/maskwatch.spec")


def render(components: Sequence[Component]) -> str:
    """The text of THIRD_PARTY_NOTICES.txt."""
    everything = [*components, pyinstaller()]
    head = "maskwatch is under the MIT licence (LICENSE.txt). It contains other projects under their licences:\n\n"
    lines = [f"- {each.name} {each.version}: {each.licence}" for each in everything]
    note = (
        "\n\nPyAV's package contains FFmpeg (LGPL) and x264 (GPL): this executable as a whole is passed on under the"
        "\nGPL, version 3 or later; the text of PyAV's libraries below says more."
        "\n\nOpenCV's package contains FFmpeg and Qt 5 under the LGPL as separate, replaceable libraries;"
        "\nits text below names each part. Their sources: https://github.com/opencv/opencv-python, https://ffmpeg.org, https://www.qt.io\n"
    )
    parts = [head + "\n".join(lines) + note]
    for each in everything:
        parts.append(f"\n{_RULE}\n{each.name} {each.version}\n{each.licence}\n{each.homepage}\n{_RULE}\n")
        parts += [f"\n--- {name}\n\n{text.strip()}\n" if name else f"\n{text}\n" for name, text in each.texts]
    return "".join(parts)


def to_json(components: Sequence[Component]) -> str:
    records = [asdict(each) for each in (*components, pyinstaller())]
    for record in records:
        del record["texts"]
    return json.dumps(records, indent=1)
