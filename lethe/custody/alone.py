"""One process at a time in a block, by a lock that is a file of lethe's own and is gone afterwards."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lethe.core.errors import StageError


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """No other process is within this block for the same lock.

    Raises StageError where the lock cannot be a file of lethe's own: it is not written through a link.
    """
    import fcntl

    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = locked(lock)
        check_own(held, lock)
        while not is_same(held, lock):  # whoever had it has taken the file away, and another may have made a new one
            os.close(held)
            held = locked(lock)
            check_own(held, lock)
    except OSError as error:
        link = f"a link to something else; rm {lock}" if lock.is_symlink() else f"something else: {error.strerror}"
        raise StageError(f"{lock}: expected a file of lethe's own, got {link}") from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # while it is held: whoever waits for it sees that it is another file
        fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)


def locked(lock: Path) -> int:
    """A descriptor of the lock's file, which no other process holds."""
    import fcntl

    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def check_own(held: int, lock: Path) -> None:
    """Raise StageError for a file with something in it, or no file: what is held is taken away in the end."""
    facts = os.fstat(held)
    if stat.S_ISREG(facts.st_mode) and not facts.st_size:
        return
    os.close(held)
    got = "one with something in it" if stat.S_ISREG(facts.st_mode) else "something else"
    raise StageError(f"{lock}: expected an empty file of lethe's own or none, got {got}; choose another name")


def is_same(held: int, lock: Path) -> bool:
    """Whether the descriptor is that of the file which lies there now."""
    try:
        return os.path.samestat(os.fstat(held), lock.lstat())
    except FileNotFoundError:
        return False
