"""Where an iteration's time goes, and how it grows: the tables of docs/performance.md.

    python -m tests.bench.growth [--rounds 3] [--steps 60] [--only TEXT] [--out FILE]

Settings are measured in turns, each on a shortened iteration of the Hopper leaf (or
of Walker2d's and HalfCheetah's);
times are stated for one chunk step and for one iteration of the leaf: acting,
simulating, keeping what both return, learning (which scales with the rows), and
checkpoint and report. The bytes of a whole rollout are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.bench import machine
from tests.bench.leaves import leaf
from tests.bench.ours import make_agent

Overrides = tuple[str, ...]
DDIM: Overrides = (
    "denoising_steps=100",
    "model.use_ddim=True",
    "model.ddim_steps=5",
    "ft_denoising_steps=5",
    "model.eta._target_=model.diffusion.eta.EtaFixed",
)
SETTINGS: dict[str, Overrides] = {
    "the leaf (40 envs, 20 steps, 10 fine-tuned)": (),
    "10 envs": ("env.n_envs=10",),
    "160 envs": ("env.n_envs=160",),
    "10 denoising steps": ("denoising_steps=10",),
    "100 denoising steps": ("denoising_steps=100",),
    "100 denoising steps, 5 by DDIM, all fine-tuned": DDIM,
    "1 fine-tuned step": ("ft_denoising_steps=1",),
    "20 fine-tuned steps": ("ft_denoising_steps=20",),
}

OTHER_LEAVES = {
    "the leaf of Walker2d": "finetune walker2d",
    "the leaf of HalfCheetah": "finetune halfcheetah",
}


class Watch:
    """Adds up the seconds that calls of an object's methods take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def over(self, owner: Any, method: str, name: str) -> None:
        """Counts the calls of `owner.method` under `name`."""
        call = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                taken = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + taken

        setattr(owner, method, timed)


class Setting:
    """An agent of the leaf with some keys changed, measured again and again.

    Args:
        folder: For what it reads and writes.
        overrides: Its keys.
        steps: Chunk steps of the shortened iteration.
        kind: Which leaf, a key of `leaves.LEAVES`.
    """

    def __init__(
        self, folder: Path, overrides: Overrides, steps: int, kind: str = "finetune"
    ) -> None:
        whole = leaf(kind, folder, *overrides)
        self.whole_steps, self.steps = whole.train.n_steps, steps
        self.shape = (whole.env.n_envs, whole.ft_denoising_steps)
        rows = steps * self.shape[0] * self.shape[1]
        batch = rows // -(-rows // whole.train.batch_size)  # none are left over
        short = (f"train.n_steps={steps}", f"train.batch_size={batch}")
        self.agent = make_agent(leaf(kind, folder, *overrides, *short), envs=True)
        self.watch = Watch()
        self.watch.over(self.agent, "act", "act")
        self.watch.over(self.agent.venv, "step", "simulate")
        self.watch.over(self.agent.collector, "collect", "collect")
        self.watch.over(self.agent, "update", "learn")
        self.rounds: list[dict[str, float]] = []

    def run(self, kept: bool) -> None:
        """One iteration; the first one compiles and is not kept."""
        self.watch.seconds.clear()
        started = time.perf_counter()
        self.agent.iterate()
        seconds = {**self.watch.seconds, "all": time.perf_counter() - started}
        if kept:
            self.rounds.append(seconds)

    def result(self) -> dict[str, float]:
        """Medians: ms of a chunk step; s of the leaf's iteration, part by part."""
        found = {key: median(r[key] for r in self.rounds) for key in self.rounds[0]}
        scale = self.whole_steps / self.steps
        keep = found["collect"] - found["act"] - found["simulate"]
        save = found["all"] - found["collect"] - found["learn"]  # once per iteration
        return {
            "act ms": 1000 * found["act"] / self.steps,
            "simulate ms": 1000 * found["simulate"] / self.steps,
            "act s": scale * found["act"],
            "simulate s": scale * found["simulate"],
            "keep s": scale * keep,
            "learn s": scale * found["learn"],
            "save s": save,
            "iteration s": scale * (found["collect"] + found["learn"]) + save,
        }


def rollout_bytes(folder: Path) -> dict[str, int]:
    """Bytes of the arrays of one whole rollout of the leaf, from a short one."""
    cfg = leaf("finetune", folder, "train.n_steps=2")
    agent = make_agent(cfg, envs=True)
    rollout = agent.collector.collect(agent.plan(), agent._actor(agent.plan()))
    agent.venv.close()
    scale = leaf("finetune", folder).train.n_steps / 2
    arrays: dict[str, Any] = {
        **{f"observations ({key})": value for key, value in rollout.obs.items()},
        **rollout.extras,
        "executed actions": rollout.actions,
        "all single observations": rollout.frames,
        "rewards and flags": np.concatenate(
            [
                np.frombuffer(array.tobytes(), np.uint8)
                for array in (rollout.rewards, rollout.terminated, rollout.truncated)
            ]
        ),
    }
    return {
        key: int(value.nbytes * scale)
        for key, value in arrays.items()
        if value is not None
    }


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown of the measured settings."""
    columns = list(next(iter(results.values())))
    lines = [f"| setting | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in results.items():
        cells = " | ".join(f"{row[column]:.3g}" for column in columns)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main(given: list[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", help="settings whose name has this text")
    parser.add_argument("--out", type=Path, help="also write the numbers, as JSON")
    options = parser.parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = [
            key
            for key in (*SETTINGS, *OTHER_LEAVES)
            if options.only is None or options.only in key
        ]
        settings = {
            key: Setting(
                folder / str(number),
                SETTINGS.get(key, ()),
                options.steps,
                OTHER_LEAVES.get(key, "finetune"),
            )
            for number, key in enumerate(wanted)
        }
        idle = []
        for number in range(options.rounds + 1):
            idle.append(machine.idle_share(0.5))
            for setting in settings.values():
                setting.run(kept=number > 0)
        results = {key: setting.result() for key, setting in settings.items()}
        for setting in settings.values():
            setting.agent.venv.close()
        size = rollout_bytes(folder / "bytes")
    print(table(results))
    print(f"\nbytes of a rollout: {json.dumps(size)}; all {sum(size.values())}")
    print(f"share of processor time unused before each round: {np.round(idle, 2)}")
    if options.out:
        facts = {"machine": machine.describe(), "versions": machine.versions()}
        content = {**facts, "idle": idle, "settings": results, "rollout bytes": size}
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
