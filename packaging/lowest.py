"""Tests the wheel, with the lowest versions of its dependencies that pyproject.toml allows.

    python packaging/lowest.py build/lowest

Builds sdist and wheel, and again from the sdist: all bytes must be the same. Installs the wheel as a tool (with
uv, extras web and alerts) and runs it, without the checkout. Exit code 0 if everything works.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("web", "alerts")
COMMANDS = (
    ("--version",),
    ("self-test",),
    ("self-test", "--models", "open"),
    ("doctor",),
    ("watch", "--headless", "--fast", "--source", "demo", "--web", "127.0.0.1:0"),
)
IMPORTS = ("app.web.server", "app.alerts.hooks.apprise_hook", "app.alerts.hooks.mqtt_hook", "app.training.data.samples")


def lower_bounds(extras: tuple[str, ...] = EXTRAS) -> dict[str, str]:
    """The lowest version of each direct dependency that pyproject.toml allows, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *(each for name in extras for each in project["optional-dependencies"][name]),
    ]
    found = {}
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9._-]+)>=([0-9.]+)", requirement)
        if match is None:
            raise SystemExit(f"pyproject.toml: {requirement} has no lower bound; write NAME>=VERSION")
        found[match[1]] = match[2]
    return found


def build(source: Path, target: Path, uv: list[str]) -> dict[str, str]:
    """Builds sdist and wheel of ``source`` into ``target``; returns their SHA-256 by name."""
    environment = {"SOURCE_DATE_EPOCH": "1577836800", **os.environ}
    subprocess.run([*uv, "build", "--out-dir", target, source], check=True, env=environment)
    files = sorted(path for path in target.iterdir() if path.suffix in (".gz", ".whl"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the test; an existing one is replaced")
    folder = parser.parse_args().folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    empty = folder / "empty"
    empty.mkdir(parents=True)
    uv = [sys.executable, "-m", "uv", "--quiet"]
    built = build(ROOT, folder / "dist", uv)
    [sdist] = (folder / "dist").glob("*.tar.gz")
    [wheel] = (folder / "dist").glob("*.whl")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    again = build(folder / sdist.name.removesuffix(".tar.gz"), folder / "again", uv)
    if again != built:
        raise SystemExit(f"the sdist gives other files than the checkout: {built}, {again}")
    for name, digest in built.items():
        print(f"{digest}  {name}")

    places = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    wanted = f"maskwatch[{','.join(EXTRAS)}] @ {wheel.as_uri()}"
    bounds = lower_bounds()
    install = [*uv, "tool", "install", "--python", sys.executable, "--resolution", "lowest-direct", wanted]
    # To uv the dependencies of a wheel are not direct
    install += [f"--with={name}>={lowest}" for name, lowest in bounds.items()]
    subprocess.run(install, check=True, env={**os.environ, **places})
    python = folder / "tools" / "maskwatch" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    program = folder / "bin" / ("maskwatch.exe" if os.name == "nt" else "maskwatch")
    listed = subprocess.run(
        [*uv, "pip", "list", "--python", python, "--format", "freeze"], check=True, capture_output=True, text=True
    )
    installed = dict(line.split("==") for line in listed.stdout.splitlines() if "==" in line)
    print("lowest versions:", ", ".join(f"{name} {installed[name]}" for name in bounds))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([python, "-c", f"import {', '.join(IMPORTS)}"], check=True, cwd=empty, env=environment)
    for command in COMMANDS:
        run = subprocess.run(
            [program, *command], cwd=empty, env=environment, capture_output=True, text=True, timeout=120
        )
        if run.returncode or "Traceback" in run.stderr:
            raise SystemExit(
                f"maskwatch {' '.join(command)} failed with code {run.returncode}:\n{run.stdout}{run.stderr}"
            )
        print(f"works: maskwatch {' '.join(command)}")


if __name__ == "__main__":
    main()
