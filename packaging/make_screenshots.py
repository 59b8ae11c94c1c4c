"""Takes the pictures of the documentation from the program.

    python packaging/make_screenshots.py [--only animation screens kiosk start web]

``animation``: docs/window.gif, 12 s of the demo clip as the window draws them. ``screens``: docs/screens, the real
window on virtual screens of several sizes, in grids, dark and light. ``kiosk``: docs/kiosk.jpg, in the same way.
``start``: docs/start.jpg, drawn with cameras that do not exist. ``web``: docs/screens/web-*.webp, pages of the web view
in Chromium. Needs Linux with FFmpeg, Xvfb, openbox, xdotool, ImageMagick and Chromium. All files are committed.
packaging/make_demo.py documents the origin of the clip.
"""

import argparse
import os
import shutil
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
from app.capture.cameras import CameraDevice
from app.core.resources import asset
from app.core.types import Image
from app.pipeline.monitor import Monitor
from app.settings.load import load_settings
from app.ui.image_window import Key, WindowInput
from app.ui.palette import STYLES
from app.ui.start_screen import draw_start
from app.ui.start_state import StartState
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
_ALERT_SHARE, _ALERT_LIMIT_S = 0.012, 120.0
_PORT, _WEB_LIMIT_S = 8087, 120.0
"""Of the web view; the time after which it has the clip of an event."""


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


def screenshot(size: str, *arguments: str, theme: str = "dark") -> Image:
    """The screen of ``watch`` as soon as an alert is on it."""
    with virtual_screen.screen(size) as display, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DISPLAY": display, "MASKWATCH_VIEW__THEME": theme}
        command = [sys.executable, "-m", "app", "watch", *arguments, "--loop", "--fullscreen"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as program:
            path, end_s, image = Path(folder, "screen.png"), time.monotonic() + _ALERT_LIMIT_S, np.zeros((1, 1, 3))
            while time.monotonic() < end_s:
                time.sleep(0.4)
                subprocess.run(["import", "-window", "root", str(path)], env=environment, check=True)
                image = cv2.imread(str(path))  # type: ignore[assignment]
                if (np.abs(image[::4, ::4].astype(int) - _VERMILION).max(axis=2) < 16).mean() > _ALERT_SHARE:
                    break
            else:
                raise SystemExit(f"no alert within {_ALERT_LIMIT_S:.0f} s; try again when the machine is less busy")
            program.terminate()
    return image


def save(name: str, image: Image) -> None:
    target = DOCS / name
    target.parent.mkdir(exist_ok=True)
    kind = cv2.IMWRITE_WEBP_QUALITY if target.suffix == ".webp" else cv2.IMWRITE_JPEG_QUALITY
    for quality in (85, 70, 55, 40):
        cv2.imwrite(str(target), image, [kind, quality])
        if target.stat().st_size <= 150_000:
            break
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1024:.0f} KiB")


def screens() -> None:
    for name, (size, cameras, theme) in SCREENS.items():
        sources = [part for i in range(cameras) for part in ("--source", "demo")]
        save(f"screens/{name}.webp", screenshot(size, *sources, theme=theme))


def kiosk() -> None:
    wide, upright = (
        screenshot(size, "--source", "demo", "--kiosk", "--language", language)
        for size, language in (("960x540", "en"), ("304x540", "ar"))
    )
    gap = np.full((wide.shape[0], 16, 3), 255, np.uint8)
    save("kiosk.jpg", np.hstack([wide, gap, upright]))


def start() -> None:
    clip = cv2.VideoCapture(str(asset("demo.mp4")))
    images = []
    for at_s in (8.0, 2.6):
        clip.set(cv2.CAP_PROP_POS_MSEC, at_s * 1000)
        images.append(clip.read()[1])
    names = ("HD Pro Webcam C920", "Integrated Camera", "USB Capture HDMI")
    state = StartState([CameraDevice(str(i), name, name) for i, name in enumerate(names)], size_px=(960, 540))
    fault = "cannot open camera 2: it is in use, or not a camera for v4l2; close other programs"
    save("start.jpg", draw_start(state, [*images, None], ["", "", fault]))


def web() -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.wait import WebDriverWait

    options, driver = webdriver.ChromeOptions(), webdriver.ChromeService(shutil.which("chromedriver"))
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1280,1000", "--hide-scrollbars"):
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "settings.toml")
        settings.write_text(f"""
[[camera]]
uri = "demo"
name = "Entrance"
[alerts]
store = "{folder}/events.db"
store_files = true
snapshots = "blur_others"
[clips]
enabled = true
""")
        command = [sys.executable, "-m", "app", "watch", "--headless", "--loop", "--config", str(settings), "--web"]
        with (
            subprocess.Popen([*command, f"127.0.0.1:{_PORT}"]) as program,
            webdriver.Chrome(options, driver) as browser,
        ):
            root, end_s = f"http://127.0.0.1:{_PORT}", time.monotonic() + _WEB_LIMIT_S
            while time.monotonic() < end_s and len(list(Path(folder).glob("events.db.clips/**/*.mp4"))) < 1:
                time.sleep(1)
            for page in ("", "review", "setup"):
                browser.get(f"{root}/{page}")
                time.sleep(5)  # live images
                if not page:  # when two people are in view
                    masks = expected_conditions.text_to_be_present_in_element(
                        (By.CSS_SELECTOR, "[data-field=now-mask]"), "2"
                    )
                    WebDriverWait(browser, _WEB_LIMIT_S).until(masks)
                picture = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
                save(f"screens/web-{page or 'live'}.webp", cv2.imdecode(picture, cv2.IMREAD_COLOR))
            program.terminate()


def main() -> None:
    makers = {make.__name__: make for make in (animation, screens, kiosk, start, web)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=makers, default=makers, help="(default all)")
    for name in parser.parse_args().only:
        makers[name]()


if __name__ == "__main__":
    main()
