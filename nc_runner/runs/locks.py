"""Looking at file locks (``flock``) without getting in the way of those who want them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

PATIENCE = (
    0.5  # seconds that nc-run tries for a lock: a look at it, which lasts microseconds, must not refuse it
)

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)


def is_held(path: Path) -> bool | None:
    """Whether any process holds the lock on the file ``path``; None where this system cannot tell.

    The look is a shared lock on a descriptor of its own, given back at once: it never waits, any number of
    looks at the same time agree, and whoever asks for the lock meanwhile with :data:`PATIENCE` gets it. A
    process's id would tell less: ids are used again, and those of other hosts and containers say nothing.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in _TAKEN else None
    finally:
        os.close(descriptor)  # gives the lock back as well
    return False


def hold_until_exit(path: Path) -> bool:
    """Take the lock on the file ``path`` for as long as this process lives; False if another one has it.

    The descriptor is left open on purpose: the system closes it, and frees the lock, when the process ends.
    Where there are no such locks, False.
    """
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    return True
