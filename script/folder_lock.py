"""Lets one process at a time prepare the files of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from agent.dataset.normalise import ASIDE_PREFIX as GENERATING
from script.download_url import ASIDE_PREFIX as DOWNLOADING

log = logging.getLogger(__name__)


@contextlib.contextmanager
def only_one_process(folder: Path) -> Iterator[None]:
    """Holds a lock on a folder, created if missing; waits while another holds it.

    What killed downloads and generators have left in it is removed. The lock file goes
    at the end, and so do the folders that were created if they are still empty.

    Args:
        folder: Whose files are to be prepared.
    """
    lock = folder / ".prepare.lock"
    file, made = _acquire(lock)
    try:
        for prefix in (DOWNLOADING, GENERATING):
            for left_over in folder.glob(f"{prefix}*"):
                shutil.rmtree(left_over, ignore_errors=True)
        yield
    finally:
        lock.unlink()
        with contextlib.suppress(OSError):  # Not empty: then they stay.
            for parent in made:
                parent.rmdir()
        file.close()


def _acquire(lock: Path) -> tuple[TextIO, list[Path]]:
    """The lock file, held by this process alone until closed, and folders created."""
    while True:
        made = [parent for parent in lock.parents if not parent.exists()]
        lock.parent.mkdir(parents=True, exist_ok=True)
        # Whoever held the lock before may have removed the file or its folder.
        with contextlib.suppress(FileNotFoundError):
            file = lock.open("a")
            _wait_for(file.fileno(), lock.parent)
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file, made
            file.close()


def _wait_for(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("Waiting for another process that prepares %s", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
