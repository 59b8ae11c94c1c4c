"""The walk on a bare Debian takes its commands from the README, and the pip settings of the machine along."""

import subprocess
from pathlib import Path

import bare_debian
import pytest

from app.capture.opencv_packages import missing_library_advice


def test_the_readme_has_the_two_commands() -> None:
    assert ".venv/bin/pip install . &&" in bare_debian.readme_command("watch --source demo")
    assert '".[train,test]"' in bare_debian.readme_command("pytest")


def test_a_readme_without_the_command_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"0 lines .* pytest'; leave one"):
        bare_debian.readme_command("pytest", "python3 -m venv .venv && .venv/bin/nosetests\n")


def test_the_settings_of_pip_come_along_with_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels, index, certificate = tmp_path / "wheels", tmp_path / "index", tmp_path / "ca.crt"
    (index / "simple").mkdir(parents=True)
    wheels.mkdir()
    certificate.touch()
    listed = [
        f":env:.find-links='{wheels}'",
        "freeze.all='true'",
        "global.find-links='/other'",
        f"global.cert='{certificate}'",
        f"global.extra-index-url='https://index.example/simple\\nfile://{index}/simple file:///absent/simple'",
    ]
    answer = subprocess.CompletedProcess([], 0, "\n".join(listed) + "\n")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_named: answer)
    settings = bare_debian.pip_settings()
    assert settings["find-links"] == str(wheels)
    assert "all" not in settings
    assert sorted(bare_debian.local_paths(settings)) == sorted(map(str, (wheels, index, certificate)))


def test_a_command_has_only_its_own_environment(tmp_path: Path) -> None:
    command = bare_debian.Debian(tmp_path, ("/srv/wheels",)).command("env", DISPLAY=":7")
    names = [part.partition("=")[0] for part in command[command.index("env") + 2 : command.index("sh", -4)]]
    assert names == ["HOME", "USER", "PATH", "LANG", "DISPLAY"]
    assert command[-3:] == ["-c", 'cd "$0" && env', bare_debian.CLONE]
    assert command[command.index("/srv/wheels") + 1] == "--"


def test_the_readme_names_the_system_libraries_as_the_message_does() -> None:
    advice = missing_library_advice("libGL.so.1: cannot open shared object file")
    packages = advice.partition("apt install ")[2].partition(";")[0]
    assert f"apt install python3-venv {packages}`" in (bare_debian.ROOT / "README.md").read_text(encoding="utf-8")
