"""``maskwatch config``: check a settings file, show the merged settings, or write a file with the defaults."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from app.settings.root import Settings


def register(commands: Any) -> None:
    parser = commands.add_parser("config", help="check, show or create a settings file", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="check a settings file and name its errors")
    check.add_argument("file", nargs="?", metavar="FILE", help="the TOML file; without it, the environment alone")
    check.set_defaults(run=run_check)
    show = actions.add_parser("show", help="print the settings, file and environment merged, without secrets")
    show.add_argument("file", nargs="?", metavar="FILE", help="the TOML file; without it, the environment alone")
    show.set_defaults(run=run_show)
    init = actions.add_parser("init", help="write a file that documents every setting with its default")
    init.add_argument("file", nargs="?", metavar="FILE", help="file to write; without it, standard output")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")
    init.set_defaults(run=run_init)


def _path(args: argparse.Namespace) -> Path | None:
    if args.file == "":
        raise SettingsError("the name of the settings file is empty; give one, or omit it")
    return None if args.file is None else Path(args.file)


def run_check(args: argparse.Namespace) -> int:
    from app.settings.load import ENVIRONMENT_PREFIX, load_settings
    from app.settings.root import unmatched_camera_patterns

    settings = load_settings(_path(args))
    _check_files(settings)
    if unmatched := unmatched_camera_patterns(settings):
        raise SettingsError(f"bad settings: {'; '.join(unmatched)}")
    _check_environment(settings, ENVIRONMENT_PREFIX)
    names = ", ".join(camera.name for camera in settings.camera)
    channels = ", ".join(channel.name for channel in settings.alerts.channels) or "none"
    print(f"{args.file or 'the settings'}: no errors. Cameras: {names}. Alert channels: {channels}.")
    return 0


def _check_files(settings: "Settings") -> None:
    """Raises SettingsError if a file in the settings does not exist or the web view has no token."""
    from app.core.files import is_file
    from app.settings.web import read_token

    files = {
        "detector.model": settings.detector.model,
        "classifier.model": settings.classifier.model,
        **{f"camera '{camera.name}' detector.model": camera.detector.model for camera in settings.camera},
    }
    if settings.fleet.hub:
        files["fleet.creds_file"] = settings.fleet.creds_file
    if settings.web.enabled:
        files |= {"web.tls_cert": settings.web.tls_cert, "web.tls_key": settings.web.tls_key}
        read_token(settings.web)
    for place, path in files.items():
        if path is not None and not is_file(path):
            raise SettingsError(f"bad settings: {place}: no such file {path}; check the path")


def _check_environment(settings: "Settings", prefix: str) -> None:
    """Raises SettingsError for a variable with the prefix of settings but an unknown name, which would be ignored."""
    from app.settings.error_messages import did_you_mean

    for name in os.environ:
        section = name.removeprefix(prefix).partition("__")[0].lower()
        if name.startswith(prefix) and section not in type(settings).model_fields:
            hint = did_you_mean(type(settings), (section,))
            raise SettingsError(f"bad settings in the environment: {name}: unknown setting{hint}")


def run_show(args: argparse.Namespace) -> int:
    import tomlkit

    from app.settings.load import load_settings
    from app.settings.toml import redacted_tables

    sys.stdout.write(tomlkit.dumps(redacted_tables(load_settings(_path(args)))))
    return 0


def run_init(args: argparse.Namespace) -> int:
    from app.core.files import exists, output_errors, write_text
    from app.settings.root import Settings
    from app.settings.toml import commented_toml

    text = commented_toml(Settings)
    path = _path(args)
    if path is None:
        sys.stdout.write(text)
        return 0
    if exists(path) and not args.force:
        raise OutputError(f"{path} already exists; give another name, or --force to overwrite it")
    with output_errors(path, "check its folder"):
        write_text(path, text)
    print(f"{path} written; remove the '#' of a line to change that setting")
    return 0
