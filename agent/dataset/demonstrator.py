"""Makes training data by rolling out policies that are shipped with the project.

The policies are actors of soft actor-critic, stored as plain arrays and evaluated in
NumPy: a seed always gives the same data and no TensorFlow is needed. Which policies
make the data of an experiment stands in `demonstrator_policy.RECIPES`.

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
    RECIPES,
    Demonstrator,
    Part,
    Recipe,
    available_demonstrators,
    find_recipe,
)
from agent.dataset.demonstrator_rollout import N_SHARDS, count_streams, simulate
from agent.dataset.normalise import bounds_of, normalise, write_together

__all__ = [
    "DEFAULT_N_STEPS",
    "SOURCE_FILE",
    "available_demonstrators",
    "find_recipe",
    "generate_dataset",
]

DEFAULT_N_STEPS = 1_000_000
"""For Hopper: 64 MB on disk, about 300 MB while generating, minutes on two cores.

Walker2d and HalfCheetah take half as much again.
"""

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
        n_steps: Env steps to simulate, all policies together.
        seed: Of the simulators and the policies.
        stochastic: Sample from every policy; otherwise take its mean, which is what the
            level of a demonstrator refers to, except where the experiment says so.
        workers: Processes; by default the number of cores, at most one per shard.
        weights_path: A policy instead of the shipped ones.

    Returns:
        What source.json says: how the data came about and what they are like.

    Raises:
        FileNotFoundError: If there is no demonstrator for the experiment.
        ValueError: If `n_steps` is too small for one episode of each policy, or a
            policy does not fit the environment.
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be >= 1, got {n_steps}.")
    jobs = _plan(env_name, n_steps, seed, stochastic, weights_path)
    workers = workers or min(N_SHARDS, os.cpu_count() or 1)
    data, demonstrators = _simulate_parts(jobs, workers)
    source = {
        "source": "generated",
        "command": _command(env_name, n_steps, seed, stochastic),
        "env_id": jobs[0]["env_id"],
        "seed": int(seed),
        "n_steps": int(n_steps),
        "stochastic": bool(stochastic),
        **_summarise(data),
        "demonstrators": demonstrators,
        "versions": _versions("gymnasium", "mujoco", "numpy"),
    }
    bounds = bounds_of(data["states"], data["actions"])
    for name, prefix in (("states", "obs"), ("actions", "action")):
        low, high = bounds[f"{prefix}_min"], bounds[f"{prefix}_max"]
        data[name] = normalise(data[name], low, high)
    files = {"normalization.npz": bounds, SOURCE_FILE: source, "train.npz": data}
    write_together(save_dir, files)
    return source


def _plan(
    env_name: str,
    n_steps: int,
    seed: int,
    stochastic: bool,
    weights_path: str | Path | None,
) -> list[dict[str, Any]]:
    """What `simulate` has to do for each policy, and the policy's share."""
    recipe = _recipe_of(env_name, weights_path)
    shares = [part.share for part in recipe.parts]
    edges = [round(n_steps * sum(shares[:i])) for i in range(len(shares) + 1)]
    jobs = []
    for i, part in enumerate(recipe.parts):
        steps = edges[i + 1] - edges[i]
        jobs.append(
            {
                "env_id": Demonstrator(part.path).meta.get("env_id", recipe.env_id),
                "weights": str(part.path),
                "share": part.share,
                "n_steps": steps,
                "streams": count_streams(steps),
                # Zeros at its end do not change a seed: the first policy draws as if
                # it were the only one.
                "seed": [int(seed), i],
                "stochastic": bool(stochastic or part.stochastic),
            }
        )
    return jobs


def _recipe_of(env_name: str, weights_path: str | Path | None) -> Recipe:
    """The experiment's recipe, or that of one given policy."""
    if weights_path is None:
        return find_recipe(env_name)
    env_id = RECIPES[env_name].env_id if env_name in RECIPES else env_name
    return Recipe(env_id, (Part(str(Path(weights_path).resolve())),))


def _simulate_parts(
    jobs: Sequence[Mapping[str, Any]], workers: int
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Whole episodes of all policies, one policy after the other, and what they are.

    Raises:
        ValueError: If a policy has none.
    """
    parts = []
    for job in jobs:
        part = simulate(job, workers)
        if not len(part["traj_lengths"]):
            raise ValueError(
                f"n_steps={job['n_steps']} is too small: no episode of {job['env_id']} "
                f"by {Path(job['weights']).name} came to an end."
            )
        parts.append(part)
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return data, [_describe_part(*each) for each in zip(jobs, parts, strict=True)]


def _command(env_name: str, n_steps: int, seed: int, stochastic: bool) -> str:
    """What generates the same data."""
    words = [
        "python -m agent.dataset.demonstrator",
        f"--env_name={env_name}",
        f"--n_steps={n_steps}",
        f"--seed={seed}",
        *(["--stochastic"] if stochastic else []),
    ]
    return " ".join(words)


def _summarise(data: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What episodes are like."""
    starts = np.cumsum(data["traj_lengths"]) - data["traj_lengths"]
    returns = np.add.reduceat(data["rewards"].astype(np.float64), starts)
    return {
        "steps": int(data["traj_lengths"].sum()),
        "episodes": len(returns),
        "mean_return": float(returns.mean()),
        "std_return": float(returns.std()),
        "mean_length": float(data["traj_lengths"].mean()),
    }


def _describe_part(
    job: Mapping[str, Any], data: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Which policy it was, what it was to do, and what its episodes are like."""
    path = Path(job["weights"])
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "share": job["share"],
        "stochastic": job["stochastic"],
        **_summarise(data),
        "policy": Demonstrator(path).meta,
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
