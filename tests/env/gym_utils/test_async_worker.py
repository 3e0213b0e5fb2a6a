import multiprocessing
import threading

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from gymnasium.vector.utils import CloudpickleWrapper

from env.gym_utils.async_worker import SharedBuffers, WorkerError, run_worker
from env.gym_utils.env_group import EnvFailure
from tests.env.gym_utils.points import make_point
from util.compat import COMPAT

CONTEXT = multiprocessing.get_context("fork")
SPACE = Dict({"state": Box(-1, 1, (2, 4), np.float64)})


def test_shared_buffers_are_the_same_memory_in_another_process():
    shared = SharedBuffers(3, SPACE, CONTEXT)

    def write():
        buffers = shared.map()
        buffers.obs["state"][1] = 7.0
        buffers.truncated[2] = True

    process = CONTEXT.Process(target=write)
    process.start()
    process.join()
    buffers = shared.map()
    assert (buffers.obs["state"][1] == 7.0).all()
    assert buffers.obs["state"].sum() == 7.0 * 8
    assert buffers.truncated.tolist() == [False, False, True]
    assert buffers.rewards.dtype == np.float64


def _fail(cause):
    try:
        try:
            raise cause
        except Exception as error:
            raise EnvFailure(4) from error
    except EnvFailure as failure:
        return WorkerError.wrap(failure)


def test_an_error_is_raised_again_with_its_place():
    error = _fail(KeyError("missing"))
    assert error.index == 4
    with pytest.raises(KeyError, match="missing") as caught:
        error.raise_here()
    assert "environment 4, in a worker process" in caught.value.__notes__[0]
    assert "KeyError: 'missing'" in caught.value.__notes__[0]


def test_an_error_that_cannot_be_sent_is_told():
    class LocalError(Exception):
        pass

    error = _fail(LocalError("no import finds me"))
    assert error.error is None
    with pytest.raises(RuntimeError) as caught:
        error.raise_here()
    assert "no import finds me" in caught.value.__notes__[0]


def test_an_error_outside_environments_names_no_environment():
    with pytest.raises(OSError, match="gone") as caught:
        WorkerError.wrap(OSError("gone")).raise_here()
    assert "in a worker, in" in caught.value.__notes__[0]


def _talk(env_fns, messages):
    """Replies of a worker that runs in a process of its own."""
    ours, theirs = CONTEXT.Pipe()
    shared = SharedBuffers(len(env_fns), SPACE, CONTEXT)
    process = CONTEXT.Process(
        target=run_worker,
        args=(theirs, [ours], CloudpickleWrapper(lambda: env_fns), 0, shared)
        + (dict.fromkeys(COMPAT, False),),
        daemon=True,
    )
    process.start()
    theirs.close()
    replies = [ours.recv()]
    for message in messages:
        ours.send(message)
        replies.append(ours.recv())
    ours.close()  # as if this process had died
    process.join(10)
    assert process.exitcode == 0
    return replies, shared.map()


def test_a_worker_obeys_until_its_parent_is_gone():
    threads = threading.active_count()
    replies, buffers = _talk(
        [make_point] * 2,
        [
            ("reset", [{"seed": 1}] * 2, [0, 1]),
            ("step", np.zeros((2, 3, 2)), [0, 1]),
            ("call", [("bound", (), {})], [1]),
        ],
    )
    assert replies[:2] == [[], [None, None]]
    assert [set(info) for info in replies[2]] == [{"distance"}] * 2
    assert replies[3] == [1.4]
    assert (buffers.rewards != 0).all()
    assert threading.active_count() == threads


def test_a_worker_without_environments_says_why():
    def fail():
        raise OSError("no file")

    replies, _ = _talk([fail], [])
    assert replies[0].index == 0
    assert "no file" in replies[0].text
