"""Agents on two processors of one CPU, in a process of their own.

TensorFlow divides the CPU only before it is first used, so tests start this file:

    python -m tests.agent.two_devices FOLDER

It writes FOLDER/<case>.pkl with the numbers on one device and on two.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.agent.tiny import tiny_config, weights, write_dataset
from tests.test_battery import DDIM, GAUSSIAN, PRETRAIN, SMALL
from util.config import resolve_target

# Batches of 5 rows do not divide evenly.
PPO = (
    *SMALL,
    "train.n_train_itr=2",
    "train.force_train=true",
    "train.batch_size=5",
    "train.update_epochs=2",
)
CLONING = (*PRETRAIN, "train.batch_size=5")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ppo": ("ppo", (*PPO, "train.max_grad_norm=0.1", "train.n_critic_warmup_itr=1")),
    "ppo with DDIM": ("ppo", (*PPO, *DDIM, "train.use_bc_loss=true")),
    "ppo gaussian": ("ppo gaussian", (*PPO, *GAUSSIAN)),
    "pretrain": ("pretrain", CLONING),
    "pretrain gaussian": ("pretrain gaussian", CLONING),
}
ONE, TWO = "device=cpu", "device=[cpu:0,cpu:1]"
COMPILED = ("learn_step", "run_step", "run_block")


def split_cpu() -> None:
    """Makes TensorFlow see two CPUs, or fails if it has begun to work."""
    physical = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
    tf.config.set_logical_device_configuration(physical, parts)


def make(folder: Path, case: str, *overrides: str) -> Any:
    """An agent of a case."""
    kind, options = CASES[case]
    if kind.startswith("pretrain"):
        options = (*options, f"train_dataset_path={folder.parent / 'train.npz'}")
    cfg = tiny_config(kind, folder, *options, *overrides)
    return resolve_target(cfg._target_)(cfg)


def run(agent: Any) -> dict[str, Any]:
    """Metrics of every step, final weights, and how often functions were traced."""
    metrics: list[dict[str, float]] = []

    def trace(label: str, **values: Any) -> None:
        if label == "minibatch":
            losses = values["losses"]._asdict()
            metrics.append({key: float(value) for key, value in losses.items()})
        if label == "epoch":
            metrics.append(dict(values["metrics"]))

    agent.trace = trace
    agent.run()
    compiled = {n: getattr(agent, n) for n in COMPILED if hasattr(agent, n)}
    ema = getattr(agent, "ema", None)
    return {
        "metrics": metrics,
        "weights": weights(agent.model),
        "ema": weights(ema.average) if ema else {},
        "traces": {n: f.experimental_get_tracing_count() for n, f in compiled.items()},
    }


def run_case(folder: Path, case: str) -> dict[str, Any]:
    """Results on one and on two devices, and of a run that moved from one to the other.

    The last: cloning only, begun on two devices and ended on one.
    """
    results = {}
    for name, device in (("one", ONE), ("two", TWO)):
        results[name] = run(make(folder / f"{case} {name}", case, device))
    if case == "pretrain":
        begun = folder / "moved"
        make(begun, case, TWO).run_epoch()
        results["moved"] = run(make(begun, case, ONE, f"resume={begun}"))
    return results


def main() -> None:
    """Runs all cases."""
    folder = Path(sys.argv[1])
    split_cpu()
    write_dataset(folder / "train.npz")
    np.seterr(all="ignore")
    for case in CASES:
        with tf.device("/CPU:0"):
            results = run_case(folder, case)
        (folder / f"{case}.pkl").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main()
