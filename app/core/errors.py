"""The error tree. Each message says what failed, which one, and what to do next, in one line."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells."""


class MaskwatchError(Exception):
    """Base of all errors that the program raises; the command line prints the message and exits with ``exit_code``."""

    exit_code = 2


class SettingsError(MaskwatchError):
    """A setting, flag or environment variable that cannot be used."""


class SourceError(MaskwatchError):
    """A camera, stream, file or folder that cannot be opened or read."""


class RetryLaterError(SourceError):
    """A server that must not be asked again before ``wait_s`` have passed."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class LoginError(RetryLaterError):
    """A server rejects the user name and password. Servers lock accounts after a few tries."""


class ModelError(MaskwatchError):
    """A cascade or model file that is missing, corrupt or not of the expected kind."""


class DataError(MaskwatchError):
    """Training or evaluation data that cannot be used."""


class OutputError(MaskwatchError):
    """A file or folder that cannot be written."""


class DisplayError(MaskwatchError):
    """There is no screen on which a window can be opened."""


class HookError(MaskwatchError):
    """An alert hook failed; the delivery is retried."""


class MonitorError(MaskwatchError):
    """A fault inside the running monitor: a crashed or stuck thread."""

    exit_code = 1
