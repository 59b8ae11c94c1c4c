"""Packs a build into archives and measures its size."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import man_page

PROGRAMS = ("maskwatch", "maskwatch-window", "maskwatch.exe", "maskwatch-window.exe", "Maskwatch.app")
"""All programs that a build may write beside its archives, on any system and in any form."""

_GZIP_LEVEL = 6
_DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MAINTAINER = "The maskwatch authors <maskwatch@example.invalid>"
_SYSTEM_USER = 'u maskwatch - "maskwatch" /var/lib/maskwatch\nm maskwatch video\n'
_AFTER_INSTALL = """#!/bin/sh
set -e
if [ "$1" = configure ] && command -v systemd-sysusers >/dev/null; then systemd-sysusers maskwatch.conf; fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
"""
_BEFORE_REMOVAL = """#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now maskwatch; fi
"""
_C_LIBRARY_SYMBOLS = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")


def built(dist: Path, onefile: bool) -> list[Path]:
    """The output of PyInstaller in ``dist``: a folder, a program or an application bundle."""
    suffix = ".exe" if sys.platform == "win32" else ""
    names = (
        ("Maskwatch.app", f"maskwatch{suffix}", f"maskwatch-window{suffix}")
        if onefile
        else ("maskwatch", "Maskwatch.app")
    )
    return [dist / name for name in names if (dist / name).exists()]


def size_bytes(path: Path) -> int:
    """The size of a file, or of all files below a folder, without links."""
    if path.is_dir():
        return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())
    return path.stat().st_size


def pack(paths: Sequence[Path], dist: Path, stem: str, time_s: int) -> Path:
    """Packs ``paths`` into one archive: .zip on Windows, else .tar.gz, because ZIP loses links and the executable bit.
    Names are sorted, owners and times fixed, so that the same files give the same archive."""
    if sys.platform == "win32":
        target = dist / f"{stem}.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_GZIP_LEVEL) as packed:
            for path in paths:
                for file in [path] if path.is_file() else sorted(path.rglob("*")):
                    packed.write(file, file.relative_to(dist))
        return target

    def normalise(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = time_s
        return member

    target = dist / f"{stem}.tar.gz"
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=time_s) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as packed,
    ):
        for path in paths:
            packed.add(path, path.name, filter=normalise)  # tarfile sorts the names of a folder
    return target


def c_library(folder: Path) -> str:
    """The oldest C library with which all files below ``folder`` run, for example 2.36: the newest version in the
    string tables of the libraries. '' if there is none."""
    newest = (0, 0)
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        if content.startswith(b"\x7fELF"):
            required = [(int(major), int(minor)) for major, minor in _C_LIBRARY_SYMBOLS.findall(content)]
            newest = max(newest, *required) if required else newest
    return f"{newest[0]}.{newest[1]}" if newest > (0, 0) else ""


def debian_package(folder: Path, dist: Path, build: Mapping[str, Any], work: Path, time_s: int) -> Path:
    """Packs the folder below /opt, with a link in /usr/bin, a manual page, an entry in the desktop menu and a service
    that is not enabled. Needs dpkg-deb."""
    architecture = _DEBIAN_ARCHITECTURES[build["system"].partition("-")[2]]
    root = work / "deb"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder, root / "opt" / "maskwatch", symlinks=True)
    for place in (
        "usr/bin",
        "usr/share/doc/maskwatch",
        "usr/share/applications",
        "usr/share/icons/hicolor/256x256/apps",
        "usr/share/man/man1",
        "usr/lib/systemd/system",
        "usr/lib/sysusers.d",
        "etc/maskwatch",
        "DEBIAN",
    ):
        (root / place).mkdir(parents=True)
    (root / "usr/bin/maskwatch").symlink_to("/opt/maskwatch/maskwatch")
    here = Path(__file__).parent
    shutil.copy(here.parent / "LICENSE", root / "usr/share/doc/maskwatch/copyright")
    shutil.copy(here / "icons" / "maskwatch.png", root / "usr/share/icons/hicolor/256x256/apps/maskwatch.png")
    shutil.copy(here / "maskwatch.desktop", root / "usr/share/applications/maskwatch.desktop")
    changes = f"""maskwatch ({build["version"]}) unstable; urgency=medium

  * Release {build["version"]}; its CHANGELOG.md says what changed.

 -- {_MAINTAINER}  {formatdate(time_s)}
"""
    for place, text in (("man/man1/maskwatch.1.gz", man_page.render(time_s)), ("doc/maskwatch/changelog.gz", changes)):
        (root / "usr/share" / place).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    unit = (here / "maskwatch.service").read_text(encoding="utf-8")
    unit = unit[unit.index("[Unit]") :].replace("/usr/local/bin/", "/usr/bin/")
    (root / "usr/lib/systemd/system/maskwatch.service").write_text(unit, encoding="utf-8")
    (root / "usr/lib/sysusers.d/maskwatch.conf").write_text(_SYSTEM_USER)
    for name, script in (("postinst", _AFTER_INSTALL), ("prerm", _BEFORE_REMOVAL)):
        (root / "DEBIAN" / name).write_text(script)
        (root / "DEBIAN" / name).chmod(0o755)
    newest = c_library(folder)
    libc = f"libc6 (>= {newest})" if newest else "libc6"
    (root / "DEBIAN" / "control").write_text(
        f"Package: maskwatch\nVersion: {build['version']}\nArchitecture: {architecture}\n"
        f"Maintainer: {_MAINTAINER}\n"
        f"Installed-Size: {size_bytes(root) // 1024}\nDepends: {libc}, libgl1, libxcb1\n"
        "Section: video\nPriority: optional\nDescription: real-time face-mask monitor\n"
        " Watches a camera, a stream or a video, labels faces by their masks,\n and sends alerts for bare faces.\n"
    )
    target = dist / f"maskwatch_{build['version']}_{architecture}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", f"-z{_GZIP_LEVEL}", "--build", str(root), str(target)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(time_s)}  # the newest time of any file in the package
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    shutil.rmtree(root)
    return target


def size_table(paths: Sequence[Path], components: Sequence[Mapping[str, Any]]) -> str:
    """The size by component, largest first. Python modules count unpacked here but are packed in the program."""
    rows = sorted(((each["size_bytes"], f"{each['name']} {each['version']}") for each in components), reverse=True)
    lines = [f"{size / 1e6:9.1f} MB  {name}" for size, name in rows if size >= 5e5]
    total = sum(size_bytes(path) for path in paths)
    return "\n".join([f"{total / 1e6:9.1f} MB  total; by component (before packing):", *lines])
