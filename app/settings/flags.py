"""The flags that set settings: one table, so that each default is written only once."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.errors import SettingsError
from app.settings.source_uri import named_source


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag ``name`` sets the setting at ``place`` (dotted); ``constant`` is the value of a switch."""

    name: str
    place: str
    help: str
    choices: tuple[str, ...] = ()
    constant: object = None
    metavar: str = ""


BACKENDS = ("auto", "any", "v4l2", "dshow", "avfoundation", "ffmpeg", "gstreamer")
NETWORK_BACKENDS = ("auto", "litert", "openvino", "onnx", "onnx-cuda", "onnx-directml", "onnx-coreml")

SOURCE = (
    Flag("--camera-backend", "camera.backend", "how a camera is opened", BACKENDS),
    Flag("--width", "camera.width_px", "frame width requested from a camera", metavar="PX"),
    Flag("--height", "camera.height_px", "frame height requested from a camera", metavar="PX"),
    Flag("--fps", "camera.fps", "frame rate requested from a camera", metavar="N"),
    Flag("--rotate", "camera.rotate", "degrees clockwise by which frames are rotated", ("0", "90", "180", "270")),
    Flag("--flip", "camera.flip", "mirror frames", ("none", "horizontal", "vertical")),
    Flag("--aspect-ratio", "camera.aspect_ratio", "shape of the picture if the source squeezes it", metavar="W:H"),
    Flag("--rtsp-transport", "camera.rtsp_transport", "transport protocol of RTSP streams", ("tcp", "udp")),
    Flag("--open-timeout", "camera.open_timeout_s", "time limit to open a source", metavar="S"),
    Flag("--read-timeout", "camera.read_timeout_s", "time limit to read a frame", metavar="S"),
    Flag("--every", "camera.every_s", "analyse one frame of a video in this time, such as 0.2s", metavar="TIME"),
    Flag("--key-frames", "camera.key_frames", "analyse only the key frames of a video", constant=True),
    Flag("--from", "camera.from_s", "start at this time within a video, such as 1:30", metavar="TIME"),
    Flag("--to", "camera.to_s", "stop at this time within a video", metavar="TIME"),
    Flag("--start", "camera.starts_at", "when a video was begun, such as 2026-11-23T14:30", metavar="TIME"),
    Flag("--pattern", "camera.name_pattern", "how a video's name says that: %%Y-%%m-%%d/%%H/%%M.%%S.mp4", metavar="P"),
    Flag("--timezone", "camera.timezone", "time zone of these times, such as Europe/Berlin", metavar="ZONE"),
    Flag("--loop", "camera.loop", "repeat a file, folder or the demo", constant=True),
    Flag("--fast", "camera.pace", "play files as fast as possible, not in real time", constant="fast"),
)  # fmt: skip

MONITORING = (
    Flag("--keep-trying", "monitor.retry_at_start", "keep trying if no source can be opened at the start",
         constant=True),
)  # fmt: skip

VISION = (
    Flag("--detector", "detector.kind", "face detector: YuNet (cnn) or Haar cascade", ("haar", "cnn")),
    Flag("--detector-model", "detector.model", "detector file", metavar="FILE"),
    Flag("--detector-score", "detector.score", "cnn: minimum score of a face", metavar="X"),
    Flag("--detector-backend", "detector.backend", "cnn: library that runs the network", NETWORK_BACKENDS),
    Flag("--scale-factor", "detector.scale_factor", "haar: step between window sizes", metavar="X"),
    Flag("--min-neighbors", "detector.min_neighbors", "haar: number of overlapping detections that make a face",
         metavar="N"),
    Flag("--min-face", "detector.min_face_px", "smallest face that is searched, in source pixels, such as 40px",
         metavar="PX"),
    Flag("--working-width", "detector.working_width_px", "wider frames are shrunk to this width before detection",
         metavar="PX"),
    Flag("--tiles", "detector.tiles", "also search wide scenes in tiles: 2x1, or auto", metavar="CxR"),
    Flag("--search-region", "detector.region", "search only this part of the frame, as fractions from 0 to 1",
         metavar="X,Y,W,H"),
    Flag("--equalize", "detector.equalize", "haar: equalise the histogram before detection", constant=True),
    Flag("--profile", "detector.profile", "haar: also search faces in profile", constant=True),
    Flag("--backend", "classifier.backend", "library that runs the classifier", (*NETWORK_BACKENDS, "keras")),
    Flag("--model", "classifier.model", "classifier file in the format of the back end (.tflite)", metavar="FILE"),
    Flag("--models", "classifier.models", "bundled models; open: for commercial use too, less exact",
         ("default", "open")),
)  # fmt: skip

