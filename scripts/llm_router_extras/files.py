"""Files that only the user may read, and locks between processes."""

from __future__ import annotations

import os
import stat


def private_file(path: str, flags: int = 0) -> int:
    """A regular file opened for reading and writing; a new one is for its owner alone. OSError for a link or a device."""
    for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"):  # as far as the system has them
        flags |= getattr(os, name, 0)
    file = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o600)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError("it is not a regular file")
    return file


def move_new(part: str, path: str) -> None:
    """The file under its name, unless that is taken: FileExistsError. Where there are no links (exFAT), a moment is between."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from None
        os.rename(part, path)


def lock_file(file: int) -> bool:
    """Locks an open file; False where another process has it. The system lets go when the process ends, however it ends."""
    try:
        try:
            import fcntl
        except ImportError:  # Windows, which locks ranges of bytes: one that hardly any content reaches
            import msvcrt

            os.lseek(file, 0x7FFF_FFFE, os.SEEK_SET)  # every file system and runtime library knows it
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # any other error is none of a lock that is held, and goes up
        return False
    return True
