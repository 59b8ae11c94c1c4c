"""Measures live video of many cameras in one page: images a second, their delay, and what they cost the analysis.

    python benchmarks/live_wall.py [--cameras 4 9] [--busy N] [--seconds 8] [--rounds 3] [--browser]
                                   [--json docs/results/live_wall.json]

Another process replays a video as cameras of 640x480 and 15 frames/s (make_clip.py, replay.py); with --busy only the
first N cameras show faces, and the others an empty room. In each round the
program watches alone, then with one viewer of all cameras, which reads the stream and draws nothing; with --browser
then also with the wall in a headless Chromium, which takes its share of the same cores. The delay is the time from the
capture of a frame until its last byte is at the viewer. Ratios are medians of the rounds. ``web_ms_per_image`` is the
processor time of the web view, which hardly depends on the load of the machine: it takes images/s x that time from the
analysis if that needs all cores.
"""

import argparse
import json
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from make_clip import SCENES  # noqa: E402
from replay import encode, replayed  # noqa: E402
from served_monitor import serve_counts  # noqa: E402

from app.bench.machine import describe, versions  # noqa: E402
from app.web.mjpeg import EncodedFrame, LiveResponse  # noqa: E402

CAMERA_FPS = 15


class TimedResponse:
    """Replaces ``LiveResponse.part``: the time of the capture follows the JPEG, as bytes that decoders ignore."""

    @staticmethod
    def part(_: LiveResponse, index: int, frame: EncodedFrame) -> bytes:
        shown = frame.view.frame if frame.view is not None else None
        stamp = struct.pack(">d", shown.captured_s if shown is not None else 0.0)
        return struct.pack(">II", index + 1, len(frame.jpeg) + len(stamp)) + frame.jpeg + stamp


def web_cpu_s() -> float:
    """Processor time of the threads of the web view so far."""
    own = [each for each in threading.enumerate() if each.name.startswith("web") and each.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(each.ident or 0)) for each in own)


def serve(addresses: list[str]) -> None:
    """Watches ``addresses`` with a web view. Prints its port, then counts for each line on standard input."""
    LiveResponse.part = TimedResponse.part  # type: ignore[method-assign]
    camera = [{"uri": address, "name": f"camera {number}"} for number, address in enumerate(addresses, 1)]
    serve_counts(
        {"camera": camera, "web": {"enabled": True, "port": 0}},
        lambda _, analysed: (time.monotonic(), analysed, time.process_time(), web_cpu_s()),
    )