ALERTING = (
    Flag("--dwell", "policy.dwell_s", "how long a face must be bare before it alerts", metavar="S"),
    Flag("--cooldown", "policy.cooldown_s", "minimum time between two alerts of a camera", metavar="S"),
    Flag("--alert-min-face", "policy.min_face_px", "smaller faces never alert", metavar="PX"),
    Flag("--store", "alerts.store",
         "event file; each program that watches needs its own; files and the demo are stored and counted only with it",
         metavar="FILE"),
)  # fmt: skip

VIEW = (
    Flag("--headless", "view.headless", "no window", constant=True),
    Flag("--blur", "view.blur", "blur all faces that are shown, recorded or saved", constant=True),
    Flag("--fullscreen", "view.fullscreen", "start in full screen", constant=True),
    Flag("--kiosk", "view.kiosk", "full screen for an entrance: one large sentence to people", constant=True),
    Flag("--language", "view.language", "language of the kiosk, such as de", metavar="CODE"),
    Flag("--keys", "view.keys", "show the list of keys at the start", constant=True),
    Flag("--snapshots", "view.snapshots", "folder for snapshots and recordings", metavar="DIR"),
)

WEB = (
    Flag("--web-token-env", "web.token_env", "environment variable that contains the token of the web view",
         metavar="NAME"),
    Flag("--web-token-file", "web.token_file", "file that contains the token of the web view", metavar="FILE"),
    Flag("--web-users", "web.users", "people must sign in to the web view with name and password", constant=True),
)  # fmt: skip


ALL_FLAGS = (*SOURCE, *MONITORING, *VISION, *ALERTING, *VIEW, *WEB)


class Help(argparse.HelpFormatter):
    """Adds the setting's default to the help. The default is looked up on demand, because settings load slowly."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        if not text or "(default " in text or "." not in action.dest or action.const is not None:
            return text
        default = default_of(action.dest)
        return f"{text} (default {default})" if default else text


def default_of(place: str) -> str:
    """The default of the setting at ``place``; '' if it has none or depends on other settings."""
    from app.settings.error_messages import models_in
    from app.settings.root import Settings

    section, _, key = place.partition(".")
    model = next(models_in(Settings.model_fields[section].annotation))
    default = model.model_fields[key].get_default(call_default_factory=True)
    if default is None or default == Path():
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def add_flags(parser: argparse.ArgumentParser, title: str, flags: Iterable[Flag]) -> None:
    """Add ``flags`` in a group. Flags that are not given stay None in the namespace."""
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
    """The settings from the command line as a nested mapping: ``--source`` and ``flags``, without those that apply to
    every source (see ``source_values``)."""
    nested: dict[str, Any] = {}
    if getattr(args, "source", None):
        nested["camera"] = [named_source(text) for text in args.source]
    for flag in flags:
        value = getattr(args, flag.place, None)
        if value is None or flag.place.startswith("camera."):
            continue
        section, _, key = flag.place.partition(".")
        nested.setdefault(section, {})[key] = value
    return nested


def source_values(args: argparse.Namespace) -> dict[str, Any]:
    """The settings from the command line that apply to every source."""
    values = {flag.place.partition(".")[2]: getattr(args, flag.place, None) for flag in SOURCE}
    return {key: value for key, value in values.items() if value is not None}


def add_source(parser: argparse.ArgumentParser, default: str) -> None:
    forms = "0, /dev/video0, rtsp://..., http://..., a file, a folder, demo; NAME=S gives a name; can be repeated"
    parser.add_argument("--source", action="append", metavar="S", help=f"{forms} ({default})")


def config_path(args: argparse.Namespace) -> Path | None:
    """The path in ``--config``. Raises SettingsError if it is empty: an empty shell variable would be ignored."""
    if args.config == "":
        raise SettingsError("--config is empty; give a settings file, or omit the flag")
    return None if args.config is None else Path(args.config)
