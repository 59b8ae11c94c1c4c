"""``maskwatch start``: choose a camera, a stream, a file or the demo in a window, and watch it."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import watch
from app.core.errors import DisplayError, MaskwatchError
from app.core.files import exists, is_file
from app.core.user_folders import data_folder, pictures_folder

if TYPE_CHECKING:
    from app.ui.start_choice import Choice

log = logging.getLogger(__name__)

_APP = "maskwatch"


def register(commands: Any) -> None:
    parser = commands.add_parser("start", help="choose what to watch in a window", description=__doc__)
    parser.add_argument(
        "--last", action="store_true", help="watch the last choice at once and keep trying, as at an unattended start"
    )
    watch.add_options(parser)
    parser.set_defaults(run=run, source=None)


def run(args: argparse.Namespace) -> int:
    """Watches what the settings name, or else what the user chooses; an error leads back to the screen."""
    from app.ui.display import check_display

    logging.captureWarnings(True)
    try:
        check_display()
    except DisplayError as error:
        raise DisplayError(f"{error}; or see '{_APP} --help'") from error
    config = watch.default_config()
    if args.config is None and is_file(config):
        args.config = str(config)
    settings = watch.settings_of(args)
    if settings.view.snapshots == Path():  # after a double click the current folder is arbitrary
        setattr(args, "view.snapshots", str(pictures_folder()))
    if args.last:
        setattr(args, "monitor.retry_at_start", True)
    return watch.run(args) if "camera" in settings.model_fields_set else _choose_and_watch(args, settings.view.theme)


def _choose_and_watch(args: argparse.Namespace, theme: str) -> int:
    from app.capture.cameras import find_cameras
    from app.ui.start_choice import ChoiceKind, choice_file, load_choice

    path, fault, starts_last = choice_file(), "", args.last
    while True:
        choice = load_choice(path)
        uri = choice.uri(find_cameras()) if choice is not None and starts_last else ""
        if not uri:
            choice = _ask(choice, fault, starts_last, theme)
            if choice is None:
                return 0
            _keep(choice, path)
            uri = choice.uri(find_cameras())
        starts_last = False
        assert choice is not None
        if not uri:
            fault = f"{choice.name} is no longer connected"
            continue
        args.source = [uri]
        if choice.kind is ChoiceKind.DEMO:
            setattr(args, "camera.loop", True)
        if is_first_run() and not getattr(args, "view.kiosk", None):
            setattr(args, "view.keys", True)
        try:
            return watch.run(args)
        except DisplayError:
            raise
        except MaskwatchError as error:
            log.debug("cause", exc_info=True)
            fault = str(error)
        setattr(args, "camera.loop", None)


def _ask(last: "Choice | None", fault: str, starts_last: bool, theme: str) -> "Choice | None":
    from app.ui.start_screen import choose_source
    from app.ui.window_process import open_image_window

    window = open_image_window()
    try:
        return choose_source(window, last, fault, starts_last, theme)
    finally:
        window.close()


def _keep(choice: "Choice", path: Path) -> None:
    from app.ui.start_choice import save_choice

    try:
        save_choice(path, choice)
    except OSError as error:
        log.warning("the choice is not kept for the next start: %s", error)


def is_first_run() -> bool:
    """True once per user; always true if the marker file cannot be written."""
    marker = data_folder() / "keys-shown"
    if exists(marker):
        return False
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:
        return True
    return True
