"""The ``maskwatch`` command line. Each command imports its dependencies only when it runs."""

import argparse
import errno
import io
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from app import __version__
from app.core.errors import INTERRUPTED, DisplayError, MaskwatchError, SettingsError
from app.core.files import exists
from app.core.own_command import SHOW_WINDOW
from app.core.standard_streams import drop, fault_tolerant_stderr
from app.settings.flags import Help
from app.settings.source_uri import is_photo

USAGE_ERROR = 2
_COMMANDS = {
    "watch": ("watch",),
    "start": ("start",),
    "annotate": ("annotate",),
    "config": ("config",),
    "doctor": ("doctor",),
    "self_test": ("self-test",),
    "bench": ("bench",),
    "alerts": ("events", "alerts", "purge"),
    "report": ("report",),
    "users": ("users",),
    "dataset": ("dataset",),
    "improve": ("improve",),
    "scan": ("scan",),
    "fleet": ("fleet",),
    "training_commands": ("train", "evaluate", "paper", "train-detector", "evaluate-detector"),
    "models": ("models",),
    "autostart": (),  # needs the others, to check what is to be started
    "update": ("update",),
}
"""The modules of ``app/cli``, in the order of the help, and the commands that need no other module."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    """Prints an error as one line without the usage text, and shows the defaults of settings in the help."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": Help, **options})
        self.description = (self.description or "").replace("``", "'")  # no reStructuredText in the help

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Each command reports its own unknown arguments; argparse would report them for the main parser."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggestion(unknown)}")
        return parsed, unknown

    def _suggestion(self, unknown: Sequence[str]) -> str:
        from app.settings.error_messages import nearest

        options = self._options()
        sources = list(takewhile(lambda argument: not argument.startswith("-"), unknown))
        if sources and "source" in options:
            from app.cli.watch import annotate_command

            if all(map(is_photo, sources)):
                return f"; did you mean {annotate_command(sources)}?"
            return f"; did you mean {' '.join(f'--source {shlex.quote(source)}' for source in sources)}?"
        near = nearest(unknown[0].partition("=")[0].lstrip("-"), options) if not sources else ""
        return f"; did you mean {options[near]}?" if near else ""

    def _options(self) -> dict[str, str]:
        """The flags by their names without hyphens."""
        return {name.lstrip("-"): name for each in self._actions for name in each.option_strings if _is_shown(each)}

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """An empty path, as from a shell variable that is not set, would be the current folder."""
        if action.type is Path and not arg_string:
            raise argparse.ArgumentError(action, "is empty; give a path")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Adds the most similar choice to the error of an unknown command or choice."""
        from app.settings.error_messages import nearest

        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            text = str(value)
            choices = action.choices or ()
            is_command = isinstance(choices, dict)
            if is_command and ("://" in text or os.sep in text or Path(text).suffix[1:].isalnum()):
                raise argparse.ArgumentError(action, f"no such file or command: {text}; check the path") from error
            watch = choices.get("watch") if isinstance(choices, dict) else None
            flags = watch._options() if isinstance(watch, _Parser) else {}
            near = f"watch {flags[text]}" if text in flags else nearest(text, map(str, choices))
            error.message += f"; did you mean {near}?" if near else ""
            raise

    def error(self, message: str) -> NoReturn:
        from app.core.secrets import redact

        see = " See" if message.endswith("?") else "; see"
        self.exit(USAGE_ERROR, f"{self.prog}: {redact(message)}{see} '{self.prog} --help'\n")


class _Formatter(logging.Formatter):
    """Hides the logins in tracebacks: the errors of FFmpeg and others contain whole addresses."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name of logging
        from app.core.secrets import redact

        return redact(super().formatException(ei))


