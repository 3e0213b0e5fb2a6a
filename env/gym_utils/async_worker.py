"""The worker process of `AsyncVectorEnv`."""

from __future__ import annotations

import ctypes
import math
import pickle
import signal
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

import numpy as np
from gymnasium.spaces import Dict
from gymnasium.vector.utils import CloudpickleWrapper

from env.gym_utils.env_group import Buffers, EnvFailure, EnvGroup
from util.compat import compat_scope


class SharedBuffers:
    """`Buffers` in memory that worker processes of any start method can map.

    Args:
        num_envs: E.
        space: Observations of one environment.
        context: Of the processes.
    """

    def __init__(self, num_envs: int, space: Dict, context: BaseContext) -> None:
        self._num_envs, self._space = num_envs, space
        self._raw: list[Any] = []

        def new(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            size = max(1, math.prod(shape) * dtype.itemsize)
            self._raw.append(context.RawArray(ctypes.c_byte, size))
            return np.empty(0)

        Buffers.allocate(num_envs, space, new)

    def map(self) -> Buffers:
        """Returns arrays over the shared memory."""
        raw = iter(self._raw)

        def view(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
            return np.frombuffer(next(raw), dtype, math.prod(shape)).reshape(shape)

        return Buffers.allocate(self._num_envs, self._space, view)


@dataclass(frozen=True)
class WorkerError:
    """An exception on its way to the parent process.

    Attributes:
        error: The exception; None if it cannot be pickled.
        text: Its traceback.
        index: The environment that raised it; None if it was none.
    """

    error: Exception | None
    text: str
    index: int | None

    @classmethod
    def wrap(cls, error: Exception) -> WorkerError:
        """Returns what can be sent of `error`."""
        index = None
        if isinstance(error, EnvFailure) and isinstance(error.__cause__, Exception):
            index, error = error.index, error.__cause__
        text = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # whatever a user's exception does when it is rebuilt
            return cls(None, text, index)
        return cls(error, text, index)

    def raise_here(self) -> NoReturn:
        """Raises the exception, with the worker's traceback as a note."""
        error = self.error or RuntimeError("an environment raised an exception.")
        place = "a worker" if self.index is None else f"environment {self.index}"
        error.add_note(f"This happened in {place}, in a worker process:\n{self.text}")
        raise error


def run_worker(
    pipe: Connection,
    inherited: Sequence[Connection],
    env_fns: CloudpickleWrapper,
    first: int,
    buffers: SharedBuffers,
    switches: Mapping[str, bool],
) -> None:
    """Makes a group of environments and obeys commands until told to close.

    Args:
        pipe: To the parent. The first message from here is [], or a `WorkerError`
            if the environments cannot be made.
        inherited: The parent's ends of pipes, which a forked process must close: the
            end of the parent would go unnoticed.
        env_fns: Returns the factories of the environments.
        first: Index of the first of them.
        buffers: For results.
        switches: Which behaviours of the reference are on, see `util.compat`.
    """
    for other in inherited:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent closes us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with compat_scope(switches):
        try:
            group = EnvGroup(env_fns(), first, buffers.map())  # type: ignore[arg-type]
        except Exception as error:
            _send(pipe, WorkerError.wrap(error))
            return
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            _send(pipe, [])
            _serve(pipe, group)
        group.close()


def _serve(pipe: Connection, group: EnvGroup) -> None:
    """Answers `(command, args, indices)` with results or a `WorkerError`."""
    while True:
        command, args, indices = pipe.recv()
        if command == "close":
            return
        try:
            _send(pipe, group.handle(command, args, indices))
        except EnvFailure as error:
            _send(pipe, WorkerError.wrap(error))


def _send(pipe: Connection, reply: Any) -> None:
    """Sends `reply`, or why it cannot be pickled."""
    try:
        message = ForkingPickler.dumps(reply)
    except Exception as error:
        message = ForkingPickler.dumps(WorkerError.wrap(error))
    pipe.send_bytes(message)
