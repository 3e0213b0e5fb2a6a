import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.util.versions import load_version, save_version
from util.state_folder import is_complete

FORK = multiprocessing.get_context("fork")


def prepare(folder: Path, situation: str) -> list[int]:
    """Makes what may be there before a save; returns the versions it may hold."""
    if situation == "new":
        return []
    save_version(folder, 1)
    old = folder.with_name(f"{folder.name}.old")
    if situation == "old only":
        folder.rename(old)
    elif situation == "broken and old":
        shutil.copytree(folder, old)
        (folder / "DONE").unlink()
    elif situation == "both":
        shutil.copytree(folder, old)
    return [1]


def save_and_die(folder: Path, event: int) -> None:
    """Saves version 2 and is killed at the n-th thing done to the file system."""
    counter = iter(range(event, -1, -1))
    names = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.listdir"}

    def audit(name, arguments):
        if name in names and next(counter) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    save_version(folder, 2)
    os._exit(0)


@pytest.mark.parametrize(
    "situation", ["new", "complete", "old only", "both", "broken and old"]
)
def test_writer_killed_at_any_step_leaves_a_whole_state(tmp_path, situation):
    finished, event = False, 0
    while not finished:
        folder = tmp_path / str(event) / "last"
        versions = prepare(folder, situation)
        process = FORK.Process(target=save_and_die, args=(folder, event))
        process.start()
        process.join()
        finished = process.exitcode == 0
        if versions or is_complete(folder):
            assert load_version(folder) in [*versions, 2]
        save_version(folder, 3)
        assert load_version(folder) == 3
        assert [p.name for p in folder.parent.iterdir()] == ["last"]
        event += 1
    assert event > 5


def save_for_ever(folder: Path, saves) -> None:
    while True:
        saves.value += 1
        save_version(folder, saves.value)


@pytest.fixture
def start_writer(tmp_path):
    """Starts processes that save and returns once they have saved twice."""
    processes = []
    saves = FORK.Value("l", 0, lock=False)

    def start():
        before = saves.value
        arguments = (tmp_path / "last", saves)
        processes.append(FORK.Process(target=save_for_ever, args=arguments))
        processes[-1].start()
        deadline = time.monotonic() + 60
        while saves.value < before + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_writer_killed_at_random_moments_leaves_a_whole_state(tmp_path, start_writer):
    draw = random.Random(0)
    reached = [0]
    for _ in range(15):
        process = start_writer()
        time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached.append(load_version(tmp_path / "last"))
        assert reached[-1] > reached[-2]


def test_reader_sees_whole_states_while_a_writer_runs(tmp_path, start_writer):
    start_writer()
    deadline = time.monotonic() + 60
    seen: set[int] = set()
    while len(seen) < 20 and time.monotonic() < deadline:
        seen.add(load_version(tmp_path / "last"))
    assert len(seen) == 20
