"""``maskwatch autostart``: start maskwatch when this user logs in to the desktop."""

import argparse
import os
import plistlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.core.errors import OutputError
from app.core.files import is_file, output_errors, write_text
from app.core.own_command import own_command

DEFAULT = ("start", "--last")
_LABEL = "io.github.maskwatch"
_EXAMPLES = """examples:
  maskwatch autostart enable                     what you chose last in the start screen
  maskwatch autostart enable --kiosk             the same, as a kiosk
  maskwatch autostart enable watch --config kiosk.toml"""


def register(commands: Any) -> None:
    parser = commands.add_parser("autostart", help="start maskwatch at login", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    enable = actions.add_parser(
        "enable",
        help="start it at each login",
        description=f"{_enable.__doc__}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prefix_chars="+",  # so that every argument is kept, also one that looks like an option
        add_help=False,
    )
    enable.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="a command with its options, or only options of 'start --last' (default: start --last)",
    )
    enable.set_defaults(run=_enable, parsers=commands.choices, parser=enable)
    actions.add_parser("disable", help="remove the entry", description=_disable.__doc__).set_defaults(run=_disable)
    actions.add_parser("status", help="show the entry", description=_status.__doc__).set_defaults(run=_status)


def _enable(args: argparse.Namespace) -> int:
    """Writes an entry that starts maskwatch when this user logs in. It replaces an earlier one."""
    if args.arguments[:1] in (["-h"], ["--help"]):
        args.parser.print_help()
        return 0
    given = [each for i, each in enumerate(args.arguments) if i or each != "--"]
    arguments = [*DEFAULT, *given] if not given or given[0].startswith("-") else given
    _check(arguments, args.parsers)
    folder = Path.cwd() if given else Path.home()  # the arguments may contain relative paths
    path = entry_path()
    with output_errors(path, "check its permissions"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, entry_text([*_program(), *arguments], folder))
    print(f"at the next login: maskwatch {' '.join(arguments)}\nentry: {path}")
    return 0


def _check(arguments: Sequence[str], parsers: dict[str, argparse.ArgumentParser]) -> None:
    """Ends the program with a message if maskwatch would not accept ``arguments``. Raises SettingsError."""
    from app.cli.watch import settings_of

    command, *options = arguments
    if command not in parsers:
        raise OutputError(f"no command {command!r} that can start at login; choose start or watch")
    parsed = parsers[command].parse_args(options)
    if command in ("start", "watch"):
        settings_of(parsed)


def _disable(_args: argparse.Namespace) -> int:
    """Removes the entry; without one it does nothing."""
    path = entry_path()
    try:
        path.unlink()
        print(f"removed {path}")
    except FileNotFoundError:
        print("autostart is off")
    except OSError as error:
        raise OutputError(f"cannot remove {path}: {error.strerror or error}; check its permissions") from error
    return 0


def _status(_args: argparse.Namespace) -> int:
    """Shows whether maskwatch starts at login, and the entry."""
    path = entry_path()
    if not is_file(path):
        print("autostart is off")
        return 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    is_off = {"Hidden=true", "X-GNOME-Autostart-enabled=false"} & set(lines)  # by the settings of the desktop
    print(f"autostart is {'off: the settings of the desktop have disabled it' if is_off else 'on'}\nentry: {path}")
    return 0


def _program() -> tuple[str, ...]:
    """The command of this program: the script that pip installed, if there is one."""
    script = Path(sys.executable).with_name("maskwatch.exe" if sys.platform == "win32" else "maskwatch")
    is_frozen = getattr(sys, "frozen", False)
    return (str(script),) if not is_frozen and is_file(script) else own_command()


def entry_path(platform: str = sys.platform) -> Path:
    """The file that starts maskwatch at login."""
    if platform == "win32":
        roaming = os.environ.get("APPDATA") or str(Path.home() / "AppData/Roaming")
        return Path(roaming, "Microsoft/Windows/Start Menu/Programs/Startup/maskwatch.cmd")
    if platform == "darwin":
        return Path.home() / f"Library/LaunchAgents/{_LABEL}.plist"
    config = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (config if config.is_absolute() else Path.home() / ".config") / "autostart/maskwatch.desktop"


def entry_text(command: Sequence[str], folder: Path, platform: str = sys.platform) -> str:
    """The content of that file: it runs ``command`` in ``folder``."""
    if platform == "win32":
        program = " ".join(map(_quoted_for_cmd, command))
        change = f"cd /d {_quoted_for_cmd(str(folder))}"
        lines = ("@echo off", "chcp 65001 >nul", change, f'start "maskwatch" {program}')
        return "".join(f"{line}\n" for line in lines)  # Windows writes each end of a line as CR LF
    if platform == "darwin":
        entry = {
            "Label": _LABEL,
            "ProgramArguments": list(command),
            "WorkingDirectory": str(folder),
            "RunAtLoad": True,
            "LimitLoadToSessionType": "Aqua",
            "ProcessType": "Interactive",
        }
        return plistlib.dumps(entry).decode()
    program = " ".join(map(_quoted_for_desktop, command))
    values = {"Type": "Application", "Name": "maskwatch", "Comment": "Face-mask monitor", "Terminal": "false"}
    values |= {"Path": _escaped(str(folder)), "Exec": _escaped(program)}
    return "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def _quoted_for_cmd(argument: str) -> str:
    return '"' + argument.replace("%", "%%").replace('"', '\\"') + '"'


def _quoted_for_desktop(argument: str) -> str:
    """``argument`` in quotes as the Desktop Entry Specification demands of the key Exec."""
    for special in '\\"`$':
        argument = argument.replace(special, "\\" + special)
    return '"' + argument.replace("%", "%%") + '"'


def _escaped(value: str) -> str:
    """``value`` as a string of a desktop entry."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
