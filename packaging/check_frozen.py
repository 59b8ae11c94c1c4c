"""Tests a one-folder build in isolation: no Python, no environment, no network, a read-only program folder, a home
folder whose name contains spaces and non-Latin letters. Needs only Python's standard library.

    python packaging/check_frozen.py dist/maskwatch

Exit code 0 if everything works. If a condition cannot be created (not Linux, no permission), a line says so.
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
SYSTEM_LIBRARIES = (
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
"""Libraries that the build may load from the system: the C library, the graphics driver's and the X server's."""


def check_self_test(stranger: Stranger) -> str:
    stranger.run("self-test", "--models", "open", "--json")
    record = json.loads(stranger.run("self-test", "--json").stdout)
    program = next(check["words"] for check in record["checks"] if check["subject"] == "program")
    if "all of it from its own folder" not in program:
        raise CheckError(f"self-test does not report that all parts come from its own folder: {program}")
    return f"self-test: {len(record['checks'])} parts work; {program}"


def check_clip(stranger: Stranger) -> str:
    events, video, alert_log = (stranger.home / name for name in ("events é.jsonl", "video é.mp4", "alerts.txt"))
    flags = ["watch", "--headless", "--source", "demo", "--fast", "--events", str(events), "--output", str(video)]
    if sys.platform != "win32":  # the user's commands must not inherit the build's libraries
        script = stranger.home / "alert.sh"
        script.write_text('cat >> "$1"\necho "path=$LD_LIBRARY_PATH" >> "$1"\n', encoding="utf-8")
        flags += ["--on-alert", f"/bin/sh '{script}' '{alert_log}'"]
    stranger.run(*flags)
    written = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    alerts = [event for event in written if event["kind"] == "no_mask"]
    resolved = [event for event in written if event["kind"] == "resolved"]
    if len(alerts) != 1 or [event["resolves"] for event in resolved] != [alerts[0]["id"]]:
        raise CheckError(f"the demo should give one alert and its resolved event, not {written}")
    if video.stat().st_size < 50_000:
        raise CheckError(f"the annotated video is only {video.stat().st_size} bytes")
    if sys.platform != "win32":
        output = alert_log.read_text(encoding="utf-8")
        if alerts[0]["id"] not in output or "path=\n" not in output:
            raise CheckError(f"the alert command got the wrong alert or environment: {output}")
    return "clip: one alert and its resolved event, a video, an alert command that ran with the system's libraries"


def check_page(stranger: Stranger) -> str:
    """The web view, its templates and styles. Uses the machine's network: an isolated one has no loopback."""
    command = [
        *stranger.prefix_with_network(),
        str(stranger.program),
        "watch",
        "--headless",
        "--source",
        "demo",
        "--loop",
    ]
    with subprocess.Popen(
        [*command, "--web", "127.0.0.1:0"],
        env=stranger.environment(),
        cwd=stranger.home,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stderr is not None
        try:
            url = next((line.split()[-1] for line in running.stderr if line.startswith("web view: ")), "")
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({})
            )  # a proxy cannot connect to this loopback
            for path, expected in (("", b"<html"), ("?language=de", b"Ereignisse"), ("static/style.css", b"{")):
                with opener.open(url + path, timeout=20) as response:
                    if expected not in response.read():
                        raise CheckError(f"the web view returns unexpected content at /{path}")
            running.terminate()
            running.stderr.read()
            code = running.wait(20)
        finally:
            running.kill()
    if code and sys.platform != "win32":
        raise CheckError(f"the web view ended with code {code}")
    return "web view: pages in two languages and styles"


def check_advice(stranger: Stranger) -> str:
    error = stranger.run("watch", "--headless", "--source", "demo", "--backend", "keras", code=2).stderr
    if "TensorFlow" not in error or "--backend litert" not in error:
        raise CheckError(f"--backend keras does not say how to install it: {error}")
    return "--backend keras says how to install it"


def check_log(stranger: Stranger) -> str:
    """Closed streams stand for a program without a console: ``sys.stderr`` is None."""
    if sys.platform == "win32":
        return "log without a console: not tested on Windows"
    stranger.run("annotate", "missing image.jpg", code=2, closed=True)
    logs = list(stranger.home.rglob("maskwatch.log"))
    if len(logs) != 1 or "missing image.jpg" not in logs[0].read_text(encoding="utf-8"):
        raise CheckError(f"without a console the error should be in exactly one log file, not in {logs}")
    return f"without a console the error is in {logs[0].relative_to(stranger.home)}"


