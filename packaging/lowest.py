"""Tests maskwatch with the lowest versions of its dependencies that pyproject.toml allows.

    python packaging/lowest.py build/lowest-venv

Installs them into a new virtual environment (with uv, extras web and alerts), then runs the program. Exit code 0 if
everything works.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("web", "alerts")
COMMANDS = (
    ("--version",),
    ("self-test",),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the virtual environment; an existing one is replaced")
    folder = parser.parse_args().folder.resolve()
    venv.create(folder, clear=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = [sys.executable, "-m", "uv", "--quiet", "pip"]
    target = f"{ROOT}[{','.join(EXTRAS)}]"
    subprocess.run([*uv, "install", "--python", python, "--resolution", "lowest-direct", target], check=True)
    listed = subprocess.run(
        [*uv, "list", "--python", python, "--format", "freeze"], check=True, capture_output=True, text=True
    )
    installed = dict(line.split("==") for line in listed.stdout.splitlines() if "==" in line)
    print("lowest versions:", ", ".join(f"{name} {installed[name]}" for name in lower_bounds()))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([python, "-c", f"import {', '.join(IMPORTS)}"], check=True, cwd=folder, env=environment)
    for command in COMMANDS:
        run = subprocess.run(
            [python, "-m", "app", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        if run.returncode or "Traceback" in run.stderr:
            raise SystemExit(
                f"maskwatch {' '.join(command)} failed with code {run.returncode}:\n{run.stdout}{run.stderr}"
            )
        print(f"works: maskwatch {' '.join(command)}")


if __name__ == "__main__":
    main()
