"""``maskwatch watch``: label faces in cameras, streams and files, and raise alerts for faces without a mask."""

import argparse
import logging
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.channel_flags import add_channel_flags, channels_of
from app.core.errors import SettingsError
from app.core.files import exists, is_file
from app.core.user_folders import config_folder
from app.settings.flags import (
    ALERTING,
    ALL_FLAGS,
    MONITORING,
    SOURCE,
    VIEW,
    VISION,
    WEB,
    add_flags,
    add_source,
    config_path,
    flag_values,
    source_values,
)
from app.settings.source_uri import is_photo

if TYPE_CHECKING:
    from app.cli.watch_session import WatchSession
    from app.settings.change import SettingsFile
    from app.settings.root import Settings
    from app.ui.image_window import ImageWindow

log = logging.getLogger(__name__)

_START_PX = 960, 540
"""Size of the window until the first image."""


def annotate_command(photos: Sequence[str]) -> str:
    """The command that labels the faces of ``photos``."""
    return shlex.join(["maskwatch", "annotate", *photos])


def register(commands: Any) -> None:
    parser = commands.add_parser("watch", help="watch a camera, a stream or a file", description=__doc__)
    add_source(parser, "default 0")
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """All options but the source."""
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the annotated video (.mp4, .avi)")
    parser.add_argument("--events", type=Path, metavar="FILE", help="write events (.jsonl, .csv)")
    add_channel_flags(parser)
    add_flags(parser, "sources", (*SOURCE, *MONITORING))
    add_flags(parser, "faces", VISION)
    add_flags(parser, "alerts", ALERTING)
    add_flags(parser, "view", VIEW)
    parser.add_argument(
        "--web",
        nargs="?",
        const="",
        metavar="HOST:PORT",
        help="also show the view in a browser (default 127.0.0.1:8080)",
    )
    add_flags(parser, "web view", WEB)


def settings_of(args: argparse.Namespace, text: str | None = None) -> "Settings":
    """``text``: what the settings file is to contain, instead of what it contains."""
    from app.settings.load import load_settings

    flags = flag_values(args, ALL_FLAGS)
    if "store" in flags.get("alerts", {}):
        flags["alerts"]["store_files"] = True
    if args.web is not None:
        from app.settings.web import parse_address

        flags["web"] = {**flags.get("web", {}), "enabled": True, **(parse_address(args.web) if args.web else {})}
    return load_settings(
        config_path(args), flags, each_camera=source_values(args), more_channels=channels_of(args), text=text
    )


def default_config() -> Path:
    """The settings file that 'start' uses, and 'watch --web', whose pages write it."""
    return config_folder() / "maskwatch.toml"


def _settings_file(args: argparse.Namespace) -> "SettingsFile | None":
    """The file that the web view changes."""
    from app.settings.change import SettingsFile

    path = config_path(args) or (default_config() if args.web is not None else None)
    return None if path is None else SettingsFile(path, partial(settings_of, args))


def run(args: argparse.Namespace) -> int:
    if args.config is None and args.web is not None and is_file(default_config()):
        args.config = str(default_config())
        log.warning("the settings are those of %s", args.config)
    flags = SignalFlags(reloads=bool(args.config))
    image_window: ImageWindow | None = None
    with ExitStack() as stack:
        # From now on and until all is closed, while Ctrl-C may interrupt the start and the end.
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, flags.request_stop))
        settings = settings_of(args)
        if settings.web.enabled and "camera" not in settings.model_fields_set:  # the first camera is added in the page
            setattr(args, "monitor.retry_at_start", True)
            settings = settings_of(args)
        if photos := [camera.uri for camera in settings.camera if is_photo(camera.uri) and exists(Path(camera.uri))]:
            raise SettingsError(f"{photos[0]} is an image, and 'watch' needs a video; type {annotate_command(photos)}")
        if not settings.view.headless:
            from app.ui.keep_awake import keep_awake
            from app.ui.message_box import draw_message_box
            from app.ui.window_process import open_image_window

            image_window = open_image_window()  # opens while the rest is imported
            stack.callback(image_window.close)
        from app.cli.systemd_notify import SystemdNotifier
        from app.cli.watch_session import WatchSession

        service = SystemdNotifier()
        if image_window is not None:
            image_window.wait_until_open()
            image_window.set_fullscreen(settings.view.kiosk or settings.view.fullscreen)
            image_window.show(draw_message_box("maskwatch", ["Starting …"], _START_PX), _START_PX)
            level = logging.WARNING if settings.view.kiosk else logging.INFO  # nobody sits in front of a kiosk
            stack.enter_context(keep_awake(settings.view.keep_awake, level))
        session = stack.enter_context(WatchSession(settings, args.output, args.events, _settings_file(args)))
        stack.enter_context(flags)
        service.ready()

        def stopped() -> bool:
            if session.is_healthy:
                service.alive()
            session.step()
            if flags.take_reload():
                _reload(session, args)
            session.follow_web()
            return flags.stop

        if image_window is None:
            session.run_headless(stopped)
        else:
            session.run_window(stopped, image_window)
        service.stopping()
    session.print_summary()
    return session.exit_code


def _reload(session: "WatchSession", args: argparse.Namespace) -> None:
    """Reloads the settings. If the file is invalid, the current settings stay in use."""
    try:
        places = session.reload(settings_of(args))
    except SettingsError as error:
        log.error("%s; the current settings stay in use", error)
        return
    log.warning("settings reloaded%s", f"; these need a restart: {', '.join(places)}" if places else "")


class SignalFlags:
    """Ctrl-C and SIGTERM request a stop, SIGHUP requests a reload. Handlers only set flags for the main loop to read,
    because a handler must not take locks. SIGHUP stops the program if its terminal was closed or it has no settings
    file."""

    def __init__(self, reloads: bool) -> None:
        self.stop = False
        self._reload = False
        self._had_terminal = _has_terminal()
        self._handlers: dict[int, Any] = {signal.SIGINT: self.request_stop, signal.SIGTERM: self.request_stop}
        if hasattr(signal, "SIGHUP"):
            if reloads:
                self._handlers[signal.SIGHUP] = self._request_reload
            elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
                self._handlers[signal.SIGHUP] = self.request_stop
        self._previous: dict[int, Any] = {}

    def take_reload(self) -> bool:
        """Whether a reload was requested since the last call."""
        requested, self._reload = self._reload, False
        return requested

    def __enter__(self) -> "SignalFlags":
        for number, handler in self._handlers.items():
            self._previous[number] = signal.signal(number, handler)
        return self

    def request_stop(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signal module's form
        self.stop = True

    def _request_reload(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signal module's form
        if self._had_terminal and not _has_terminal():
            self.stop = True
        self._reload = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _has_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False
