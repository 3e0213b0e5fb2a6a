"""Speed of both vector environments, taken in turns.

    python -m tests.env.benchmark [n_envs] [rounds] [name]

Prints two rates, in env steps per second: by the clock, and by the processor time of
this process plus that of the busiest worker, which other programs disturb less.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from env.gym_utils import VectorEnv, make_async

ACT_STEPS = 4
SECONDS = 0.5


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Meter:
    """A vector environment and what its steps took."""

    def __init__(self, name: str, n_envs: int, backend: str) -> None:
        wrappers = {
            "mujoco_locomotion_lowdim": {"normalization_path": None},
            "multi_step": {"n_action_steps": ACT_STEPS, "reset_within_step": True},
        }
        self.venv: VectorEnv = make_async(
            name, n_envs, wrappers=wrappers, backend=backend
        )
        self.venv.reset(seed=0)
        self.pids = [w.process.pid for w in getattr(self.venv, "_workers", [])]
        self.steps, self.own = 0, 0.0
        self.workers = np.zeros(len(self.pids) or 1)
        self.rates: list[float] = []

    def run(self, rng: np.random.Generator) -> None:
        """Steps for `SECONDS`."""
        shape = (self.venv.num_envs, *self.venv.single_action_space.shape)
        actions = rng.uniform(-1, 1, shape)
        workers = [_processor_seconds(pid) for pid in self.pids]
        start, own, chunks = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < SECONDS:
            self.venv.step(actions)
            chunks += 1
        steps = chunks * self.venv.num_envs * ACT_STEPS
        self.rates.append(steps / (time.perf_counter() - start))
        self.steps += steps
        self.own += time.process_time() - own
        if self.pids:
            now = [_processor_seconds(pid) for pid in self.pids]
            self.workers += np.subtract(now, workers)

    def summary(self) -> str:
        """Rates by the clock and by processor time."""
        busy = self.own + self.workers.max()
        return (
            f"median {np.median(self.rates):.0f}, best {max(self.rates):.0f}, "
            f"by processor time {self.steps / busy:.0f} env steps/s"
        )


def main(n_envs: int = 40, rounds: int = 20, name: str = "hopper-medium-v2") -> None:
    """Prints the speed of each backend."""
    meters = {key: _Meter(name, n_envs, key) for key in ("sync", "async")}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for meter in meters.values():
            meter.run(rng)
    for backend, meter in meters.items():
        print(f"{name} n_envs={n_envs} {backend}: {meter.summary()}")
        meter.venv.close()


if __name__ == "__main__":
    kinds = (int, int, str)
    main(*(kind(arg) for kind, arg in zip(kinds, sys.argv[1:], strict=False)))
