"""Takes the pictures of the documentation from the window.

    python packaging/make_screenshots.py [--animation] [--screens]

``--animation``: docs/window.gif, 12 s of the demo clip as the window draws them. ``--screens``: docs/screens, the real
window on virtual screens of several sizes, in grids, dark and light. Needs Linux with FFmpeg, Xvfb, openbox, xdotool
and ImageMagick. All files are committed. packaging/make_demo.py documents the origin of the clip.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import virtual_screen

from app.bench.drawing import NoRegionStore
from app.core.types import Image
from app.pipeline.monitor import Monitor
from app.settings.load import load_settings
from app.ui.image_window import Key, WindowInput
from app.ui.palette import STYLES
from app.ui.window import Window

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
START_S, LENGTH_S, FPS = 1.6, 12.0, 7
"""The part of the clip in which somebody enters, alerts and puts a mask on."""
SCREENS = {
    "360p": ("640x360", 1, "dark"),
    "720p-light": ("1280x720", 1, "light"),
    "1080p": ("1920x1080", 1, "dark"),
    "4k": ("3840x2160", 1, "dark"),
    "grid-4": ("1280x720", 4, "light"),
    "grid-9": ("1920x1080", 9, "dark"),
    "grid-16": ("1920x1080", 16, "dark"),
}
"""Size of the screen in px, number of cameras, theme."""
_VERMILION = np.array((0, 94, 213))
_ALERT_SHARE, _ALERT_LIMIT_S = 0.012, 60.0


class KeptImages:
    """Instead of a screen: keeps each image with the stream time of its frame. A slow machine loses none."""

    is_ready, cpu_s = True, 0.0

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.images: list[tuple[float, Image]] = []

    def wait_until_open(self) -> None: ...

    def show(self, image: Image, size_px: tuple[int, int] | None = None) -> None:  # noqa: ARG002 - the protocol
        frame = self._monitor.views()[0].frame
        if frame is not None:
            self.images.append((frame.time_s, image))

    def set_fullscreen(self, fullscreen: bool) -> None: ...

    def hide_pointer(self) -> None: ...

    def inputs(self, timeout_s: float) -> list[WindowInput]:
        time.sleep(timeout_s)
        return [Key(ord("q"))] if self._monitor.finished else []

    def close(self) -> None: ...


def animation() -> None:
    # The width at which the clip is not enlarged: the file would be twice as large.
    settings = load_settings(None, {"camera": [{"uri": "demo", "name": "Entrance"}], "view": {"max_width_px": 854}})
    with Monitor(settings) as monitor:
        kept = KeptImages(monitor)
        window = Window(monitor, settings.view, lambda: False, NoRegionStore(), kept)
        window.screen = replace(window.screen, message="")
        window.run(lambda _: None)
    times = np.array([time_s for time_s, _ in kept.images])
    shown = [kept.images[int(np.abs(times - at).argmin())][1] for at in START_S + np.arange(LENGTH_S * FPS) / FPS]
    height, width = shown[0].shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "-"]
    target, ffmpeg = DOCS / "window.gif", ["ffmpeg", "-loglevel", "error", "-y", *source]
    # The colours of the labels are few pixels; a frame of each keeps them in the palette.
    labels = [np.full_like(shown[0], style.colour) for style in STYLES.values()]
    with tempfile.TemporaryDirectory() as folder:
        palette = str(Path(folder, "palette.png"))
        choose = [*ffmpeg, "-vf", "palettegen=max_colors=104:stats_mode=full", palette]
        subprocess.run(choose, input=b"".join(image.tobytes() for image in (*shown, *labels)), check=True)
        draw = "[0]hqdn3d=2:1:8:8[a];[a][1]paletteuse=dither=none:diff_mode=rectangle"
        command = [*ffmpeg, "-i", palette, "-lavfi", draw, str(target)]
        subprocess.run(command, input=b"".join(image.tobytes() for image in shown), check=True)
    print(f"{target.relative_to(ROOT)}: {len(shown)} frames, {target.stat().st_size / 1024:.0f} KiB")


def screenshot(name: str, size: str, cameras: int, theme: str) -> None:
    """Waits until an alert is on the screen."""
    sources = [part for i in range(cameras) for part in ("--source", "demo")]
    with virtual_screen.screen(size) as display, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DISPLAY": display, "MASKWATCH_VIEW__THEME": theme}
        command = [sys.executable, "-m", "app", "watch", *sources, "--loop", "--fullscreen"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as program:
            path, end_s, image = Path(folder, "screen.png"), time.monotonic() + _ALERT_LIMIT_S, np.zeros((1, 1, 3))
            while time.monotonic() < end_s:
                time.sleep(0.4)
                subprocess.run(["import", "-window", "root", str(path)], env=environment, check=True)
                image = cv2.imread(str(path))  # type: ignore[assignment]
                if (np.abs(image[::4, ::4].astype(int) - _VERMILION).max(axis=2) < 16).mean() > _ALERT_SHARE:
                    break
            program.terminate()
    target = DOCS / "screens" / f"{name}.webp"
    target.parent.mkdir(exist_ok=True)
    for quality in (85, 70, 55, 40):
        cv2.imwrite(str(target), image, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if target.stat().st_size <= 150_000:
            break
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1024:.0f} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--animation", action="store_true")
    parser.add_argument("--screens", action="store_true")
    args = parser.parse_args()
    if args.animation:
        animation()
    for name, (size, cameras, theme) in SCREENS.items() if args.screens else ():
        screenshot(name, size, cameras, theme)


if __name__ == "__main__":
    main()
