"""Edits a settings file, whose comments stay."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.errors import OutputError, SettingsError
from app.core.files import exists, write_text

if TYPE_CHECKING:  # imported late, so that the start is fast
    from tomlkit import TOMLDocument


@contextmanager
def edited(path: Path, doing: str = "write") -> Iterator["TOMLDocument"]:
    """Yields the document of a settings file, empty if there is none, and writes it at the end of the block. Raises
    OutputError, which says what was being done, if the file or what is set in it is invalid or cannot be written; the
    file is unchanged then."""
    import tomlkit

    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if exists(path) else "")
        yield document
        write_text(path, tomlkit.dumps(document))
    except (OSError, ValueError, SettingsError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise OutputError(f"cannot {doing} {path}: {reason}; check the file and its permissions") from error
