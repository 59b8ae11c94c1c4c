"""Somebody who has nothing but the program: how a build is run to see whether it stands on its own."""

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
    """Something does not work as it should."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """How the program is run: ``prefix`` before it, in an environment of ``HOME`` alone."""

    program: Path
    home: Path
    prefix: tuple[str, ...]

    def environment(self, **more: str) -> dict[str, str]:
        if sys.platform == "win32":  # without these not even the C run time starts
            needed = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP", "TMP") if name in os.environ}
            home = str(self.home)
            return {**needed, "USERPROFILE": home, "LOCALAPPDATA": home, "APPDATA": home, **more}
        return {"HOME": str(self.home), **more}

    def without_network_cut(self) -> tuple[str, ...]:
        """``prefix`` with the machine's own network."""
        return self.prefix[self.prefix.index("setpriv") :] if "setpriv" in self.prefix else ()

    def run(self, *words: str, code: int = 0, closed: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
        """Raises CheckError where the exit code is not ``code``. ``closed``: without standard output and error."""
        command = [*self.prefix, str(self.program), *words]
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
                f"'{' '.join(words)}' ended with {done.returncode}, not {code}: {done.stdout}{done.stderr}"
            )
        return done


def isolation() -> tuple[str, ...]:
    """The command that cuts the network off and drops the rights of root, as far as this machine allows it."""
    if shutil.which("unshare") is None:
        say("note", "no unshare: the network stays on")
        return ()
    root = os.geteuid() == 0
    prefix = ["unshare", "--net"] if root else ["unshare", "--map-root-user", "--net"]
    if root and shutil.which("setpriv"):
        prefix += ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if tried.returncode:
        say("note", f"the network stays on: {tried.stderr.decode().strip()}")
        return ()
    return tuple(prefix)


def say(state: str, words: str) -> None:
    """A line, with what the output's letters cannot write escaped: a pipe on Windows knows no 家."""
    letters = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(f"{state:5} {words}".encode(letters, "backslashreplace").decode(letters), flush=True)


def protect(folder: Path) -> None:
    """Nobody may write in ``folder``; everybody may read and run."""
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
