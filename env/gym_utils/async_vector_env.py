"""Environments in worker processes, several in each.

Departures from the reference, which has one process per environment: there are as many
workers as processors, so that 40 environments on 2 cores do not fight for them; a
worker that dies raises an error instead of leaving the parent waiting.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from gymnasium.spaces import Dict
from gymnasium.vector.utils import CloudpickleWrapper

from env.gym_utils.async_worker import (
    SharedBuffers,
    WorkerError,
    run_worker,
)
from env.gym_utils.env_group import Buffers, EnvFactory
from env.gym_utils.vector_env import Args, VectorEnv
from util.compat import COMPAT, compat

_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Worker:
    """A process, our end of its pipe, and the environments in it."""

    process: BaseProcess
    pipe: Connection
    envs: range


class AsyncVectorEnv(VectorEnv):
    """A vector environment with worker processes; equal to `SyncVectorEnv` otherwise.

    Workers are daemons and end when this process does, however it does.

    Args:
        env_fns: Make the environments.
        dummy_env_fn: Makes an environment in this process, of which only the spaces
            are used; by default the first of `env_fns`.
        context: How processes start: fork (the default), forkserver or spawn. Each
            worker of the last two imports everything anew.
        num_workers: Processes; by default one for each processor, at most E.

    Raises:
        ValueError: There are no environments, or num_workers is below 1.
        TypeError: Observations are not named arrays.
        RuntimeError: A worker died.
        Exception: What an environment raised when it was made.
    """

    def __init__(
        self,
        env_fns: Sequence[EnvFactory],
        dummy_env_fn: EnvFactory | None = None,
        context: str | None = None,
        num_workers: int | None = None,
    ) -> None:
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"num_workers must be >= 1, got {num_workers}.")
        self._context: Any = multiprocessing.get_context(context or "fork")
        super().__init__(env_fns, dummy_env_fn)
        self._waiting: list[tuple[_Worker, list[Any] | WorkerError | None]] = []
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _shut_down, self._workers, os.getpid())
        self.closed = False
        count = min(num_workers or count_processors(), self.num_envs)
        bounds = [self.num_envs * index // count for index in range(count + 1)]
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
            self._start(env_fns, range(start, stop))
        self._waiting = [(worker, None) for worker in self._workers]
        try:
            self._gather(None)
        except BaseException:
            self.close()
            raise

    def _allocate(self, space: Dict) -> Buffers:
        self._shared = SharedBuffers(self.num_envs, space, self._context)
        return self._shared.map()

    def _start(self, env_fns: Sequence[EnvFactory], envs: range) -> None:
        part = [env_fns[index] for index in envs]
        ours, theirs = self._context.Pipe()
        forks = self._context.get_start_method() == "fork"
        inherited = [*(w.pipe for w in self._workers), ours] if forks else []
        process = self._context.Process(
            target=run_worker,
            args=(
                theirs,
                inherited,
                CloudpickleWrapper(lambda: part),  # type: ignore[type-var]
                envs.start,
                self._shared,
                {name: compat(name) for name in COMPAT},
            ),
            name=f"envs {envs.start}-{envs.stop - 1}",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, envs))

    def _dispatch(self, command: str, args: Args, indices: Sequence[int]) -> None:
        self._waiting = []
        for worker in self._workers:
            places = [p for p, index in enumerate(indices) if index in worker.envs]
            if not places:
                continue
            part = args[places[0] : places[-1] + 1]  # indices ascend
            try:
                worker.pipe.send((command, part, [indices[p] for p in places]))
            except (BrokenPipeError, ConnectionResetError):
                self._report_death(worker)
            self._waiting.append((worker, None))

    def _gather(self, timeout: float | None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        for place, (worker, reply) in enumerate(self._waiting):
            if reply is None:
                self._waiting[place] = worker, self._receive_from(worker, deadline)
        results: list[Any] = []
        for _, reply in self._waiting:
            if isinstance(reply, WorkerError):
                reply.raise_here()
            results += reply or []
        return results

    def _receive_from(self, worker: _Worker, deadline: float | None) -> Any:
        """The reply of one worker; waits until `deadline` of the monotonic clock."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = wait([worker.pipe, worker.process.sentinel], left)
        if not ready:
            raise multiprocessing.TimeoutError(
                f"environments {_name(worker.envs)} did not answer in time."
            )
        try:
            return worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._report_death(worker)

    def _report_death(self, worker: _Worker) -> NoReturn:
        worker.process.join(_CLOSE_SECONDS)
        code = worker.process.exitcode
        cause = f"exit code {code}"
        if code is not None and code < 0:
            with suppress(ValueError):
                cause = f"signal {signal.Signals(-code).name}"
        self.close()
        raise RuntimeError(
            f"the worker process of the environments {_name(worker.envs)} died "
            f"({cause}); the vector environment is closed."
        )

    def _close(self) -> None:
        self._finalizer()


def count_processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _name(envs: range) -> str:
    return f"{envs.start}-{envs.stop - 1}"


def _shut_down(workers: list[_Worker], owner: int) -> None:
    """Ends the workers; does nothing in a process that was forked from the owner."""
    if os.getpid() != owner:
        return
    for worker in workers:
        with suppress(OSError, ValueError):
            worker.pipe.send(("close", (), ()))
        worker.pipe.close()  # a worker that is about to answer must not wait for us
    deadline = time.monotonic() + _CLOSE_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
