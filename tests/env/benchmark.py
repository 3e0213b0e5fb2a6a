"""Speed of the vector environments, taken in turns.

    python -m tests.env.benchmark [n_envs] [rounds] [name] [backend ...]

Back ends are sync, async, native, envpool, and gymnasium: its own `AsyncVectorEnv`
with a process for each environment, as the reference has; by default all but envpool.
Prints rates in env steps: for a second of the clock, and for a second of processor
time, of all processes and threads together, which other programs disturb less: on a
quiet machine with n processors the first is at most n times the second.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from env.gym_utils import _Factory, make_async
from env.gym_utils.registry import find_env

ACT_STEPS = 4
SECONDS = 0.5
BACKENDS = ("sync", "async", "native", "gymnasium")
WRAPPERS = {
    "mujoco_locomotion_lowdim": {"normalization_path": None},
    "multi_step": {"n_action_steps": ACT_STEPS, "reset_within_step": True},
}


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _make(name: str, n_envs: int, backend: str) -> Any:
    if backend != "gymnasium":
        return make_async(name, n_envs, wrappers=WRAPPERS, backend=backend)
    factory = _Factory(find_env(name), {}, WRAPPERS)
    # MultiStep resets, so gymnasium's vector environment must not.
    return gymnasium.vector.AsyncVectorEnv(
        [factory] * n_envs, autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED
    )


def _pids(venv: Any) -> list[int]:
    """Of the worker processes."""
    workers = [w.process for w in getattr(venv, "_workers", [])]
    return [p.pid for p in [*workers, *getattr(venv, "processes", [])]]


class _Meter:
    """A vector environment and what its steps took."""

    def __init__(self, name: str, n_envs: int, backend: str) -> None:
        self.venv = _make(name, n_envs, backend)
        self.venv.reset(seed=0)
        self.pids = _pids(self.venv)
        self.steps, self.busy = 0, 0.0
        self.rates: list[float] = []

    def run(self, rng: np.random.Generator) -> None:
        """Steps for `SECONDS`."""
        shape = (self.venv.num_envs, *self.venv.single_action_space.shape)
        actions = rng.uniform(-1, 1, shape)
        busy = self._processor_seconds()
        start, chunks = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            self.venv.step(actions)
            chunks += 1
        steps = chunks * self.venv.num_envs * ACT_STEPS
        self.rates.append(steps / (time.perf_counter() - start))
        self.steps += steps
        self.busy += self._processor_seconds() - busy

    def _processor_seconds(self) -> float:
        return time.process_time() + sum(map(_processor_seconds, self.pids))

    def summary(self) -> str:
        """Rates by the clock and by processor time."""
        return (
            f"median {np.median(self.rates):.0f}, best {max(self.rates):.0f}, "
            f"per processor second {self.steps / self.busy:.0f} env steps"
        )


def main(
    n_envs: int = 40, rounds: int = 20, name: str = "hopper-medium-v2", *backends: str
) -> None:
    """Prints the speed of each backend."""
    meters = {key: _Meter(name, n_envs, key) for key in backends or BACKENDS}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for meter in meters.values():
            meter.run(rng)
    for backend, meter in meters.items():
        print(f"{name} n_envs={n_envs} {backend}: {meter.summary()}")
        meter.venv.close()


if __name__ == "__main__":
    kinds = (int, int, *[str] * len(sys.argv))
    main(*(kind(arg) for kind, arg in zip(kinds, sys.argv[1:], strict=False)))
