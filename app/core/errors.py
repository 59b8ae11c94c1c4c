"""The error tree. Each message says what failed, which one, and what to do next, in one line."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class MaskwatchError(Exception):
    """Base of every error the program raises on purpose; the command line prints it and exits with its code."""

    exit_code = 2


class SettingsError(MaskwatchError):
    """A setting, flag or environment variable that cannot be used."""


class SourceError(MaskwatchError):
    """A camera, stream, file or folder that cannot be opened or read."""


class ModelError(MaskwatchError):
    """A cascade or model file that is missing, corrupt, or does not fit its use."""


class DataError(MaskwatchError):
    """Training or evaluation data that cannot be used."""


class OutputError(MaskwatchError):
    """A place that cannot be written to."""


class DisplayError(MaskwatchError):
    """No screen to open a window on."""


class HookError(MaskwatchError):
    """An alert hook that failed; the delivery tries it again."""


class MonitorError(MaskwatchError):
    """A fault inside the running monitor: a crashed or stuck thread."""

    exit_code = 1
