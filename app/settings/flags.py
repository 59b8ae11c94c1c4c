"""The flags that stand for settings: one table, so that no default is written twice and none can drift."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Flag:
    """``name`` on the command line is the setting at ``place`` (dotted); ``constant`` for flags without a value."""

    name: str
    place: str
    help: str
    choices: tuple[str, ...] = ()
    constant: object = None
    metavar: str = ""


BACKENDS = ("auto", "any", "v4l2", "dshow", "avfoundation", "ffmpeg", "gstreamer")

SOURCE = (
    Flag("--camera-backend", "camera.backend", "how a camera is opened", BACKENDS),
    Flag("--width", "camera.width_px", "width asked of a camera", metavar="PX"),
    Flag("--height", "camera.height_px", "height asked of a camera", metavar="PX"),
    Flag("--fps", "camera.fps", "rate asked of a camera", metavar="N"),
    Flag("--rtsp-transport", "camera.rtsp_transport", "transport of RTSP streams", ("tcp", "udp")),
    Flag("--open-timeout", "camera.open_timeout_s", "longest wait for a source to open", metavar="S"),
    Flag("--read-timeout", "camera.read_timeout_s", "longest wait for a frame", metavar="S"),
    Flag("--loop", "camera.loop", "begin a file or the demo again at its end", constant=True),
    Flag("--fast", "camera.pace", "do not slow files down to their own rate", constant="fast"),
)  # fmt: skip

MONITORING = (
    Flag("--keep-trying", "monitor.retry_at_start", "go on trying where no source opens at the start", constant=True),
)

VISION = (
    Flag("--detector", "detector.kind", "how faces are found", ("haar", "cnn")),
    Flag("--detector-model", "detector.model", "file of the detector", metavar="FILE"),
    Flag("--detector-score", "detector.score", "cnn: lowest score of a face", metavar="X"),
    Flag("--scale-factor", "detector.scale_factor", "haar: step between window sizes", metavar="X"),
    Flag("--min-neighbors", "detector.min_neighbors", "haar: overlapping hits that make a face", metavar="N"),
    Flag(
        "--min-face", "detector.min_face_px", "smallest face looked for, in source pixels, such as 40px", metavar="PX"
    ),
    Flag("--working-width", "detector.working_width_px", "wider frames are shrunk to it first", metavar="PX"),
    Flag("--tiles", "detector.tiles", "look at wide scenes in tiles too: 2x1, or auto", metavar="CxR"),
    Flag("--search-region", "detector.region", "search this part only, in fractions", metavar="X,Y,W,H"),
    Flag("--equalize", "detector.equalize", "haar: equalise the histogram first", constant=True),
    Flag("--profile", "detector.profile", "haar: faces seen from the side too", constant=True),
    Flag("--backend", "classifier.backend", "what runs the network: LiteRT or Keras", ("litert", "keras")),
    Flag("--model", "classifier.model", "classifier file (.tflite, or .keras with --backend keras)", metavar="FILE"),
)

ALERTING = (
    Flag("--dwell", "policy.dwell_s", "how long a face must be bare before it alerts", metavar="S"),
    Flag("--cooldown", "policy.cooldown_s", "least time between two alerts of a camera", metavar="S"),
    Flag("--alert-min-face", "policy.min_face_px", "smaller faces never alert", metavar="PX"),
)

VIEW = (
    Flag("--headless", "view.headless", "no window", constant=True),
    Flag("--blur", "view.blur", "blur faces in what is shown and saved", constant=True),
    Flag("--fullscreen", "view.fullscreen", "begin in full screen", constant=True),
    Flag("--keys", "view.keys", "begin with the list of keys shown", constant=True),
    Flag("--snapshots", "view.snapshots", "folder for snapshots and recordings", metavar="DIR"),
)

WEB = (
    Flag("--web-token-env", "web.token_env", "environment variable that holds the page's token", metavar="NAME"),
    Flag("--web-token-file", "web.token_file", "file that holds the page's token", metavar="FILE"),
)


class Help(argparse.HelpFormatter):
    """Says the default of a setting's flag too. It is looked up when help is asked for, since settings load slowly."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        words = super()._get_help_string(action)
        default = default_of(action.dest) if "." in action.dest and action.const is None else ""
        return f"{words} (default {default})" if default else words


def default_of(place: str) -> str:
    """The default of the setting at ``place``; '' where it has none or depends on other settings."""
    from app.settings.error_messages import models_in
    from app.settings.root import Settings

    section, _, key = place.partition(".")
    model = next(models_in(Settings.model_fields[section].annotation))
    default = model.model_fields[key].get_default(call_default_factory=True)
    if default is None or default == Path():
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def add_flags(parser: argparse.ArgumentParser, title: str, flags: Iterable[Flag]) -> None:
    """Add ``flags`` under a heading. What is not given stays out of the namespace's settings."""
    group = parser.add_argument_group(title)
    for flag in flags:
        common: dict[str, Any] = {"dest": flag.place, "default": None, "help": flag.help}
        if flag.constant is not None:
            group.add_argument(flag.name, action="store_const", const=flag.constant, **common)
        elif flag.choices:
            group.add_argument(flag.name, choices=flag.choices, **common)
        else:
            group.add_argument(flag.name, metavar=flag.metavar, **common)


def flag_values(args: argparse.Namespace, flags: Iterable[Flag]) -> dict[str, Any]:
    """The nested settings that the command line gave, the sources' own left out (see ``source_values``)."""
    nested: dict[str, Any] = {}
    for flag in flags:
        value = getattr(args, flag.place, None)
        if value is None or flag.place.startswith("camera."):
            continue
        section, _, key = flag.place.partition(".")
        nested.setdefault(section, {})[key] = value
    return nested


def source_values(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line gave for every source."""
    values = {flag.place.partition(".")[2]: getattr(args, flag.place, None) for flag in SOURCE}
    return {key: value for key, value in values.items() if value is not None}


def cameras_given(args: argparse.Namespace) -> dict[str, Any]:
    """The ``camera`` that the command line gave by ``--source`` and the sources' flags; nothing where it gave none."""
    from app.settings.root import load_settings

    common = source_values(args)
    if args.source:
        return {"camera": [{"uri": uri, **common} for uri in args.source]}
    if not common:
        return {}
    cameras = load_settings(config_path(args)).camera  # of the file or of the environment
    return {"camera": [{**camera.model_dump(exclude_unset=True), **common} for camera in cameras]}


def add_source(parser: argparse.ArgumentParser, default: str) -> None:
    told = "0, /dev/video0, rtsp://..., http://..., a file, a folder, demo; may be repeated"
    parser.add_argument("--source", action="append", metavar="S", help=f"{told} ({default})")


def config_path(args: argparse.Namespace) -> Path | None:
    """Raises SettingsError where it is empty, as a script's variable may be: all settings would be passed over."""
    if args.config == "":
        raise SettingsError("--config is empty; give a settings file, or leave it out")
    return None if args.config is None else Path(args.config)
