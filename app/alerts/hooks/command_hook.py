"""Runs a program for each alert: without a shell, with JSON on standard input and a time limit."""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO

from app.alerts.hook import Alert
from app.core.child_program import kill_group, own_environment
from app.core.errors import HookError
from app.settings.alerts import PLACEHOLDER, CommandChannel

OUTPUT_LIMIT_BYTES = 1_000_000
ERROR_TAIL_BYTES = 300
POLL_S = 0.02


def fill(argv: tuple[str, ...], alert: Alert, snapshot_path: str) -> list[str]:
    """``argv`` with each ``{name}`` replaced. A value never splits an argument."""
    record = alert.record()
    values = {name: "" if value is None else str(value) for name, value in record.items()}
    values.update(track=str(alert.event.track_id), key=alert.idempotency_key, snapshot=snapshot_path)
    return [PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), part) for part in argv]


class CommandHook:
    """Exit code 0 means success. Input, output and the snapshot are temporary files, so that neither side waits for the
    other and a background child does not delay the alert."""

    def __init__(self, channel: CommandChannel) -> None:
        self._channel = channel
        self._process: subprocess.Popen[bytes] | None = None
        self._aborted = False
        self.output = ""
        """The end of what the program of the last alert wrote, in one line."""

    def send(self, alert: Alert) -> None:
        self._aborted = False
        with tempfile.TemporaryDirectory(prefix="maskwatch-", ignore_cleanup_errors=True) as folder:
            snapshot = Path(folder, "snapshot.jpg")
            if alert.snapshot_jpeg is not None:
                snapshot.write_bytes(alert.snapshot_jpeg)
            path = str(snapshot) if alert.snapshot_jpeg is not None else ""
            with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
                stdin.write(alert.to_json().encode() + b"\n")
                stdin.seek(0)
                self._run(fill(self._channel.argv, alert, path), stdin, output)

    def _run(self, argv: list[str], stdin: IO[bytes], output: IO[bytes]) -> None:
        try:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=output,
                stderr=output,
                env=own_environment(),
                start_new_session=True,  # its own process group, which is killed as a whole; Windows kills the tree
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            advice = f"check argv of channel {self._channel.name!r}"
            raise HookError(f"cannot run {argv[0]!r}: {reason}; {advice}") from error
        self._process = process
        if self._aborted:  # during the start
            kill_group(process)
        try:
            self._wait(process, output)
        finally:
            if process.poll() is None:
                kill_group(process)
            process.wait()
            self._process = None
        self.output = self._output_tail(output)
        if process.returncode != 0:
            text = f": {self.output}" if self.output else ""
            raise HookError(f"{argv[0]!r} ended with code {process.returncode}{text}")

    def _wait(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        end_s = time.monotonic() + self._channel.timeout_s
        while process.poll() is None:
            if time.monotonic() >= end_s:
                raise HookError(f"{self._channel.argv[0]!r} took longer than {self._channel.timeout_s:g} s; killed")
            if os.fstat(output.fileno()).st_size > OUTPUT_LIMIT_BYTES:
                raise HookError(f"{self._channel.argv[0]!r} wrote more than {OUTPUT_LIMIT_BYTES:,} bytes; killed")
            try:
                process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue

    @staticmethod
    def _output_tail(output: IO[bytes]) -> str:
        output.seek(0, os.SEEK_END)
        output.seek(max(output.tell() - ERROR_TAIL_BYTES, 0))
        return " ".join(output.read(ERROR_TAIL_BYTES).decode("utf-8", "replace").split())

    def abort(self) -> None:
        self._aborted = True
        process = self._process
        if process is not None and process.poll() is None:
            kill_group(process)
