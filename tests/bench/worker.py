"""One side in a process of its own: runs what it is told, sleeps in between."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from omegaconf import OmegaConf

from tests.bench import machine
from tests.bench.cases import MATMUL, ONCE, Prepared, prepare

CALLS = {
    "a": 30,
    f"{MATMUL}a": 30,
    f"{MATMUL}c5000": 10,
    f"{MATMUL}c50000": 3,
    "f act": 5,
    "g act": 5,
    f"g act{ONCE}": 5,
}
WARM_UP = {"a": 20, "b": 1, "e": 1, "f clone": 1, "g clone": 1}


class Worker:
    """Our end of such a process.

    Args:
        side: Which.
        threads: That it computes with.
        quick: Less work in a call.
    """

    def __init__(self, side: str, threads: int, quick: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.side = side
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, side, threads, quick), name=side
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return int(self._process.pid or 0)

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def ask(self, command: str, *args: Any) -> Any:
        """Runs a command, a method of `Runner`, and returns its answer.

        Raises:
            RuntimeError: It failed; the message is the traceback.
        """
        self._pipe.send((command, args))
        good, answer = self._pipe.recv()
        if not good:
            raise RuntimeError(f"{self.side}, {command}:\n{answer}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


class Runner:
    """What the process does.

    Args:
        side: Which.
        quick: Less work in a call.
    """

    def __init__(self, side: str, quick: bool) -> None:
        self.side, self.quick = side, quick
        self.prepared: dict[str, Prepared] = {}

    def prepare(self, case: str, cfg: dict[str, Any]) -> list[float]:
        """Builds a case and runs it until compiled; returns seconds of each run."""
        config = OmegaConf.create(cfg)
        self.prepared[case] = prepare(self.side, case, config, self.quick)
        return [self._time(case) for _ in range(WARM_UP.get(case, 2))]

    def run(self, case: str) -> list[float]:
        """Seconds of each unit in one round."""
        return [self._time(case) for _ in range(CALLS.get(case, 1))]

    def memory(self) -> dict[str, float]:
        """Peak of this process and memory of those that it started, MiB."""
        own, started = os.getpid(), machine.children(os.getpid())
        return {
            "main": machine.peak_mib(own),
            "workers": sum(map(machine.proportional_mib, started)),
            "n_workers": len(started),
        }

    def drop(self, case: str) -> None:
        """Frees a case."""
        self.prepared.pop(case).close()

    def _time(self, case: str) -> float:
        prepared = self.prepared[case]
        start = time.perf_counter()
        prepared.run()
        return (time.perf_counter() - start) / prepared.units


def serve(pipe: Connection, side: str, threads: int, quick: bool) -> None:
    """Answers commands until there are no more."""
    set_threads(side, threads)
    runner = Runner(side, quick)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        while (message := _receive(pipe)) is not None:
            command, args = message
            try:
                pipe.send((True, getattr(runner, command)(*args)))
            except Exception:
                pipe.send((False, traceback.format_exc()))
    for case in list(runner.prepared):
        runner.drop(case)


def _receive(pipe: Connection) -> Any:
    """The next command; None if there is nobody left who sends."""
    try:
        return pipe.recv()
    except EOFError:
        return None


def set_threads(side: str, threads: int) -> None:
    """Both frameworks compute on the processor, with so many threads."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if side == "torch":
        import torch

        torch.set_num_threads(threads)
    elif side == "ours":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
