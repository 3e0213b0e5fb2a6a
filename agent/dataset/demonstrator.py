"""Makes training data by rolling out a policy that is shipped with the project.

The policy is the actor of soft actor-critic, stored as plain arrays and evaluated in
NumPy: a seed always gives the same data and no TensorFlow is needed.

    python -m agent.dataset.demonstrator --env_name=hopper-medium-v2 --save_dir=FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.dataset.demonstrator_policy import (
    TASKS,
    Demonstrator,
    available_demonstrators,
    find_demonstrator,
)
from agent.dataset.demonstrator_rollout import N_SHARDS, count_streams, simulate
from agent.dataset.normalise import bounds_of, normalise, write_together

__all__ = [
    "DEFAULT_N_STEPS",
    "SOURCE_FILE",
    "available_demonstrators",
    "find_demonstrator",
    "generate_dataset",
]

DEFAULT_N_STEPS = 1_000_000
"""For Hopper: 64 MB on disk, about 300 MB while generating, minutes on two cores."""

SOURCE_FILE = "source.json"
"""Stands beside generated data and says how they came about."""


def generate_dataset(
    env_name: str,
    save_dir: str | Path,
    n_steps: int = DEFAULT_N_STEPS,
    seed: int = 0,
    stochastic: bool = False,
    workers: int | None = None,
    weights_path: str | Path | None = None,
) -> dict[str, Any]:
    """Writes train.npz, normalization.npz and source.json into a folder.

    Simulates `n_steps` env steps and keeps the episodes that come to an end within
    them; terminals are true terminations only. Equal arguments give equal arrays.

    Args:
        env_name: Experiment, such as hopper-medium-v2.
        save_dir: The folder; created if missing.
        n_steps: Env steps to simulate.
        seed: Of the simulators and the policy.
        stochastic: Sample from the policy; otherwise take its mean, which is what the
            level of a demonstrator refers to.
        workers: Processes; by default the number of cores, at most one per shard.
        weights_path: The policy, instead of the shipped one.

    Returns:
        What source.json says: how the data came about and what they are like.

    Raises:
        FileNotFoundError: If there is no demonstrator for the experiment.
        ValueError: If `n_steps` is too small for one episode, or the policy does not
            fit the environment.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be >= 1, got {n_steps}.")
    weights = Path(weights_path or find_demonstrator(env_name)).resolve()
    policy = Demonstrator(weights)
    env_id = policy.meta.get("env_id") or TASKS.get(env_name, ("", env_name))[1]
    job = {
        "env_id": env_id,
        "weights": str(weights),
        "n_steps": int(n_steps),
        "streams": count_streams(n_steps),
        "seed": int(seed),
        "stochastic": bool(stochastic),
    }
    data = simulate(job, workers or min(N_SHARDS, os.cpu_count() or 1))
    if not len(data["traj_lengths"]):
        raise ValueError(
            f"n_steps={n_steps} is too small: no episode of {env_id} came to an end."
        )
    source = _describe(env_name, job, policy, data)
    bounds = bounds_of(data["states"], data["actions"])
    for name, prefix in (("states", "obs"), ("actions", "action")):
        low, high = bounds[f"{prefix}_min"], bounds[f"{prefix}_max"]
        data[name] = normalise(data[name], low, high)
    files = {"normalization.npz": bounds, SOURCE_FILE: source, "train.npz": data}
    write_together(save_dir, files)
    return source


def _describe(
    env_name: str,
    job: Mapping[str, Any],
    policy: Demonstrator,
    data: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """How the data came about and what they are like, for source.json."""
    starts = np.cumsum(data["traj_lengths"]) - data["traj_lengths"]
    returns = np.add.reduceat(data["rewards"].astype(np.float64), starts)
    sampling = ["--stochastic"] if job["stochastic"] else []
    command = [
        "python -m agent.dataset.demonstrator",
        f"--env_name={env_name}",
        f"--n_steps={job['n_steps']}",
        f"--seed={job['seed']}",
        *sampling,
    ]
    return {
        "source": "generated",
        "command": " ".join(command),
        "env_id": job["env_id"],
        "seed": job["seed"],
        "n_steps": job["n_steps"],
        "stochastic": job["stochastic"],
        "steps": int(data["traj_lengths"].sum()),
        "episodes": len(returns),
        "mean_return": float(returns.mean()),
        "std_return": float(returns.std()),
        "mean_length": float(data["traj_lengths"].mean()),
        "demonstrator": {
            "file": policy.path.name,
            "sha256": hashlib.sha256(policy.path.read_bytes()).hexdigest(),
            **policy.meta,
        },
        "versions": _versions("gymnasium", "mujoco", "numpy"),
    }


def _versions(*names: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env_name", default="hopper-medium-v2")
    parser.add_argument("--save_dir", default=".")
    parser.add_argument("--n_steps", type=int, default=DEFAULT_N_STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stochastic", action="store_true")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args(arguments)
    source = generate_dataset(
        options.env_name,
        options.save_dir,
        options.n_steps,
        options.seed,
        options.stochastic,
        options.workers,
    )
    sys.stdout.write(json.dumps(source, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