class Viewer:
    """Reads all cameras in its own thread, without decoding an image."""

    def __init__(self, port: int, width_px: int | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        query = "" if width_px is None else f"?width={width_px}"
        self._socket.sendall(f"GET /api/v1/live{query} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self.counts: dict[int, int] = {}
        self.delays_s: list[float] = []
        self.sizes: list[int] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._socket, self._socket.makefile("rb") as file:
            while file.readline().strip():
                pass
            while len(head := file.read(8)) == 8:
                number, length = struct.unpack(">II", head)
                body = file.read(length)
                if len(body) < length:
                    return
                self.counts[number] = self.counts.get(number, 0) + 1
                self.delays_s.append(time.monotonic() - struct.unpack(">d", body[-8:])[0])
                self.sizes.append(length)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()


class Program:
    """The watching program, in a process of its own."""

    def __init__(self, addresses: list[str]) -> None:
        argv = [sys.executable, __file__, "--serve", *addresses]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _counts(self) -> list[float]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        counts: list[float] = json.loads(self._line())
        return counts

    def rates(self, seconds: float) -> tuple[float, float, float]:
        """Frames analysed a second, cores busy, and cores that the web view takes, over the next ``seconds``."""
        start_s, *before = self._counts()
        time.sleep(seconds)
        end_s, *after = self._counts()
        analysed, busy, web = ((new - old) / (end_s - start_s) for old, new in zip(before, after, strict=True))
        return analysed, busy, web

    def end(self) -> None:
        self._process.communicate()


def in_browser(program: Program, cameras: int, seconds: float) -> dict[str, Any]:
    """Shows the wall in a headless Chromium of 1920x1080."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--window-size=1920,1080")
    driver = webdriver.Chrome(options=options)
    try:
        driver.get(f"http://127.0.0.1:{program.port}/wall?per={cameras}")
        time.sleep(2)
        driver.execute_script(
            "window.shown = {}; for (const image of document.querySelectorAll('[data-picture]')) {"
            " shown[image.dataset.picture] = 0;"
            " image.addEventListener('load', () => { shown[image.dataset.picture] += 1; }); }"
        )
        start_s = time.monotonic()
        analysed, cores, _ = program.rates(seconds)
        counts = driver.execute_script("return shown")
        took_s = time.monotonic() - start_s
    finally:
        driver.quit()
    shown = [count / took_s for count in counts.values()]
    rates = {"shown_fps_least": min(shown), "shown_fps_mean": statistics.mean(shown)}
    return {"analysed": analysed, "cores": cores, **rates}


def measure(cameras: int, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    busy = min(cameras, cameras if args.busy is None else args.busy)
    rounds = []
    with ExitStack() as stack:
        addresses: list[str] = []
        for scene, count in (("busy", busy), ("still", cameras - busy)):
            video = folder / f"{scene}.mkv"
            if count and not video.exists():
                encode(SCENES[scene](640, 480), video, "h264", CAMERA_FPS)
            if count:
                addresses += stack.enter_context(replayed(video, count)).addresses
        program = Program(addresses)
        stack.callback(program.end)
        time.sleep(5)
        for _ in range(args.rounds):
            analysed, cores, _ = program.rates(args.seconds)
            viewer = Viewer(program.port, args.width)
            time.sleep(1)
            before, first = dict(viewer.counts), len(viewer.delays_s)
            start_s = time.monotonic()
            with_viewer, cores_with_viewer, web_cores = program.rates(args.seconds)
            took_s = time.monotonic() - start_s
            shown = [(viewer.counts.get(n, 0) - before.get(n, 0)) / took_s for n in range(1, cameras + 1)]
            delays_ms = sorted(1000 * each for each in viewer.delays_s[first:])
            each = {
                "analysed_alone": analysed,
                "analysed_watched": with_viewer,
                "ratio": with_viewer / analysed,
                "cores_alone": cores,
                "cores_watched": cores_with_viewer,
                "web_ms_per_image": 1000 * web_cores / sum(shown),
                "fps_least": min(shown),
                "fps_mean": statistics.mean(shown),
                "delay_p50_ms": delays_ms[len(delays_ms) // 2],
                "delay_p95_ms": delays_ms[int(len(delays_ms) * 0.95)],
                "image_kb": statistics.mean(viewer.sizes[first:]) / 1000,
            }
            viewer.close()
            if args.browser:
                each["browser"] = in_browser(program, cameras, args.seconds)
            rounds.append(each)
            print(json.dumps(each), flush=True)
    numbers = [name for name in rounds[0] if name != "browser"]
    medians: dict[str, Any] = {name: statistics.median(each[name] for each in rounds) for name in numbers}
    if args.browser:
        names = rounds[0]["browser"]
        medians["browser"] = {name: statistics.median(each["browser"][name] for each in rounds) for name in names}
    return {"cameras": cameras, "busy": busy, "medians": medians, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, nargs="+", default=[4, 9])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, metavar="N", help="cameras with faces (default: all)")
    parser.add_argument("--width", type=int, help="width at which the viewer shows a camera, px (default: the usual)")
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", nargs="+", metavar="ADDRESS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    record: dict[str, Any] = {"machine": describe().model_dump(mode="json"), "versions": versions()}
    record |= {"camera_fps": CAMERA_FPS, "width_px": args.width, "seconds": args.seconds}
    with tempfile.TemporaryDirectory() as folder:
        record["results"] = [measure(cameras, args, Path(folder)) for cameras in args.cameras]
    for result in record["results"]:
        print(result["cameras"], "cameras:", json.dumps(result["medians"], indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
