"""Simulates a demonstrator: whole episodes from seeded streams of env steps.

The number of streams depends on the number of steps alone, and each shard of streams
steps in lock step with a generator of its own; so the number of processes does not
change the data. Processes are new interpreters, not forks: TensorFlow may be running.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agent.dataset.demonstrator_policy import Demonstrator

N_SHARDS = 4
"""Most shards, and so most processes."""

_ROOT = Path(__file__).resolve().parents[2]
_STREAM_STEPS = 10_000
_MAX_STREAMS = 32
_STEPS_PER_DOT = 1000

Arrays = dict[str, np.ndarray]


def count_streams(n_steps: int) -> int:
    """How many streams share `n_steps` env steps."""
    return int(np.clip(n_steps // _STREAM_STEPS, 1, _MAX_STREAMS))


def _plan(streams: int) -> list[range]:
    """The numbers of the streams that each shard simulates in lock step."""
    shards = min(N_SHARDS, streams)
    edges = [streams * shard // shards for shard in range(shards + 1)]
    return [range(*pair) for pair in zip(edges, edges[1:], strict=False)]


def _simulate_shard(
    job: Mapping[str, Any], shard: int, report: Callable[[int], Any]
) -> Arrays:
    """Whole episodes of one shard, stream after stream.

    Args:
        job: As for `simulate`.
        shard: Which of `_plan`'s entries.
        report: Called with numbers of env steps done.
    """
    import gymnasium

    plan = _plan(job["streams"])
    length = job["n_steps"] // job["streams"]
    policy = Demonstrator(job["weights"])
    envs = [
        gymnasium.make(job["env_id"], disable_env_checker=True) for _ in plan[shard]
    ]
    _check_spaces(policy, envs[0])
    seeds = np.random.SeedSequence(job["seed"]).spawn(job["streams"] + N_SHARDS)
    noise = np.random.default_rng(seeds[job["streams"] + shard])
    first_seeds = [int(seeds[stream].generate_state(1)[0]) for stream in plan[shard]]
    obs = [env.reset(seed=s)[0] for env, s in zip(envs, first_seeds, strict=True)]
    record = _empty_record(length, len(envs), policy)
    for step in range(length):
        record["states"][step] = obs
        actions = policy.act(np.array(obs), noise if job["stochastic"] else None)
        record["actions"][step] = actions
        for i, env in enumerate(envs):
            obs[i], reward, terminated, truncated, _ = env.step(actions[i])
            record["rewards"][step, i] = reward
            record["terminals"][step, i] = terminated
            record["ends"][step, i] = terminated or truncated
            if terminated or truncated:
                obs[i], _ = env.reset()
        report(len(envs))
    for env in envs:
        env.close()
    return _whole_episodes(record)


def _check_spaces(policy: Demonstrator, env: Any) -> None:
    wanted = env.observation_space.shape, env.action_space.shape
    got = (policy.obs_dim,), (policy.action_dim,)
    if wanted != got:
        raise ValueError(
            f"{policy.path}: (Do,), (Da,) must be {wanted} for {env.spec.id}, "
            f"got {got}."
        )


def _empty_record(steps: int, envs: int, policy: Demonstrator) -> Arrays:
    """Arrays (steps, envs, ...) to be filled."""
    return {
        "states": np.zeros((steps, envs, policy.obs_dim), np.float32),
        "actions": np.zeros((steps, envs, policy.action_dim), np.float32),
        "rewards": np.zeros((steps, envs), np.float32),
        "terminals": np.zeros((steps, envs), bool),
        "ends": np.zeros((steps, envs), bool),
    }


def _whole_episodes(record: Arrays) -> Arrays:
    """Stitches the episodes that came to an end, and drops the others' steps."""
    ends = record.pop("ends")
    streams = range(ends.shape[1])
    last = [np.flatnonzero(ends[:, i]) for i in streams]
    used = [rows[-1] + 1 if len(rows) else 0 for rows in last]
    lengths = [np.diff(rows, prepend=-1) for rows in last]
    stitched = {
        name: np.concatenate([array[: used[i], i] for i in streams])
        for name, array in record.items()
    }
    return stitched | {"traj_lengths": np.concatenate(lengths).astype(np.int64)}


def simulate(job: Mapping[str, Any], workers: int) -> Arrays:
    """All shards, stitched in order, with a progress bar.

    Args:
        job: env_id, weights (path), n_steps, streams, seed (one number or several)
            and stochastic.
        workers: Processes; 1 simulates in this one.

    Returns:
        states (N, Do), actions (N, Da), rewards (N,), float32; terminals (N,), bool;
        traj_lengths (n_episodes,), int64.

    Raises:
        ValueError: If the policy does not fit the environment.
        RuntimeError: If a process fails; has the end of what it wrote.
    """
    shards = range(len(_plan(job["streams"])))
    workers = min(workers, len(shards))
    bar = tqdm(total=job["n_steps"], unit="step", desc=f"rolling out {job['env_id']}")
    with bar:
        if workers == 1:
            parts = [_simulate_shard(job, shard, bar.update) for shard in shards]
        else:
            parts = _simulate_in_processes(job, shards, workers, bar.update)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _simulate_in_processes(
    job: Mapping[str, Any],
    shards: Sequence[int],
    workers: int,
    report: Callable[[int], Any],
) -> list[Arrays]:
    """Shares the shards among processes; results in the order of the shards."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            _start({**job, "shards": list(shards[worker::workers])}, folder, worker)
            for worker in range(workers)
        ]
        try:
            _follow(processes, report)
            for worker, process in enumerate(processes):
                if process.wait() != 0:
                    text = Path(folder, f"{worker}.log").read_text()
                    raise RuntimeError(f"Simulating failed:\n{text[-2000:]}")
        finally:
            for process in processes:
                process.kill()
                process.wait()
        parts = []
        for shard in shards:
            with np.load(Path(folder, f"{shard}.npz")) as archive:
                parts.append(dict(archive))
    return parts


def _start(
    request: Mapping[str, Any], folder: str, worker: int
) -> subprocess.Popen[bytes]:
    """A process that writes `<shard>.npz` into `folder` and a dot per 1000 steps."""
    command = [
        sys.executable,
        "-m",
        "agent.dataset.demonstrator_rollout",
        json.dumps(request),
        folder,
    ]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with Path(folder, f"{worker}.log").open("w") as errors:
        return subprocess.Popen(
            command,
            cwd=_ROOT,
            env=os.environ | threads,
            stdout=subprocess.PIPE,
            stderr=errors,
        )


def _follow(
    processes: Sequence[subprocess.Popen[bytes]], report: Callable[[int], Any]
) -> None:
    """Reports the dots of all processes until each has closed its output."""
    with selectors.DefaultSelector() as selector:
        for process in processes:
            selector.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.get_map():
            for key, _ in selector.select():
                dots = os.read(key.fd, 4096)
                report(_STEPS_PER_DOT * len(dots))
                if not dots:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]


class _Dots:
    """Writes a dot to standard output for every 1000 steps reported."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, steps: int) -> None:
        before, self.steps = self.steps, self.steps + steps
        dots = self.steps // _STEPS_PER_DOT - before // _STEPS_PER_DOT
        if dots:
            sys.stdout.write("." * dots)
            sys.stdout.flush()


def _serve(request: dict[str, Any], folder: str) -> None:
    """Simulates the shards that a parent process asked for."""
    dots = _Dots()
    for shard in request["shards"]:
        arrays = _simulate_shard(request, shard, dots)
        np.savez(Path(folder, f"{shard}.npz"), **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]), sys.argv[2])