def _is_shown(action: argparse.Action) -> bool:
    """Whether the help shows ``action``."""
    return action.help is not argparse.SUPPRESS


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of all commands, or only of ``command`` if it is one: to import the others takes long."""
    parser = _Parser(prog="maskwatch", description="Detect face masks in cameras, streams and files.")
    parser.add_argument("--version", action="version", version=f"maskwatch {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more (-vv: everything)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    needed = (name for name, own in _COMMANDS.items() if command in own)
    for name in [*needed] or _COMMANDS:
        import_module(f"app.cli.{name}").register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. A MaskwatchError becomes one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == [SHOW_WINDOW]:
        from app.ui.window_process import show_window

        return show_window(arguments[1:])
    try:
        if not arguments:
            if not has_display():
                raise SettingsError(
                    "no display for the start screen; give a COMMAND, such as 'maskwatch watch --headless', or see "
                    "'maskwatch --help'"
                )
            arguments = ["start"]
        arguments = with_implied_watch(arguments)
        command = next((argument for argument in arguments if not argument.startswith("-")), "")
        args = build_parser(command).parse_args(arguments)
        levels = (logging.WARNING, logging.INFO, logging.DEBUG)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Formatter("%(levelname)s %(message)s"))
        logging.basicConfig(level=levels[min(args.verbose, 2)], handlers=[handler])
        for name in ("httpx", "httpcore", "urllib3"):  # they log whole URLs with tokens
            logging.getLogger(name).setLevel(logging.WARNING)
        exit_code = int(args.run(args))
        if sys.stdout is not None:  # None if there is no console
            sys.stdout.flush()
        return exit_code
    except MaskwatchError as error:
        logging.getLogger(__name__).debug("cause", exc_info=True)
        return _failed(error, error.exit_code)
    except ImportError as error:
        return _failed(_import_advice(error))
    except AttributeError as error:
        if "module 'cv2'" not in str(error):
            raise
        return _failed(_opencv_advice(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe, as in '| head'
        drop(sys.stdout)
        return 141
    except OSError as error:
        if advice := _missing_folder_advice(error):
            return _failed(advice)
        if error.errno not in _FULL or error.filename is not None:
            raise
        drop(sys.stdout)
        return _failed(f"cannot write the output: {error.strerror}; free some disk space")


def _failed(reason: object, exit_code: int = USAGE_ERROR) -> int:
    print(f"maskwatch: {reason}", file=fault_tolerant_stderr())
    return exit_code


def has_display() -> bool:
    """Whether a window can be opened."""
    from app.ui.display import check_display

    try:
        check_display()
    except DisplayError:
        return False
    return True


def with_implied_watch(argv: Sequence[str]) -> list[str]:
    """Adds ``watch --source`` to leading URLs and paths, as when a file is dropped on the executable."""
    sources = list(takewhile(_is_source, argv))
    flags = [part for source in sources for part in ("--source", source)]
    return [*(["watch"] if sources else []), *flags, *argv[len(sources) :]]


def _is_source(argument: str) -> bool:
    if argument.startswith("-"):
        return False
    is_path = (os.sep in argument or Path(argument).suffix) and exists(Path(argument))
    return bool(is_path) or "://" in argument


def entry() -> NoReturn:
    """The console script: runs ``main`` and ends the process safely even if a video decoder hangs."""
    from app.capture.process_exit import end_process

    escape_unencodable()
    end_process(main())


def escape_unencodable() -> None:
    """Escapes characters that standard output cannot encode, as in a pipe on Windows, instead of raising.
    Python does this for standard error only."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None without a console
        sys.stdout.reconfigure(errors="backslashreplace")


def _missing_folder_advice(error: OSError) -> str:
    """The error text if there is no temporary or current folder, else ''."""
    if not isinstance(error, FileNotFoundError) or error.filename is not None:
        return ""
    if "temporary directory" in str(error):  # raised by tempfile
        return "no folder for temporary files can be written; set TMPDIR to one"
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the current folder was removed; change to another one"
    return ""


def _opencv_advice(error: Exception) -> str:
    """The error text for an OpenCV that is not complete."""
    from app.capture.opencv_packages import packages_text, repair_advice

    return f"cannot use OpenCV ({packages_text() or 'not installed'}): {error}; {repair_advice()}"


def _import_advice(error: ImportError) -> str:
    """The error text for a failed import."""
    from app.capture.opencv_packages import missing_library_advice

    if advice := missing_library_advice(error):
        return f"cannot load OpenCV: {error}; {advice}"
    if "cv2" in str(error):
        return _opencv_advice(error)
    if error.name and error.name.partition(".")[0] in ("tensorflow", "keras", "matplotlib", "sklearn"):
        return f"this needs {error.name}: pip install 'maskwatch[train]' (from a checkout: pip install '.[train]')"
    return f"cannot load {error.name or 'a module'}: {error}; reinstall maskwatch"
