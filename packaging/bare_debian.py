"""Follows the README as a stranger on a bare Debian, and prints what each step took.

    sudo python3 packaging/bare_debian.py build/bookworm                     # Debian 12
    sudo python3 packaging/bare_debian.py build/trixie --suite trixie --tests

Needs `apt install debootstrap`. Makes a chroot with a user, in whose home is a clone of the committed checkout, and
nothing that the README does not name. The pip settings of this machine come along, with the files they name. Then: the
README's first command, the packages that its error names, the demo without and (with Xvfb here) with a window; the
wheel alone with pipx and uv; with `--tests` the README's second command. Exit code 0 if everything works.
"""

import argparse
import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import virtual_screen
from stranger import CheckError, say

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = "python3,python3-venv,ca-certificates,git"
USER = "anna"
CLONE = f"/home/{USER}/maskwatch"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
PROGRAM = ".venv/bin/maskwatch"
WHEEL_COMMANDS = {
    "--version": r"maskwatch \d",
    "doctor": "no faults",
    "annotate $(find ~/{tool} -name self_test.jpg) --output labelled": r"(?s)no_mask.*self_test\.jpg.* mask",
    "self-test": r"\b(\d+) of \1 tests passed",
}
"""The commands, and what their output must match."""
_WINDOW_S = 12.0
_ENTER = """
root=$1 user=$2; shift 2
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sys "$root/sys"
mkdir -p "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}" && touch "$root$1"; fi
    mount --bind -o ro "$1" "$root$1"; shift
done
shift
exec chroot --userspec="$user" "$root" "$@"
"""
"""Runs a command inside; the mounts end with it, because ``Debian.command`` gives it a mount namespace."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended; ``text`` is all that it wrote."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Debian:
    """A Debian in the folder ``root``; commands inside see ``shared`` of this machine too."""

    root: Path
    shared: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, script: str, user: str = USER, folder: str = CLONE, **more: str) -> list[str]:
        home = "/root" if user == "root" else f"/home/{user}"
        variables = {"HOME": home, "USER": user, "PATH": PATH, "LANG": "C.UTF-8", **self.environment, **more}
        inside = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        inside += ["sh", "-c", f'cd "$0" && {script}', folder]
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-e",
            "-c",
            _ENTER,
            "sh",
            str(self.root),
            user,
            *self.shared,
            "--",
            *inside,
        ]

    def run(self, script: str, user: str = USER, folder: str = CLONE) -> Done:
        done = subprocess.run(
            self.command(script, user, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        return Done(done.returncode, done.stdout)


def readme_command(ending: str, readme: str | None = None) -> str:
    """The line of the README that makes an environment and ends with ``ending``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8") if readme is None else readme
    found = re.findall(rf"^python3 -m venv .*{re.escape(ending)}$", text, re.MULTILINE)
    if len(found) != 1:
        raise SystemExit(f"README.md has {len(found)} lines 'python3 -m venv … {ending}'; leave one")
    return str(found[0])


