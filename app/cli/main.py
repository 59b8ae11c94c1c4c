"""The ``maskwatch`` command: words in, exit codes out. Each command imports what it needs when it runs."""

import argparse
import errno
import io
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from app import __version__
from app.core.errors import INTERRUPTED, MaskwatchError
from app.core.files import exists
from app.core.standard_streams import drop, fault_tolerant_stderr
from app.settings.flags import Help

USAGE_ERROR = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    """One clear line instead of the whole usage before it; help that tells the defaults of settings."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": Help, **options})
        self.description = (self.description or "").replace("``", "'")  # a docstring's marks are not for the user

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """What a command does not know is its own error: argparse would leave it to the program above it."""
        known, left = super().parse_known_args(args, namespace)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}{self._meant(left)}")
        return known, left

    def _meant(self, left: Sequence[str]) -> str:
        from app.settings.error_messages import nearest

        options = {name.lstrip("-"): name for each in self._actions for name in each.option_strings if _is_told(each)}
        sources = list(takewhile(lambda word: not word.startswith("-"), left))
        if sources and "source" in options:
            return f"; did you mean {' '.join(f'--source {shlex.quote(word)}' for word in sources)}?"
        near = nearest(left[0].partition("=")[0].lstrip("-"), options) if not sources else ""
        return f"; did you mean {options[near]}?" if near else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """An unknown command or choice, and the one like it."""
        from app.settings.error_messages import nearest

        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = nearest(str(value), map(str, action.choices or ()))
            error.message += f"; did you mean {near}?" if near else ""
            raise

    def error(self, message: str) -> NoReturn:
        from app.settings.source import redact

        see = " See" if message.endswith("?") else "; see"
        self.exit(USAGE_ERROR, f"{self.prog}: {redact(message)}{see} '{self.prog} --help'\n")


def _is_told(action: argparse.Action) -> bool:
    """Whether the help tells of it."""
    return action.help is not argparse.SUPPRESS


def build_parser() -> argparse.ArgumentParser:
    from app.cli import alerts, annotate, bench, config, doctor, models, self_test, train_detector, watch
    from app.cli import training_commands as train

    parser = _Parser(prog="maskwatch", description="Watch faces for masks: camera, stream or file.")
    parser.add_argument("--version", action="version", version=f"maskwatch {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="more of the log (-vv: all)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for module in (watch, annotate, config, doctor, self_test, bench, alerts, train, train_detector, models):
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors of ours are one line on standard error."""
    try:
        args = build_parser().parse_args(with_implied_watch(sys.argv[1:] if argv is None else argv))
        levels = (logging.WARNING, logging.INFO, logging.DEBUG)
        logging.basicConfig(level=levels[min(args.verbose, 2)], format="%(levelname)s %(message)s", stream=sys.stderr)
        for name in ("httpx", "httpcore", "urllib3"):  # they log whole URLs, tokens included
            logging.getLogger(name).setLevel(logging.WARNING)
        exit_code = int(args.run(args))
        if sys.stdout is not None:  # there may be no console
            sys.stdout.flush()
        return exit_code
    except MaskwatchError as error:
        logging.getLogger(__name__).debug("cause", exc_info=True)
        print(f"maskwatch: {error}", file=fault_tolerant_stderr())
        return error.exit_code
    except ImportError as error:
        print(f"maskwatch: {_import_advice(error)}", file=fault_tolerant_stderr())
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as in '| head'
        drop(sys.stdout)
        return 141
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        drop(sys.stdout)
        print(f"maskwatch: cannot write the output: {error.strerror}; make room", file=fault_tolerant_stderr())
        return USAGE_ERROR


def with_implied_watch(words: Sequence[str]) -> list[str]:
    """An address or a film alone, or a folder's path, is watched: so comes what is dropped on the executable."""
    if len(words) != 1 or words[0].startswith("-"):
        return list(words)
    is_place = (os.sep in words[0] or Path(words[0]).suffix) and exists(Path(words[0]))
    return ["watch", "--source", words[0]] if is_place or "://" in words[0] else list(words)


def entry() -> NoReturn:
    """The console script: ``main``, and an end that no hanging decoder can turn into an abort."""
    from app.capture.process_exit import end_process

    escape_unencodable()
    end_process(main())


def escape_unencodable() -> None:
    """A file's name in letters that the output has not (a pipe on Windows, the C locale) must not end the program:
    what cannot be written is escaped, as Python does on standard error alone."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where there is no console
        sys.stdout.reconfigure(errors="backslashreplace")


def _import_advice(error: ImportError) -> str:
    """What to do where a part cannot be loaded: on bare Linux servers OpenCV misses two system libraries."""
    if "libGL" in str(error) or "libgthread" in str(error):
        return f"cannot load OpenCV: {error}; on Debian and Ubuntu: apt install libgl1 libglib2.0-0"
    if error.name and error.name.partition(".")[0] in ("tensorflow", "keras", "matplotlib", "sklearn"):
        return f"this needs {error.name}: pip install 'maskwatch[train]' (from a checkout: pip install '.[train]')"
    return f"cannot load {error.name or 'a part'}: {error}; install maskwatch again"
