"""The cameras of this machine, by names that stay the same when a camera is plugged in again."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

_TRIED = 4
"""How many indices are listed where the system gives no names."""
_QUOTED = re.compile(r'"(?P<name>[^"]+)" \((?!audio\))[a-z, ]+\)')
_NUMBERED = re.compile(r"\[(?P<index>\d+)\] (?P<name>.+)")


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """A camera: ``uri`` opens it now, ``key`` finds it again after its number has changed."""

    uri: str
    name: str
    key: str


def find_cameras(root: Path = Path("/"), platform: str = sys.platform) -> list[CameraDevice]:
    """The cameras in the order of their numbers. Opens none of them."""
    if platform.startswith("linux"):
        return _linux_cameras(root)
    names = _listed_names(platform)
    if not names:
        return [CameraDevice(str(i), f"Camera {i}", str(i)) for i in range(_TRIED)]
    return _keyed((str(i), name) for i, name in enumerate(names))


def camera_with(key: str, cameras: Sequence[CameraDevice]) -> CameraDevice | None:
    return next((camera for camera in cameras if camera.key == key), None)


def _keyed(found: Iterable[tuple[str, str]]) -> list[CameraDevice]:
    """Cameras by their names, without characters that no name may have; the second one of a name gets a number."""
    count: Counter[str] = Counter()
    cameras = []
    for uri, given in found:
        name = "".join(letter if letter.isprintable() else " " for letter in given)
        count[name] += 1
        unique = name if count[name] == 1 else f"{name} ({count[name]})"
        cameras.append(CameraDevice(uri, unique, unique))
    return cameras


def _linux_cameras(root: Path) -> list[CameraDevice]:
    """The first node of each device: the others of a USB camera deliver metadata, no images."""
    ids = _ids(root)
    nodes = []
    for folder in (root / "sys/class/video4linux").glob("video*"):
        number = folder.name.removeprefix("video")
        if number.isdigit() and _text(folder / "index") in ("0", ""):
            name = _text(folder / "name").partition(":")[0].strip()  # uvcvideo writes 'C920: C920'
            nodes.append((int(number), name or folder.name))
    cameras = _keyed((f"/dev/video{number}" if number > 99 else str(number), name) for number, name in sorted(nodes))
    numbers = [number for number, _ in sorted(nodes)]
    return [
        CameraDevice(camera.uri, camera.name, ids.get(f"video{number}", camera.key))
        for number, camera in zip(numbers, cameras, strict=True)
    ]


def _ids(root: Path) -> dict[str, str]:
    """By node: the name of its link in /dev/v4l/by-id, made of maker, model and serial number."""
    with suppress(OSError):
        links = (root / "dev/v4l/by-id").iterdir()
        return {link.readlink().name: link.name for link in links if link.is_symlink()}
    return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _listed_names(platform: str) -> list[str]:
    """What FFmpeg lists; empty if it lists nothing. It writes the list to its log and then fails to open it."""
    name = {"win32": "dshow", "darwin": "avfoundation"}.get(platform)
    if name is None:
        return []
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines, suppress(FFmpegError, OSError, ValueError):
            av.open("dummy" if name == "dshow" else "", format=name, options={"list_devices": "true"})
        return listed_in([text for _, _, text in lines])
    finally:
        av.logging.set_level(level)


def listed_in(lines: Sequence[str]) -> list[str]:
    """The names of the video devices in FFmpeg's list."""
    text = "".join(lines)
    quoted = [match["name"] for match in _QUOTED.finditer(text)]
    if quoted:
        return quoted
    _, _, videos = text.partition("video devices:")
    videos = videos.partition("audio devices:")[0]
    names = [match["name"].strip() for match in _NUMBERED.finditer(videos)]
    return [name for name in names if not name.startswith("Capture screen")]
