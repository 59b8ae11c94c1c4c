"""Builds the standalone executable: folder (or one file), archive, checksums, bill of materials.

    pip install ".[package]"
    python packaging/build.py                 # dist/maskwatch/ and dist/maskwatch-VERSION-SYSTEM.tar.gz (.zip)
    python packaging/build.py --onefile       # dist/maskwatch, which unpacks itself at every start
    python packaging/build.py --deb           # a Debian package too

The same command serves Linux, Windows and macOS; each system builds its own.
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


def facts(onefile: bool) -> dict[str, Any]:
    """What the executable tells of its own making. No path and no host name: two builders get the same."""
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
    """The commit of the source, with ``+changes`` where files differ from it; 'unknown' outside a checkout."""
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
    """The time that everything in a build carries: SOURCE_DATE_EPOCH, else that of the commit, else now."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    try:
        shown = subprocess.run(
            ["git", "show", "--no-patch", "--format=%ct", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(shown.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return int(time.time())


def system_name() -> str:
    """linux-x86_64, windows-amd64, macos-arm64 …"""
    name = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    machine = sysconfig.get_platform().rpartition("-")[2] if sys.platform == "darwin" else platform.machine()
    return f"{name}-{machine.lower()}"


def freeze(onefile: bool, extra: list[str], dist: Path, work: Path, told: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs PyInstaller; returns the components inside."""
    work.mkdir(parents=True, exist_ok=True)
    facts_file = work / "build.json"
    facts_file.write_text(json.dumps(told, indent=1), encoding="utf-8")
    clear(dist)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += ["--distpath", str(dist), "--workpath", str(work), str(SPEC), "--", "--facts", str(facts_file)]
    command += ["--onefile"] if onefile else []
    command += [*extra]
    # A fixed hash seed makes the archive of modules the same every time. PyInstaller runs in its own folder, where
    # no directory of the source tree can pass for an installed package.
    environment = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": str(epoch_s())}
    if subprocess.run(command, cwd=work, env=environment, check=False).returncode:
        raise SystemExit("PyInstaller failed; see above")
    inside: list[dict[str, Any]] = json.loads((work / SPEC.stem / "components.json").read_text(encoding="utf-8"))
    return inside


def clear(dist: Path) -> None:
    """Takes away what an earlier build left: the folder and the one file bear the same name."""
    for name in archive.PROGRAMS:
        old = dist / name
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)


def write_checksums(paths: list[Path], target: Path) -> None:
    """In the form of ``sha256sum --check``."""
    lines = []
    for path in paths:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    target.write_text("".join(lines), encoding="utf-8", newline="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="build the standalone executable")
    parser.add_argument("--onefile", action="store_true", help="one file in place of a folder")
    parser.add_argument("--form", choices=("console", "window", "both"), help="default: both; on Linux console")
    parser.add_argument("--deb", action="store_true", help="make a Debian package too (Linux)")
    parser.add_argument("--full", action="store_true", help="Linux: keep all of every library (42 MB more)")
    parser.add_argument("--no-archive", action="store_true", help="only the folder")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist")
    parser.add_argument("--work", type=Path, default=ROOT / "build", metavar="DIR", help="default: build")
    args = parser.parse_args()
    if args.deb and (args.onefile or shutil.which("dpkg-deb") is None):
        parser.error("--deb needs dpkg-deb and a one-folder build")
    if not args.full and (missing := slim.missing_tools()):
        print(f"without {' and '.join(missing)} the folder stays about 75 MB larger: see packaging/slim.py")
    dist, work = args.dist.resolve(), args.work.resolve()
    told = facts(args.onefile)
    extra = (["--form", args.form] if args.form else []) + (["--full"] if args.full else [])
    inside = freeze(args.onefile, extra, dist, work, told)

    stem = f"maskwatch-{told['version']}-{told['system']}" + ("-onefile" if args.onefile else "")
    made = [dist / f"{stem}.cdx.json"]
    built = archive.built(dist, args.onefile)
    made[0].write_text(sbom.render(inside, told, built, ROOT / "models"), encoding="utf-8")
    if not args.no_archive:
        made.append(archive.pack(built, dist, stem, epoch_s()))
    if args.deb:
        made.append(archive.debian_package(dist / "maskwatch", dist, told, work, epoch_s()))
    checksums = dist / f"{stem}.sha256"
    write_checksums(made, checksums)
    print(archive.size_table(built, inside))
    for path in (*built, *made, checksums):
        print(f"{archive.size_bytes(path) / 1e6:9.1f} MB  {path.relative_to(dist)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
