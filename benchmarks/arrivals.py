"""Watches one still, bare man through networks that deliver his frames in bursts, and counts people and alerts.

    python benchmarks/arrivals.py [--seconds 20] [--peers ../shared/field] [--json docs/results/arrivals.json]

Each row starts a camera from the folder of peers (``rtsp_peer.py``, ``http_peer.py``, ``fmp4_http.py``), or ``ffmpeg``
for HLS, on loopback, and watches it with the whole monitor. Exit code 1 if a row counts more than one person or does
not alert exactly once.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes_net import free_port  # noqa: E402

from app.core.errors import SourceError  # noqa: E402
from app.core.types import EventKind, FrameResult  # noqa: E402
from app.pipeline.monitor import Monitor  # noqa: E402
from app.settings.load import load_settings  # noqa: E402

PREPARE_S = 240.0
FPS = 25
STILL = (
    "[0]trim=2.5:4.5,setpts=PTS-STARTPTS,fps=25,split[a][b];[b]reverse[c];"
    "[a][c]concat=n=2:v=1,loop=loop=3:size=101:start=0,setpts=N/25/TB"
)
"""A video of 2 s forwards and backwards, so that it has no cut."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one source gave. ``first_frame_s`` and ``first_alert_s`` count from the start of the monitor.

    ``longest_silence_s`` is the longest time between two analysed frames, ``longest_step_s`` the longest stream time.
    """

    source: str
    people: int
    alerts: int
    analysed: int
    first_frame_s: float
    first_alert_s: float
    longest_silence_s: float
    longest_step_s: float
    states: list[str]
    error: str = ""

    @property
    def is_well(self) -> bool:
        return (self.people, self.alerts) == (1, 1)


@dataclass(frozen=True, slots=True)
class Peers:
    """Starts the cameras; ``clip`` is the video that they send."""

    folder: Path
    work: Path
    clip: Path

    def rtsp(self, *quirks: str) -> Callable[[ExitStack], str]:
        def start(stack: ExitStack) -> str:
            port = free_port()
            self._run(stack, [sys.executable, "rtsp_peer.py", str(port), str(self.clip), "size=480:360", *quirks], port)
            return f"rtsp://127.0.0.1:{port}/live"

        return start

    def http(self, path: str) -> Callable[[ExitStack], str]:
        def start(stack: ExitStack) -> str:
            port = free_port()
            self._run(stack, [sys.executable, "http_peer.py", str(port), str(self.clip)], port)
            return f"http://127.0.0.1:{port}/{path}"

        return start

    def fragments(self) -> Callable[[ExitStack], str]:
        def start(stack: ExitStack) -> str:
            port, flags = free_port(), "frag_keyframe+empty_moov+default_base_moof"
            options = ["-c", "copy", "-movflags", flags, "-f", "mp4"]
            self._run(stack, [sys.executable, "fmp4_http.py", str(port), str(self.clip), *options], port)
            return f"http://127.0.0.1:{port}/x"

        return start

    def hls(self, segment_s: int) -> Callable[[ExitStack], str]:
        def start(stack: ExitStack) -> str:
            (self.work / "hls").mkdir(exist_ok=True)
            playlist = self.work / "hls" / f"{segment_s}.m3u8"
            key_frames = f"expr:gte(t,n_forced*{segment_s})"
            encode = ["-c:v", "libx264", "-preset", "ultrafast", "-force_key_frames", key_frames]
            segments = ["-f", "hls", "-hls_time", str(segment_s), "-hls_list_size", "5", str(playlist)]
            command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(self.clip), *encode, *segments]
            self._start(stack, command)
            _wait(lambda: playlist.exists() and playlist.read_text().count("#EXTINF") >= 2, f"{playlist} has segments")
            return self.http(f"hls/{segment_s}.m3u8")(stack)

        return start

    def recording(self, at_once: int) -> Callable[[ExitStack], str]:
        def start(_: ExitStack) -> str:
            path = self.work / f"{at_once}.mkv"
            subprocess.run(
                [sys.executable, str(self.folder / "cluster.py"), str(self.clip), str(path), str(at_once)], check=True
            )
            return str(path)

        return start

    def _run(self, stack: ExitStack, command: list[str], port: int) -> None:
        command[1] = str(self.folder / command[1])
        self._start(stack, command)
        _wait(lambda: _listens(port), f"{Path(command[1]).name} answers")

    def _start(self, stack: ExitStack, command: list[str]) -> None:
        process = subprocess.Popen(command, cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)


def _listens(port: int) -> bool:
    """Whether a local server listens, without a connection to it."""
    listening = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in listening)


def _wait(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PREPARE_S
    while not condition():
        if time.monotonic() > end_s:
            raise SystemExit(f"not true after {PREPARE_S:g} s: {what}")
        time.sleep(0.1)


def watch(name: str, uri: str, seconds: float) -> Row:
    """Watches ``uri`` for ``seconds`` after its first frame."""
    camera = {"uri": uri, "name": "camera", "pace": "realtime"}
    rows: list[tuple[float, float]] = []
    people: set[int] = set()
    alerts_s: list[float] = []
    start_s = time.monotonic()

    def listen(result: FrameResult) -> None:
        rows.append((time.monotonic() - start_s, result.frame.time_s))
        people.update(track.id for track in result.tracks)
        alerts_s.extend(rows[-1][0] for event in result.events if event.kind is EventKind.NO_MASK)

    states: list[str] = []
    error = ""
    try:
        with Monitor(load_settings(None, {"camera": [camera]}), listeners=[listen]) as monitor:
            ended = threading.Event()

            def consume() -> None:
                for _ in monitor:
                    pass
                ended.set()

            threading.Thread(target=consume, daemon=True).start()
            while time.monotonic() - start_s < (rows[0][0] if rows else 40.0) + seconds and not ended.is_set():
                state = monitor.views()[0].status.state.value
                states += [state] if states[-1:] != [state] else []
                time.sleep(0.05)
    except SourceError as lost:
        error = str(lost)
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(rows)]
    return Row(
        source=name,
        people=len(people),
        alerts=len(alerts_s),
        analysed=len(rows),
        first_frame_s=round(rows[0][0], 2) if rows else -1.0,
        first_alert_s=round(alerts_s[0], 2) if alerts_s else -1.0,
        longest_silence_s=round(max((wall_s for wall_s, _ in steps), default=-1.0), 2),
        longest_step_s=round(max((stream_s for _, stream_s in steps), default=-1.0), 2),
        states=states,
        error=error,
    )


def rows_of(peers: Peers) -> dict[str, Callable[[ExitStack], str]]:
    return {
        "RTSP, steady": peers.rtsp(),
        "RTSP, bursts of 0.2 s": peers.rtsp("batch=0.2"),
        "RTSP, bursts of 1 s": peers.rtsp("batch=1.0"),
        "RTSP, 4 s of silence every 6 s": peers.rtsp("stall=4"),
        "RTSP, all stamps equal": peers.rtsp("ts=zero"),
        "RTSP, stamps jump by an hour": peers.rtsp("ts=jump"),
        "RTSP, stamps go back by an hour": peers.rtsp("ts=back"),
        "RTSP, 1 frame a second": peers.rtsp("fps=1", "gop=1"),
        "RTSP, key frame every 4 s, joined between": peers.rtsp("gop=100", "join=mid"),
        "RTSP, key frame every 12 s, joined between": peers.rtsp("gop=300", "join=mid"),
        "HLS, segments of 2 s": peers.hls(2),
        "HLS, segments of 6 s": peers.hls(6),
        "HLS, segments of 10 s": peers.hls(10),
        "fragmented MP4 over HTTP": peers.fragments(),
        "motion JPEG, 10 frames a second": peers.http("m/plain"),
        "motion JPEG, 1 frame a second": peers.http("m/plain?every=1"),
        "recording, 2 frames at once": peers.recording(2),
        "recording, 5 frames at once": peers.recording(5),
        "recording, 150 frames at once": peers.recording(150),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="people and alerts for any pattern of arrival")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--peers", type=Path, default=ROOT.parent / "shared" / "field")
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable()
    results: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "still.mp4"
        encode = ["-r", str(FPS), "-g", str(FPS), "-bf", "0", "-c:v", "libx264", "-preset", "veryfast", str(clip)]
        source = args.peers.resolve() / "plain.mp4"
        subprocess.run(["ffmpeg", "-v", "error", "-i", str(source), "-filter_complex", STILL, *encode], check=True)
        peers = Peers(args.peers.resolve(), Path(folder), clip)
        for name, start in rows_of(peers).items():
            if args.only not in name:
                continue
            with ExitStack() as stack:
                row = watch(name, start(stack), args.seconds)
            results.append(row)
            print(
                f"{'  ' if row.is_well else '! '}{name:45s} people {row.people}  alerts {row.alerts}  "
                f"first frame {row.first_frame_s:5.2f} s  alert {row.first_alert_s:5.2f} s  "
                f"silence {row.longest_silence_s:4.2f} s  step {row.longest_step_s:4.2f} s  "
                f"{' '.join(row.states)} {row.error}",
                flush=True,
            )
    wrong = [row.source for row in results if not row.is_well]
    if args.json:
        record = {"is_well": not wrong, "wrong": wrong, "rows": [asdict(row) for row in results]}
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
