"""Opens an event file with the journal and the locks that its disk supports, and names disks that lack them."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

NETWORK_DISKS = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph davfs fuse.sshfs fuse.glusterfs fuse.rclone".split()  # noqa: SIM905
)
AUTO_VACUUM = "PRAGMA auto_vacuum = INCREMENTAL"
"""Returns the space of deleted rows to the file system. Has no effect on a file that has tables."""
NO_SHARED_MEMORY = ("SQLITE_IOERR_SHM", "SQLITE_PROTOCOL")


LOCKLESS = {
    True: "?mode=rw&nolock=1" if sys.platform == "win32" else "?mode=rw&vfs=unix-none",  # nolock opens no WAL file
    False: "?mode=ro&immutable=1",  # otherwise a reader takes the journal of a running write for that of a crash
}
"""Options of a connection to a disk without file locks, by whether it writes."""


def connect(path: Path, busy_s: float, write: bool) -> tuple[sqlite3.Connection, str]:
    """A connection to ``path``, and what its disk lacks ('' for nothing). SQLite's write-ahead log needs shared memory:
    without it the file gets a rollback journal. Without file locks SQLite's locks are off, and only the program that
    creates events (``write``) may change the file. Raises sqlite3.Error."""
    db, lacks = _open(path), ""
    try:
        try:
            _prepare(db, write)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(NO_SHARED_MEMORY):
                lacks = "shared memory"
            elif error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and not _has_locks(path):
                lacks = "file locks"
            elif error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if lacks:
                db.close()
                db = _open(path, LOCKLESS[write] if lacks == "file locks" else "?mode=rw")
        db.execute(f"PRAGMA busy_timeout = {1000 * busy_s:.0f}")
        _prepare(db, write, without_wal=lacks != "")
    except BaseException:
        db.close()
        raise
    return db, f"{disk_of(path)} has no {lacks}" if lacks else ""


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")  # it may wait for readers in vain, and then the transaction is still open
    except BaseException:
        with suppress(sqlite3.Error):  # report the first error; on a full disk SQLite rolls back by itself
            db.execute("ROLLBACK")
        raise


def create_private(path: Path) -> None:
    """Creates the file, unless it exists, readable by this user only before any data is in it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)


def _open(path: Path, options: str = "?mode=rw") -> sqlite3.Connection:
    name = path.absolute().as_posix()
    slashes = "" if name.startswith("/") and not name.startswith("//") else "//" if name.startswith("//") else "/"
    uri = f"file:{slashes}{quote(os.fsencode(name))}{options}"
    return sqlite3.connect(uri, timeout=0.0, isolation_level=None, check_same_thread=False, uri=True)


def _prepare(db: sqlite3.Connection, write: bool, without_wal: bool = False) -> None:
    if write and without_wal:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # reads a write-ahead log without shared memory
        db.execute(AUTO_VACUUM)
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA locking_mode = NORMAL")
    elif write and not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        db.execute(AUTO_VACUUM)
        db.execute("PRAGMA journal_mode = WAL")
    db.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _has_locks(path: Path) -> bool:
    """Whether the disk of ``path`` supports file locks. Tried on a file of its own: closing a second handle of the
    event file would release SQLite's locks."""
    if sys.platform == "win32":
        return True
    import fcntl

    probe = path.with_name(f"{path.name}.probe-{os.getpid()}")
    try:
        with probe.open("wb") as file:
            fcntl.lockf(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.filename is not None  # the file could not be created: unknown
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return True


def disk_of(path: Path) -> str:
    """The disk of ``path`` as text, such as "the network disk nas:/share (nfs4)"."""
    if str(path.absolute()).startswith(("\\\\", "//")):
        return f"the network disk {path.absolute().anchor}"
    mounts: list[list[str]] = []
    with suppress(OSError):
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()]
    resolved = Path(os.path.realpath(path))
    own = [fields for fields in mounts if resolved.is_relative_to(fields[1].replace("\\040", " "))]
    if not own:
        return "its disk"
    device, folder, kind = max(own, key=lambda fields: len(fields[1]))[:3]
    return f"the network disk {device} ({kind})" if kind in NETWORK_DISKS else f"the disk at {folder} ({kind})"
