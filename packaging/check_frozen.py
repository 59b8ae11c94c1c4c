"""Runs a one-folder build as a stranger would: no Python, no environment, no network, a program folder that cannot be
written, a home whose name has blanks and letters of other scripts. Needs nothing but Python's standard library.

    python packaging/check_frozen.py dist/maskwatch

Exit code 0 when everything works. Where a condition cannot be made (not Linux, no right to), a line says so.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import archive
import virtual_screen
from stranger import NOBODY, CheckError, Stranger, isolation, listing, protect, say, unprotect

HOME_NAME = "Käthe Müller 家 дом"
PROGRAM_NAME = "program folder of Zoë"
FROM_THE_SYSTEM = (
    "linux-vdso",
    "ld-linux",
    "libc.",
    "libm.",
    "libdl.",
    "libpthread.",
    "librt.",
    "libGL",
    "libxcb.so.1",
)
"""What the folder may take from the system: the C library and what belongs to the graphics driver and X server."""


def check_self_test(stranger: Stranger) -> str:
    record = json.loads(stranger.run("self-test", "--json").stdout)
    program = next(check["words"] for check in record["checks"] if check["subject"] == "program")
    if "all of it from its own folder" not in program:
        raise CheckError(f"self-test did not look where its parts come from: {program}")
    return f"self-test: {len(record['checks'])} parts work; {program}"


def check_clip(stranger: Stranger) -> str:
    events, film, told = (stranger.home / name for name in ("events é.jsonl", "film é.mp4", "told.txt"))
    flags = ["watch", "--headless", "--source", "demo", "--fast", "--events", str(events), "--output", str(film)]
    if sys.platform != "win32":  # the user's commands must not inherit our libraries
        script = stranger.home / "alarm.sh"
        script.write_text('cat >> "$1"\necho "path=$LD_LIBRARY_PATH" >> "$1"\n', encoding="utf-8")
        flags += ["--on-alert", f"/bin/sh '{script}' '{told}'"]
    stranger.run(*flags)
    found = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    alerts = [event for event in found if event["kind"] == "no_mask"]
    resolved = [event for event in found if event["kind"] == "resolved"]
    if len(alerts) != 1 or [event["resolves"] for event in resolved] != [alerts[0]["id"]]:
        raise CheckError(f"the demo should give one alert and its end, not {found}")
    if film.stat().st_size < 50_000:
        raise CheckError(f"the annotated film is only {film.stat().st_size} bytes")
    if sys.platform != "win32":
        words = told.read_text(encoding="utf-8")
        if alerts[0]["id"] not in words or "path=\n" not in words:
            raise CheckError(f"the alert command got the wrong alert or environment: {words}")
    return "clip: one alert and its end in the events, a film, an alert command told, with the system's libraries"


def check_page(stranger: Stranger) -> str:
    """The web view, its templates and styles. In this machine's network, for a cut-off one has not even a loopback."""
    words = [
        *stranger.without_network_cut(),
        str(stranger.program),
        "watch",
        "--headless",
        "--source",
        "demo",
        "--loop",
    ]
    with subprocess.Popen(
        [*words, "--web", "127.0.0.1:0"],
        env=stranger.environment(),
        cwd=stranger.home,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stderr is not None
        try:
            url = next((line.split()[-1] for line in running.stderr if line.startswith("web view: ")), "")
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows no loopback of ours
            for place, expected in (("", b"<html"), ("static/style.css", b"{")):
                with opener.open(url + place, timeout=20) as answer:
                    if expected not in answer.read():
                        raise CheckError(f"the web view gives something else at /{place}")
            running.terminate()
            running.stderr.read()
            code = running.wait(20)
        finally:
            running.kill()
    if code and sys.platform != "win32":
        raise CheckError(f"the web view ended with {code}")
    return "web view: page and styles"


def check_advice(stranger: Stranger) -> str:
    words = stranger.run("watch", "--headless", "--source", "demo", "--backend", "keras", code=2).stderr
    if "TensorFlow" not in words or "--backend litert" not in words:
        raise CheckError(f"--backend keras does not say how to get it: {words}")
    return "--backend keras says how to get it"


def check_log(stranger: Stranger) -> str:
    """Closed streams are what a program without a console has: ``sys.stderr`` is None."""
    if sys.platform == "win32":
        return "log without a console: not tried on Windows"
    stranger.run("annotate", "no such picture.jpg", code=2, closed=True)
    logs = list(stranger.home.rglob("maskwatch.log"))
    if len(logs) != 1 or "no such picture.jpg" not in logs[0].read_text(encoding="utf-8"):
        raise CheckError(f"without a console the error should be in one log file, not in {logs}")
    return f"without a console the error is in {logs[0].relative_to(stranger.home)}"


def check_libraries(folder: Path) -> str:
    """What the loader takes from elsewhere must be the system's own."""
    inside = folder / "_internal"
    if not sys.platform.startswith("linux") or shutil.which("ldd") is None:
        return "libraries: not looked at here"
    libraries = [str(path) for path in inside.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(inside)}
    lines = subprocess.run(["ldd", *libraries], capture_output=True, text=True, check=False, env=environment).stdout
    taken = set()
    for line in lines.splitlines():
        name, _, rest = line.strip().partition(" => ")
        if rest and "/" not in name and str(inside) not in rest:
            taken.add(name)
            if not name.startswith(FROM_THE_SYSTEM):
                raise CheckError(f"{name} is not in the folder: {rest}")
    return f"from the system it takes only {', '.join(sorted(taken))}"


def missing_screen() -> str:
    """What this machine lacks to try windows; '' where nothing."""
    missing = [tool for tool in virtual_screen.TOOLS if shutil.which(tool) is None]
    return "" if sys.platform.startswith("linux") and not missing else f"needs Linux and {', '.join(missing)}"


@contextmanager
def clicked(stranger: Stranger, display: str) -> Iterator["subprocess.Popen[str]"]:
    """The program as a double click starts it; it is gone at the end."""
    command = [*stranger.prefix, str(stranger.program)]
    with subprocess.Popen(
        command,
        env=stranger.environment(DISPLAY=display),
        cwd=stranger.home,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def check_start(stranger: Stranger) -> str:
    """A double click: no camera, so the demo is offered; Enter takes it, q ends it."""
    if missing := missing_screen():
        return f"start without arguments: not tried ({missing})"
    with virtual_screen.screen() as display, clicked(stranger, display) as running:
        pictures = stranger.home / "Pictures" / "maskwatch"
        virtual_screen.press(display, ("Return", "s"), running, lambda: any(pictures.glob("*.png")))
        virtual_screen.press(display, ("q",), running, lambda: running.poll() is not None)
        _, words = running.communicate(timeout=20)
    if running.returncode or "frames analysed" not in words:
        raise CheckError(f"started without arguments it ended with {running.returncode}: {words}")
    return "start without arguments: offered the demo, showed it, kept a snapshot, ended by a key"


def check_error_window(stranger: Stranger) -> str:
    """A double click that cannot work stays on the screen until it was read."""
    if missing := missing_screen():
        return f"errors in a window: not tried ({missing})"
    settings = stranger.home / ".config" / "maskwatch" / "maskwatch.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("colour = 1\n", encoding="utf-8")
    with virtual_screen.screen() as display, clicked(stranger, display) as running:
        seen = virtual_screen.press(display, ("Escape",), running, lambda: running.poll() is not None)
        _, words = running.communicate(timeout=20)
    settings.unlink()
    if not seen or running.returncode != 2 or "colour" not in words:
        raise CheckError(f"bad settings: window {seen}, ended with {running.returncode}: {words}")
    return "an error stands in a window until a key closes it"


def check_no_display(stranger: Stranger) -> str:
    if not sys.platform.startswith("linux"):
        return "start without a display: only Linux can have none"
    words = stranger.run(code=2).stderr
    if "no display" not in words or "--headless" not in words:
        raise CheckError(f"without a display it does not say what to do: {words}")
    return "start without a display says what to do"


def check_size(folder: Path, most_mb: float) -> str:
    size_mb = archive.size_bytes(folder) / 1e6
    if size_mb > most_mb:
        raise CheckError(f"{size_mb:.1f} MB on disk, and {most_mb:.0f} MB are allowed; see docs/packaging.md, Size")
    return f"{size_mb:.1f} MB on disk"


def run_all(folder: Path, most_mb: float) -> int:
    began_s = time.monotonic()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="maskwatch-check-") as scratch:
        Path(scratch).chmod(0o755)
        home, program_folder = Path(scratch, HOME_NAME), Path(scratch, PROGRAM_NAME)
        home.mkdir()
        shutil.copytree(folder, program_folder, symlinks=True)
        protect(program_folder)
        prefix = isolation() if sys.platform.startswith("linux") else ()
        if f"--reuid={NOBODY}" in prefix:
            os.chown(home, NOBODY, NOBODY)
        program = program_folder / ("maskwatch.exe" if sys.platform == "win32" else "maskwatch")
        stranger = Stranger(program, home, prefix)
        say("with", f"{' '.join(prefix) or 'no isolation'}, HOME={home.name!r}, nothing else")
        before = listing(program_folder)
        checks: tuple[Callable[[], str], ...] = (
            lambda: check_size(program_folder, most_mb),
            lambda: check_libraries(program_folder),
            lambda: check_self_test(stranger),
            lambda: check_clip(stranger),
            lambda: check_page(stranger),
            lambda: check_advice(stranger),
            lambda: check_log(stranger),
            lambda: check_no_display(stranger),
            lambda: check_start(stranger),
            lambda: check_error_window(stranger),
        )
        for check in checks:
            try:
                say("ok", check())
            except (
                CheckError,
                virtual_screen.InVainError,
                subprocess.TimeoutExpired,
                OSError,
                ValueError,
                KeyError,
            ) as error:
                faults += 1
                say("FAULT", str(error))
        if listing(program_folder) != before:
            faults += 1
            say("FAULT", "the program's folder was changed")
        unprotect(program_folder)
    say("FAULT" if faults else "ok", f"{faults} faults; {time.monotonic() - began_s:.0f} s")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="run a one-folder build as a stranger would")
    parser.add_argument("folder", type=Path, help="such as dist/maskwatch")
    parser.add_argument("--most-mb", type=float, default=math.inf, metavar="MB", help="the most it may take on disk")
    args = parser.parse_args()
    folder: Path = args.folder.resolve()
    if not folder.is_dir():
        parser.error(f"no folder {folder}; run python packaging/build.py first")
    return run_all(folder, args.most_mb)


if __name__ == "__main__":
    sys.exit(main())