def pip_settings() -> dict[str, str]:
    """This machine's settings of pip that hold for every command, by name; those of the environment win."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = [line.split("=", 1) for line in listed.splitlines()]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {
        name.rpartition(".")[2]: str(ast.literal_eval(value))
        for name, value in ordered
        if name.startswith((":env:.", "global."))
    }


def local_paths(settings: dict[str, str]) -> tuple[str, ...]:
    """The files and folders that these settings of pip name. The files of an index lie beside its pages."""
    paths = []
    for word in " ".join(settings.values()).split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():
            paths.append(str(path.parent if word.startswith("file://") else path))
    return tuple(dict.fromkeys(paths))


def make(root: Path, suite: str, mirror: str | None) -> Debian:
    """A new Debian in ``root``, with the clone."""
    from_mirror = [mirror] if mirror else []
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, root, *from_mirror], check=True)
    settings = pip_settings()
    written = configparser.RawConfigParser()
    written["global"] = settings
    with (root / "etc/pip.conf").open("w", encoding="utf-8") as file:
        written.write(file)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")  # debootstrap leaves it to the installer
    cert = settings.get("cert")
    debian = Debian(root, local_paths(settings), {"SSL_CERT_FILE": cert} if cert else {})
    done = debian.run(f"useradd --create-home {USER}", "root", "/")
    if done.code:
        raise CheckError(done.text)
    clone = f"{root}{CLONE}"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, clone], check=True)
    debian.run(f"chown -R {USER}: {CLONE}", "root", "/")
    return debian


class Walk:
    """The steps, with their times. A step that does not end as it should ends the walk with CheckError."""

    def __init__(self, debian: Debian) -> None:
        self.debian = debian
        self.rows: list[str] = []

    def step(
        self, script: str, *, code: int = 0, shows: str = "", user: str = USER, folder: str = CLONE, lines: int = 0
    ) -> str:
        """Runs it; its output must match ``shows``, whose group is returned. ``lines``: and must have that many."""
        started_s = time.monotonic()
        done = self.debian.run(script, user, folder)
        found = re.search(shows, done.text)
        if done.code != code or not found or (lines and done.text.count("\n") != lines):
            raise CheckError(f"{script} ended with code {done.code}, not {code} and '{shows}':\n{done.text}")
        self.note(script, time.monotonic() - started_s, done.text)
        return found[1] if found.groups() else ""

    def note(self, script: str, took_s: float, text: str = "") -> None:
        last_line = next((line for line in reversed(text.splitlines()) if re.search(r"\w", line)), "")
        self.rows.append(f"| `{script}` | {took_s:.0f} | {last_line} |")
        say("ok", f"{took_s:5.1f} s  {script}")

    def first_command(self) -> None:
        command = readme_command("watch --source demo")
        advised = self.step(command, code=2, shows=r"on Debian and Ubuntu: apt install ([\w .-]+)")
        self.step("du -sh .venv")
        install = f"apt-get install -y --no-install-recommends {advised}"
        self.step(f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive {install}", user="root")
        self.step(f"{PROGRAM} watch --source demo", code=2, shows="use --headless to watch without a window", lines=1)
        demo = f"{PROGRAM} watch --source demo --headless --fast --events /tmp/events.csv"
        self.step(demo, shows="(?s)no_mask.*resolved \\(mask on\\)")

    def window(self, picture: Path) -> None:
        """The demo on a virtual screen of this machine; the screen is saved as ``picture``."""
        if missing := [tool for tool in (*virtual_screen.TOOLS, "import") if shutil.which(tool) is None]:
            say("warn", f"no window was tried: {', '.join(missing)} missing here")
            return
        started_s = time.monotonic()
        with virtual_screen.screen() as display:
            command = self.debian.command(f"{PROGRAM} watch --source demo", DISPLAY=display)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
                time.sleep(_WINDOW_S)
                environment = {**os.environ, "DISPLAY": display}
                subprocess.run(["import", "-window", "root", picture], env=environment, check=True)
                had_window = virtual_screen.press(display, ["q"], running, lambda: running.poll() is not None)
        if not had_window or running.returncode:
            raise CheckError(f"no window: code {running.returncode}")
        self.note("the same with a display, q after some seconds", time.monotonic() - started_s)

    def wheel(self) -> None:
        """The wheel alone, as pipx and uv install it."""
        home = f"/home/{USER}"
        self.step(f".venv/bin/pip wheel --quiet --no-deps --wheel-dir {home}/dist .")
        self.step(f"python3 -m venv {home}/tools && {home}/tools/bin/pip install --quiet pipx uv")
        places = (
            f"PIPX_HOME={home}/pipx PIPX_BIN_DIR={home}/pipx/bin UV_TOOL_DIR={home}/uv UV_TOOL_BIN_DIR={home}/uv/bin"
        )
        for tool, install in (("pipx", "pipx install"), ("uv", "uv tool install --python /usr/bin/python3")):
            self.step(f"env {places} {home}/tools/bin/{install} {home}/dist/*.whl", folder=home)
            empty = f"{home}/empty-{tool}"
            self.debian.run(f"mkdir {empty}", folder=home)
            for arguments, shows in WHEEL_COMMANDS.items():
                self.step(f"{home}/{tool}/bin/maskwatch {arguments.format(tool=tool)}", shows=shows, folder=empty)

    def tests(self, log: Path) -> None:
        """The README's second command, without the environment of the first; its output is saved as ``log``."""
        command, started_s = readme_command("pytest"), time.monotonic()
        inside = self.debian.command(f"rm -rf .venv && {command}")
        with log.open("wb") as file:
            done = subprocess.run(inside, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise CheckError(f"the tests ended with code {done.returncode}; see {log}")
        self.note(command, time.monotonic() - started_s, log.read_text(encoding="utf-8", errors="replace"))
        self.step("du -sh .venv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the chroot; must not exist")
    parser.add_argument("--suite", default="bookworm", help="the Debian (%(default)s)")
    parser.add_argument("--mirror", help="address of the packages, if not debootstrap's own")
    parser.add_argument("--tests", action="store_true", help="run all tests too (about half an hour)")
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    if os.geteuid() or shutil.which("debootstrap") is None:
        raise SystemExit("this needs root, and debootstrap: apt install debootstrap")
    if root.exists():
        raise SystemExit(f"{root} exists; remove it, or name another folder")
    walk = Walk(make(root, arguments.suite, arguments.mirror))
    try:
        walk.first_command()
        walk.window(root.with_name(f"{root.name}.png"))
        walk.wheel()
        if arguments.tests:
            walk.tests(root.with_name(f"{root.name}.log"))
    except CheckError as error:
        raise SystemExit(f"fault {error}") from error
    finally:
        print("\n| step | s | its last line |\n|---|---|---|", *walk.rows, sep="\n")


if __name__ == "__main__":
    main()
