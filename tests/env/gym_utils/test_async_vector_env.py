import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from env.gym_utils import AsyncVectorEnv
from env.gym_utils.async_vector_env import count_processors
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from tests.env.gym_utils.points import assert_same, make_point, make_venv, run
from tests.fakes import PointEnv
from util.compat import reference

ACTIONS = np.zeros((4, 3, 2))


def make(env_class=PointEnv, num_envs=4, **kwargs):
    def make_one():
        env = MujocoLocomotionLowdimWrapper(env_class(), None)
        return MultiStep(env, n_action_steps=3)

    venv = AsyncVectorEnv([make_one] * num_envs, **({"num_workers": 2} | kwargs))
    venv.reset(seed=0)
    return venv


class _Telling(PointEnv):
    """Tells its process; can be made to take its time, or to leave."""

    seconds = 0.0
    leaves = False

    @property
    def pid(self):
        return os.getpid()

    def step(self, action):
        time.sleep(self.seconds)
        if self.leaves:
            os._exit(3)
        return super().step(action)


def wait_until_gone(pids, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_is_running(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_environments_share_workers():
    venv = make(_Telling, num_envs=5)
    pids = venv.get_attr("pid")
    assert len(set(pids)) == 2
    assert pids[0] == pids[1] != pids[2] == pids[4]
    assert os.getpid() not in pids
    venv.close()


@pytest.mark.parametrize("num_envs", [1, 40])
def test_there_is_one_worker_for_each_processor_by_default(num_envs):
    venv = make(_Telling, num_envs=num_envs, num_workers=None)
    expected = min(num_envs, count_processors())
    assert len(set(venv.get_attr("pid"))) == expected
    venv.close()


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="num_workers must be >= 1, got 0"):
        make(num_workers=0)


def test_a_worker_killed_during_a_step_is_an_error():
    venv = make(_Telling)
    pids = venv.get_attr("pid")
    venv.set_attr("seconds", 0.1)
    venv.step_async(ACTIONS)
    os.kill(pids[3], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"environments 2-3 died \(signal SIGKILL\)"):
        venv.step_wait()
    assert venv.closed
    assert wait_until_gone(pids)


def test_a_worker_killed_between_steps_is_an_error():
    venv = make(_Telling)
    pids = venv.get_attr("pid")
    os.kill(pids[0], signal.SIGKILL)
    assert wait_until_gone([pids[0]])
    with pytest.raises(RuntimeError, match=r"environments 0-1 died \(signal SIGKILL\)"):
        venv.step(ACTIONS)
    assert venv.closed


def test_a_worker_that_exits_is_an_error():
    venv = make(_Telling)
    venv.set_attr("leaves", [True, False, False, False])
    with pytest.raises(RuntimeError, match=r"environments 0-1 died \(exit code 3\)"):
        venv.step(ACTIONS)


def test_a_timeout_leaves_the_step_pending():
    venv = make(_Telling)
    twin = make(_Telling)
    venv.set_attr("seconds", 0.1)
    venv.step_async(ACTIONS)
    with pytest.raises(multiprocessing.TimeoutError, match="environments 0-1"):
        venv.step_wait(timeout=0.05)
    assert_same(venv.step_wait(timeout=30)[0], twin.step(ACTIONS)[0])
    venv.close()
    twin.close()


class _UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__("one argument only")


class _Raising(PointEnv):
    def step(self, action):
        raise _UnpicklableError(1, 2)


class _Leaking(PointEnv):
    """Puts something in its info that cannot be sent."""

    def step(self, action):
        *result, _ = super().step(action)
        return *result, {"handle": lambda: None}


def test_an_error_carries_the_traceback_of_the_worker():
    venv = make()
    with pytest.raises(AttributeError) as caught:
        venv.call("unheard_of")
    note = "".join(caught.value.__notes__)
    assert "environment 0" in note
    assert "in a worker process" in note
    assert "Traceback" in note
    venv.close()


def test_an_exception_that_cannot_be_sent_becomes_a_runtime_error():
    venv = make(_Raising)
    with pytest.raises(RuntimeError) as caught:
        venv.step(ACTIONS)
    assert "_UnpicklableError: one argument only" in "".join(caught.value.__notes__)
    venv.close()


def test_a_result_that_cannot_be_sent_is_an_error():
    venv = make(_Leaking)
    with pytest.raises((AttributeError, TypeError, ValueError), match="pickle|local"):
        venv.step(ACTIONS)
    venv.reset(seed=0)  # still usable
    venv.close()


def test_an_environment_that_cannot_be_made_raises_its_error():
    calls = []

    def make_second_time():
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError("no simulator")
        return make_point()

    with pytest.raises(ZeroDivisionError, match="no simulator") as caught:
        AsyncVectorEnv([make_second_time] * 2, num_workers=1)
    assert "environment 0" in str(caught.value.__notes__)


def test_workers_end_with_the_object():
    venv = make(_Telling)
    pids = venv.get_attr("pid")
    del venv
    gc.collect()
    assert wait_until_gone(pids)


def test_closing_does_not_wait_for_a_pending_step():
    venv = make(_Telling)
    pids = venv.get_attr("pid")
    venv.set_attr("seconds", 0.05)
    venv.step_async(ACTIONS)
    venv.close()
    assert wait_until_gone(pids)


def test_a_forked_process_does_not_close_the_workers():
    venv = make()
    child = multiprocessing.get_context("fork").Process(target=venv.close)
    child.start()
    child.join()
    assert child.exitcode == 0
    venv.step(ACTIONS)
    venv.close()


_PARENT = """
import os, signal, sys
from tests.env.gym_utils.test_async_vector_env import _Telling, make
first, second = make(_Telling), make(_Telling)
print(*first.get_attr("pid"), *second.get_attr("pid"), flush=True)
{end}
"""


@pytest.mark.parametrize(
    "end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit()", "1 / 0"]
)
def test_workers_end_with_the_process(end):
    code = _PARENT.format(end=end)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    pids = [int(word) for word in done.stdout.split()]
    assert len(set(pids)) == 4, done.stderr
    assert wait_until_gone(pids)


@pytest.mark.parametrize(
    "context", ["fork", pytest.param("spawn", marks=pytest.mark.full)]
)
def test_workers_inherit_the_switches_of_the_reference(context):
    def last_flags():
        # The 42nd env step would be in the 14th chunk; gymnasium's limit is 40.
        multi_step = {"max_episode_steps": None}
        venv = make_venv("async", multi_step=multi_step, bound=99, context=context)
        venv.reset(seed=0)
        result = run(venv, 14)[-1]
        venv.close()
        return result["terminated"].all(), result["truncated"].all()

    assert last_flags() == (False, True)
    with reference():
        assert last_flags() == (True, True)


@pytest.mark.full
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_other_start_methods_give_the_same(context):
    results = []
    for kind in ("fork", context):
        venv = AsyncVectorEnv([make_point] * 2, context=kind, num_workers=2)
        results.append([venv.reset(seed=0), *run(venv, 20)])
        venv.close()
    assert_same(*results)
