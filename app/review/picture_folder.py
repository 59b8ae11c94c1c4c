"""A folder of pictures and videos that belong to events, with retention by age and by size."""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from urllib.parse import quote

from app.core.files import is_file

SUFFIXES = (".clip.mp4", ".clip.json", ".clip.jpg", ".face.jpg", ".face.json", ".scene.jpg")
_OWN = re.compile(
    rf"\.?(?P<item>[\w%~-]+)(?:\.(?:clip|face|scene)\.\d+\.part\.\w+|{'|'.join(map(re.escape, SUFFIXES))})"
)
"""The files that we write, also incomplete ones. Others in the folder are never touched."""
MAX_NAME_BYTES = 200


@dataclass(slots=True)
class _Item:
    """The files of one item: when the first was written, since a verdict writes a record again, and their size."""

    written_s: float = inf
    size_bytes: int = 0
    paths: list[Path] = field(default_factory=list)


class PictureFolder:
    """Files ``ID.SUFFIX``, one item per id. The folder is created with the first file. Methods that read or delete
    skip what they may not read or delete."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, item_id: str, suffix: str) -> Path:
        """Where a file of ``item_id`` is. Any text is a safe name."""
        name = quote(item_id, safe="").replace(".", "%2E").encode()[:MAX_NAME_BYTES].decode()
        return self.path / f"{name}{suffix}"

    def has(self, item_id: str, suffix: str) -> bool:
        return is_file(self.file(item_id, suffix))

    def read(self, item_id: str, suffix: str) -> bytes | None:
        with suppress(OSError):
            return self.file(item_id, suffix).read_bytes()
        return None

    def delete(self, before_s: float | None = None) -> int:
        """Deletes the items that were written before Unix time ``before_s``, or all. Returns their number."""
        return sum(_delete(each) for each in self._items() if before_s is None or each.written_s < before_s)

    def delete_item(self, item_id: str) -> None:
        for suffix in SUFFIXES:
            with suppress(OSError):
                self.file(item_id, suffix).unlink()

    def delete_incomplete(self) -> None:
        """Deletes what a program that was killed left."""
        for entry in self._entries():
            if entry.name.startswith("."):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108

    def enforce(self, now_s: float, keep_s: float, max_bytes: float) -> int:
        """Deletes items older than ``keep_s``, then the oldest until at most ``max_bytes`` are left. ``now_s``: Unix
        time. Returns the number of deleted items."""
        items = sorted(self._items(), key=lambda item: item.written_s)
        total = sum(item.size_bytes for item in items)
        deleted = 0
        for item in items:
            if total > max_bytes or item.written_s < now_s - keep_s:
                total -= item.size_bytes
                deleted += _delete(item)
        return deleted

    def usage(self) -> tuple[int, int]:
        """The number of items and their size in bytes."""
        items = self._items()
        return len(items), sum(item.size_bytes for item in items)

    def _entries(self) -> list[os.DirEntry[str]]:
        with suppress(OSError), os.scandir(self.path) as entries:
            return [entry for entry in entries if _OWN.fullmatch(entry.name)]
        return []

    def _items(self) -> list[_Item]:
        items: dict[str, _Item] = {}
        for entry in self._entries():
            match = _OWN.fullmatch(entry.name)
            assert match is not None
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                item = items.setdefault(match["item"], _Item())
                item.written_s = min(item.written_s, status.st_mtime)
                item.size_bytes += status.st_size
                item.paths.append(Path(entry.path))
        return list(items.values())


def _delete(item: _Item) -> bool:
    deleted = False
    for path in item.paths:
        with suppress(OSError):  # open in another program on Windows; the next deletion repeats it
            path.unlink()
            deleted = True
    return deleted


def day_of(wall_s: float) -> str:
    """The local day of Unix time ``wall_s``, such as 2026-11-23."""
    return time.strftime("%Y-%m-%d", time.localtime(wall_s))
