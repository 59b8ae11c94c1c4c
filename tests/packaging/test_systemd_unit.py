"""The systemd unit: the setup steps in its first lines work as written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "packaging" / "maskwatch.service").read_text("utf-8")
STEPS = [line.removeprefix("#   ") for line in UNIT.splitlines() if line.startswith("#   ")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no systemd")
def test_setup_steps_create_and_check_settings_with_passwords(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    program = f'maskwatch() {{ "{sys.executable}" -m app "$@"; }}; set -e; '
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASKWATCH_")}
    for step in STEPS:
        if "/etc/maskwatch" not in step:
            continue
        if "config check" in step:
            (etc / "maskwatch.toml").write_text('[[camera]]\nuri = "rtsp://${DOOR_USER}:${DOOR}@10.0.0.7/live"\n')
            (etc / "maskwatch.env").write_text("DOOR_USER=viewer\nDOOR='a&b c'\n")
        script = program + step.replace("/etc/maskwatch", str(etc))
        done = subprocess.run(
            ["sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{step}: {done.stderr}"
    assert (etc / "maskwatch.env").stat().st_mode & 0o777 == 0o600


def test_unit_starts_the_program_that_the_steps_install() -> None:
    exec_start = next(line for line in UNIT.splitlines() if line.startswith("ExecStart=")).split()[0]
    assert exec_start == "ExecStart=/usr/local/bin/maskwatch"
    assert any(step.startswith("ln -s /opt/maskwatch/bin/maskwatch /usr/local/bin/") for step in STEPS)