def check_libraries(folder: Path) -> str:
    """Libraries loaded from outside the folder must be in SYSTEM_LIBRARIES."""
    inside = folder / "_internal"
    if not sys.platform.startswith("linux") or shutil.which("ldd") is None:
        return "libraries: not checked here (needs Linux and ldd)"
    libraries = [str(path) for path in inside.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(inside)}
    lines = subprocess.run(["ldd", *libraries], capture_output=True, text=True, check=False, env=environment).stdout
    from_system = set()
    for line in lines.splitlines():
        name, _, rest = line.strip().partition(" => ")
        if rest and "/" not in name and str(inside) not in rest:
            from_system.add(name)
            if not name.startswith(SYSTEM_LIBRARIES):
                raise CheckError(f"{name} is not in the folder: {rest}")
    return f"loads only these from the system: {', '.join(sorted(from_system))}"


def missing_screen() -> str:
    """What this machine lacks to test windows; '' if it can."""
    missing = [tool for tool in virtual_screen.TOOLS if shutil.which(tool) is None]
    return "" if sys.platform.startswith("linux") and not missing else f"needs Linux and {', '.join(missing)}"


@contextmanager
def double_clicked(stranger: Stranger, display: str) -> Iterator["subprocess.Popen[str]"]:
    """Starts the program as a double click does; kills it at the end."""
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
    """A double click shows the start screen; the demo is its last item (Left goes there), q quits."""
    if missing := missing_screen():
        return f"start without arguments: not tested ({missing})"
    with virtual_screen.screen() as display, double_clicked(stranger, display) as running:
        pictures = stranger.home / "Pictures" / "maskwatch"
        virtual_screen.press(display, ("Left", "Return", "s"), running, lambda: any(pictures.glob("*.png")))
        virtual_screen.press(display, ("q",), running, lambda: running.poll() is not None)
        _, output = running.communicate(timeout=20)
    if running.returncode or "frames analysed" not in output:
        raise CheckError(f"started without arguments it ended with code {running.returncode}: {output}")
    return "start without arguments: the demo was chosen, played, saved a snapshot, ended by a key"


def check_error_window(stranger: Stranger) -> str:
    """After a double click, an error stays on the screen until a key closes it."""
    if missing := missing_screen():
        return f"errors in a window: not tested ({missing})"
    settings = stranger.home / ".config" / "maskwatch" / "maskwatch.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("colour = 1\n", encoding="utf-8")
    with virtual_screen.screen() as display, double_clicked(stranger, display) as running:
        had_window = virtual_screen.press(display, ("Escape",), running, lambda: running.poll() is not None)
        _, output = running.communicate(timeout=20)
    settings.unlink()
    if not had_window or running.returncode != 2 or "colour" not in output:
        raise CheckError(f"invalid settings: window {had_window}, ended with code {running.returncode}: {output}")
    return "an error stays in a window until a key closes it"


def check_no_display(stranger: Stranger) -> str:
    if not sys.platform.startswith("linux"):
        return "start without a display: tested on Linux only"
    error = stranger.run(code=2).stderr
    if "no display" not in error or "--headless" not in error:
        raise CheckError(f"without a display it does not say what to do: {error}")
    return "start without a display says what to do"


def check_size(folder: Path, most_mb: float) -> str:
    size_mb = archive.size_bytes(folder) / 1e6
    if size_mb > most_mb:
        raise CheckError(
            f"{size_mb:.1f} MB on disk, but only {most_mb:.0f} MB are allowed; see docs/packaging.md, Size"
        )
    return f"{size_mb:.1f} MB on disk"


def run_all(folder: Path, most_mb: float) -> int:
    start_s = time.monotonic()
    failures = 0
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
        say("with", f"{' '.join(prefix) or 'no isolation'}, HOME={home.name!r} as the only variable")
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
                virtual_screen.NoReactionError,
                subprocess.TimeoutExpired,
                OSError,
                ValueError,
                KeyError,
            ) as error:
                failures += 1
                say("FAIL", str(error))
        if listing(program_folder) != before:
            failures += 1
            say("FAIL", "the program changed its own folder")
        unprotect(program_folder)
    say("FAIL" if failures else "ok", f"{failures} failed; {time.monotonic() - start_s:.0f} s")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="test a one-folder build in isolation")
    parser.add_argument("folder", type=Path, help="for example dist/maskwatch")
    parser.add_argument("--most-mb", type=float, default=math.inf, metavar="MB", help="maximum size on disk")
    args = parser.parse_args()
    folder: Path = args.folder.resolve()
    if not folder.is_dir():
        parser.error(f"folder not found: {folder}; run python packaging/build.py first")
    return run_all(folder, args.most_mb)


if __name__ == "__main__":
    sys.exit(main())
