"""Runs a build as a user who has only the program, to test that it needs nothing from the builder's machine."""

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
RUN_LIMIT_S = 240.0


class CheckError(Exception):
    """A check of the build failed."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Runs ``program`` after the isolation command ``prefix``, with ``HOME`` as the only environment variable."""

    program: Path
    home: Path
    prefix: tuple[str, ...]

    def environment(self, **more: str) -> dict[str, str]:
        if sys.platform == "win32":  # the C runtime does not start without these
            needed = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP", "TMP") if name in os.environ}
            home = str(self.home)
            return {**needed, "USERPROFILE": home, "LOCALAPPDATA": home, "APPDATA": home, **more}
        return {"HOME": str(self.home), **more}

    def prefix_with_network(self) -> tuple[str, ...]:
        """``prefix`` without the network isolation."""
        return self.prefix[self.prefix.index("setpriv") :] if "setpriv" in self.prefix else ()

    def run(
        self, *arguments: str, code: int = 0, closed: bool = False, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Raises CheckError if the exit code is not ``code``. ``closed``: without standard output and error."""
        command = [*self.prefix, str(self.program), *arguments]
        if closed:
            command = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
        done = subprocess.run(
            command,
            env=self.environment(**more),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=RUN_LIMIT_S,
            check=False,
        )
        if done.returncode != code:
            raise CheckError(
                f"'{' '.join(arguments)}' ended with code {done.returncode}, not {code}: {done.stdout}{done.stderr}"
            )
        return done


def isolation() -> tuple[str, ...]:
    """The command that isolates the network and drops root rights, as far as this machine allows it."""
    if shutil.which("unshare") is None:
        say("warn", "no unshare: the network is not isolated")
        return ()
    root = os.geteuid() == 0
    prefix = ["unshare", "--net"] if root else ["unshare", "--map-root-user", "--net"]
    if root and shutil.which("setpriv"):
        prefix += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    trial = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if trial.returncode:
        say("warn", f"the network is not isolated: {trial.stderr.decode().strip()}")
        return ()
    return tuple(prefix)


def say(state: str, message: str) -> None:
    """Prints a line; escapes characters that the output's encoding lacks (a pipe on Windows cannot encode 家)."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(f"{state:5} {message}".encode(encoding, "backslashreplace").decode(encoding), flush=True)


def protect(folder: Path) -> None:
    """Makes ``folder`` read-only; everyone may read and execute."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod((mode | stat.S_IRGRP | stat.S_IROTH | (mode & 0o100) >> 3 | (mode & 0o100) >> 6) & ~0o222)


def unprotect(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}
