"""Preparing a folder: one process at a time, and nothing left lying about."""

import fcntl
import logging
import threading

import pytest

from agent.dataset.normalise import ASIDE_PREFIX as GENERATING
from script.download_url import ASIDE_PREFIX as DOWNLOADING
from script.folder_lock import only_one_process


def test_folder_is_there_while_locked_and_goes_if_it_stays_empty(tmp_path):
    folder = tmp_path / "a" / "b"
    with only_one_process(folder):
        assert folder.is_dir()
    assert not list(tmp_path.iterdir())


def test_folder_stays_if_something_was_put_there(tmp_path):
    folder = tmp_path / "a" / "b"
    with only_one_process(folder):
        (folder / "train.npz").touch()
    assert [path.name for path in folder.iterdir()] == ["train.npz"]


def test_folder_that_was_there_stays(tmp_path):
    with only_one_process(tmp_path):
        pass
    assert tmp_path.is_dir()


def test_lock_is_released_after_an_error(tmp_path):
    folder = tmp_path / "a"
    with pytest.raises(ValueError, match="broken"), only_one_process(folder):
        raise ValueError("broken")
    assert not folder.exists()
    with only_one_process(folder):
        pass


def test_left_overs_of_killed_processes_are_removed(tmp_path):
    for prefix in (GENERATING, DOWNLOADING):
        (tmp_path / f"{prefix}xyz").mkdir()
        (tmp_path / f"{prefix}xyz" / "half.npz").touch()
    (tmp_path / "mine").mkdir()
    with only_one_process(tmp_path):
        names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".prepare.lock", "mine"]


def test_second_one_waits_and_says_so(tmp_path, caplog):
    order = []
    waiting = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            order.append("waits")
            waiting.set()

    def second():
        with only_one_process(tmp_path / "a"):
            order.append("second")

    logger = logging.getLogger("script.folder_lock")
    listener = Listener()
    logger.addHandler(listener)
    thread = threading.Thread(target=second)
    with only_one_process(tmp_path / "a"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    logger.removeHandler(listener)
    assert order == ["waits", "first", "second"]
    assert not list(tmp_path.iterdir())


def test_lock_file_removed_by_its_holder_is_not_mistaken_for_the_lock(tmp_path):
    lock = tmp_path / ".prepare.lock"
    entered = threading.Event()

    def second():
        with only_one_process(tmp_path):
            entered.set()
            assert lock.exists()

    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
        lock.unlink()
    assert entered.wait(10)
    thread.join(10)
