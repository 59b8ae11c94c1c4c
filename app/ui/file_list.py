"""A list of folders, videos and images to choose from with keys or the mouse."""

from dataclasses import dataclass, field
from pathlib import Path

from app.core.files import is_folder
from app.settings.source_uri import IMAGE_SUFFIXES, VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    path: Path
    is_folder: bool


@dataclass
class FileList:
    """The content of ``folder``: first its parent, then folders, then files. ``index`` is the chosen entry."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    index: int = 0

    def __post_init__(self) -> None:
        self.open(self.folder)

    def open(self, folder: Path) -> None:
        """Shows ``folder``. Raises OSError if it cannot be read; the old one is then still shown."""
        folders, files, images = [], [], 0
        for path in sorted(folder.iterdir(), key=lambda path: path.name.casefold()):
            if path.name.startswith("."):
                continue
            suffix = path.suffix.lower()
            if is_folder(path):  # not one of a disk that does not answer any more
                folders.append(Entry(path.name, path, True))
            elif suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
                images += suffix in IMAGE_SUFFIXES
                files.append(Entry(path.name, path, False))
        parent = [Entry("..", folder.parent, True)] if folder.parent != folder else []
        whole = [Entry(f"all {images} images of this folder", folder, False)] if images > 1 else []
        came_from = self.folder
        self.folder, self.entries = folder, [*parent, *folders, *whole, *files]
        names = [] if came_from == folder else [entry.path for entry in self.entries]
        self.index = names.index(came_from) if came_from in names else 0

    def move(self, steps: int) -> None:
        self.index = max(0, min(self.index + steps, len(self.entries) - 1))

    def first_shown(self, rows: int) -> int:
        """The index of the first of ``rows`` entries to show, so that the chosen one is among them."""
        return max(0, min(self.index - rows // 2, len(self.entries) - rows))

    def choose(self) -> Path | None:
        """The chosen file; None if a folder was opened. Raises OSError."""
        if not self.entries:
            return None
        entry = self.entries[self.index]
        if not entry.is_folder:
            return entry.path
        self.open(entry.path)
        return None
