"""Builds the standalone executable: folder (or one file), archive, checksums, bill of materials.

    pip install ".[package]"
    python packaging/build.py                 # dist/maskwatch/ and dist/maskwatch-VERSION-SYSTEM.tar.gz (.zip)
    python packaging/build.py --onefile       # dist/maskwatch, which unpacks itself at every start
    python packaging/build.py --deb           # also a Debian package

The same command works on Linux, Windows and macOS; each system builds its own executable.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import archive
import sbom
import slim

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "packaging" / "maskwatch.spec"


def build_metadata(onefile: bool) -> dict[str, Any]:
    """The build metadata that the executable shows. No path and no host name: two builders get the same."""
    sys.path.insert(0, str(ROOT))
    from app import __version__

    return {
        "version": __version__,
        "commit": commit(),
        "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_s())),
        "system": system_name(),
        "python": platform.python_version(),
        "form": "one file" if onefile else "one folder",
    }


def commit() -> str:
    """The commit of the source, with ``+changes`` if files differ from it; 'unknown' outside a checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def epoch_s() -> int:
    """The time of all files in a build: SOURCE_DATE_EPOCH, else the time of the commit, else now."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        return int(epoch)
    try:
        shown = subprocess.run(
            ["git", "show", "--no-patch", "--format=%ct", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(shown.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return int(time.time())


def system_name() -> str:
    """For example linux-x86_64, windows-amd64 or macos-arm64."""
    name = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = sysconfig.get_platform().rpartition("-")[2] if sys.platform == "darwin" else platform.machine()
    return f"{name}-{machine.lower()}"


def freeze(onefile: bool, extra: list[str], dist: Path, work: Path, metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs PyInstaller; returns the components of the build. Raises SystemExit if it fails."""
    work.mkdir(parents=True, exist_ok=True)
    metadata_file = work / "build.json"
    metadata_file.write_text(json.dumps(metadata, indent=1), encoding="utf-8")
    clear(dist)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += ["--distpath", str(dist), "--workpath", str(work), str(SPEC), "--", "--facts", str(metadata_file)]
    command += ["--onefile"] if onefile else []
    command += [*extra]
    # A fixed hash seed makes the module archive reproducible. PyInstaller runs in its own folder, so that it does not
    # mistake a directory of the source tree for an installed package.
    environment = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": str(epoch_s())}
    if subprocess.run(command, cwd=work, env=environment, check=False).returncode:
        raise SystemExit("PyInstaller failed; see above")
    components: list[dict[str, Any]] = json.loads((work / SPEC.stem / "components.json").read_text(encoding="utf-8"))
    return components


def clear(dist: Path) -> None:
    """Removes the programs of an earlier build: folder and one file have the same name."""
    for name in archive.PROGRAMS:
        old = dist / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)


def write_checksums(paths: list[Path], target: Path) -> None:
    """Writes the checksums in the format of ``sha256sum --check``."""
    lines = []
    for path in paths:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    target.write_text("".join(lines), encoding="utf-8", newline="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="build the standalone executable")
    parser.add_argument("--onefile", action="store_true", help="one file instead of a folder")
    parser.add_argument("--form", choices=("console", "window", "both"), help="default: both; on Linux console")
    parser.add_argument("--deb", action="store_true", help="also make a Debian package (Linux)")
    parser.add_argument("--full", action="store_true", help="Linux: keep all libraries complete (a larger folder)")
    parser.add_argument("--no-archive", action="store_true", help="build only the folder")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist")
    parser.add_argument("--work", type=Path, default=ROOT / "build", metavar="DIR", help="default: build")
    args = parser.parse_args()
    if args.deb and (args.onefile or shutil.which("dpkg-deb") is None):
        parser.error("--deb needs dpkg-deb and a one-folder build")
    if not args.full and (missing := slim.missing_tools()):
        print(f"without {' and '.join(missing)} the folder is larger; see packaging/slim.py")
    dist, work = args.dist.resolve(), args.work.resolve()
    metadata = build_metadata(args.onefile)
    extra = (["--form", args.form] if args.form else []) + (["--full"] if args.full else [])
    components = freeze(args.onefile, extra, dist, work, metadata)

    stem = f"maskwatch-{metadata['version']}-{metadata['system']}" + ("-onefile" if args.onefile else "")
    outputs = [dist / f"{stem}.cdx.json"]
    built = archive.built(dist, args.onefile)
    outputs[0].write_text(sbom.render(components, metadata, built, ROOT / "models"), encoding="utf-8")
    if not args.no_archive:
        outputs.append(archive.pack(built, dist, stem, epoch_s()))
    if args.deb:
        outputs.append(archive.debian_package(dist / "maskwatch", dist, metadata, work, epoch_s()))
    checksums = dist / f"{stem}.sha256"
    write_checksums(outputs, checksums)
    print(archive.size_table(built, components))
    for path in (*built, *outputs, checksums):
        print(f"{archive.size_bytes(path) / 1e6:9.1f} MB  {path.relative_to(dist)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
