"""Graph or XLA: each compiled function of the Hopper leaves both ways, in turns.

    python -m tests.bench.compilation [--rounds 10] [--only learn,sample,clone,rounds]

The choices in the code and in docs/performance.md rest on these medians.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.bench import cases, machine
from tests.bench.leaves import leaf
from tests.bench.ours import make_agent, rollout_of, scored

Run = Callable[[], Any]


def learning(folder: Path) -> dict[str, Run]:
    """A minibatch of 50,000 pairs of the leaf's whole rollout."""
    import tensorflow as tf

    cfg = leaf("finetune", folder, *cases.NO_LIMIT)
    agent = make_agent(cfg)
    data = scored(agent, rollout_of(cfg, cases.epoch(cfg)[1], agent.model))
    order = np.random.default_rng(0).permutation(agent.rows(data))
    rows = tf.constant(order[: agent.batch_size])

    def way(size: int | None, jit: bool = False) -> Run:
        def traced(*args: Any) -> Any:
            agent.block_size = size  # read while the function is traced
            return agent._learn_step(*args)

        step = tf.function(traced, jit_compile=jit)
        return lambda: step(data, rows, agent.step_inputs(0)).pg_loss.numpy()

    in_blocks = {f"graph, blocks of {size}": way(size) for size in (2500, 5000, 10000)}
    return {"graph, all rows": way(None), "XLA, all rows": way(None, True), **in_blocks}


def sampling(folder: Path) -> dict[str, Run]:
    """Actions of 40 environments, with chains and log-probabilities."""
    import tensorflow as tf

    cfg = leaf("finetune", folder)
    agent = make_agent(cfg)
    shape = (cfg.env.n_envs, cfg.cond_steps, cfg.obs_dim)
    state = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def way(jit: bool) -> Run:
        sample = tf.function(agent.model.forward, jit_compile=jit)
        return lambda: sample({"state": tf.constant(state)}).trajectories.numpy()

    return {
        "graph": way(False),
        "XLA": way(True),
        "XLA, weights transposed once": lambda: agent.act({"state": state}, True),
    }


def cloning(folder: Path) -> dict[str, Run]:
    """Twenty steps of behaviour cloning, batch 128, with EMA, in one call or 20."""
    import tensorflow as tf

    cfg = cases.config("b", folder, quick=True)
    agent = make_agent(cfg)
    agent.epoch = 1  # averaging has begun
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(agent.dataset), (20, cfg.train.batch_size))
    rows, taus = tf.constant(rows, tf.int32), tf.fill([20], 0.005)

    def block(jit: bool) -> Run:
        run = tf.function(agent._run_block, jit_compile=jit)
        return lambda: run(agent.tensors, rows, taus)["loss"].numpy()

    def single(jit: bool) -> Run:
        run = tf.function(agent._run_step, jit_compile=jit)

        def steps() -> None:
            for i in range(20):
                run(agent.tensors, rows[i], taus[i], None)["loss"].numpy()

        return steps

    return {
        "graph, 20 calls": single(False),
        "XLA, 20 calls": single(True),
        "graph, one call": block(False),
        "XLA, one call": block(True),
    }


def rounds(folder: Path) -> dict[str, Run]:
    """A call of four rounds of DQL, and of twenty of IDQL and of RLPD."""
    import tensorflow as tf

    from tests.bench.ours import Learning

    def ways(case: str, count: int) -> dict[str, Run]:
        learning = Learning(cases.config(case, folder / case), count)
        own = learning.agent.rounds
        own.per_block = count

        def way(jit: bool) -> Run:
            block = tf.function(own._block, jit_compile=jit)

            def run() -> None:
                own.block = block
                learning()

            return run

        name = case.removeprefix("h ").upper()
        return {f"{name}, graph": way(False), f"{name}, XLA": way(True)}

    return ways("h dql", 4) | ways("h idql", 20) | ways("h rlpd", 20)


GROUPS = {"learn": learning, "sample": sampling, "clone": cloning, "rounds": rounds}


def measure(ways: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median ms of each way; two first calls, which compile, are left out."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if number > 1:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: median(values) for name, values in times.items()}


def main(given: list[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compilation")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default=",".join(GROUPS))
    options = parser.parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        for group in options.only.split(","):
            ways = GROUPS[group](Path(folder) / group)
            idle = machine.idle_share(0.5)
            print(f"{GROUPS[group].__doc__} ({idle:.0%} of the processors idle)")
            for name, value in measure(ways, options.rounds).items():
                print(f"  {name}: {value:.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
