"""The measured cases and the products that each needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from tests.bench import matmul
from tests.bench.leaves import (
    layer_widths,
    leaf,
    observations,
    write_episodes,
    write_transitions,
)
from tests.bench.matmul import Products

SIDES = ("torch", "ours")
ENVS = "envs"
MODULES = {
    "torch": "tests.bench.peer",
    "ours": "tests.bench.ours",
    ENVS: "tests.bench.stepping",
}
MATMUL = "matmul of "
BY_ROW = " by row"
ONCE = " encoding once"
STEPPING = "d "
PROCESSES = "one process each"
NO_LIMIT = ("train.target_kl=null", "train.update_epochs=1")


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        title: For the report.
        unit: What one number is the time of.
        aim: PyTorch's time over ours.
    """

    title: str
    unit: str
    aim: float


CASES = {
    "a": Case("action sampling, 40 envs x 20 steps, with chain", "call", 3.5),
    "b": Case("behaviour cloning step, batch 128, with EMA", "step", 3.0),
    "c5000": Case("PPO update, 5,000 pairs", "minibatch", 4.0),
    "c50000": Case("PPO update, 50,000 pairs", "minibatch", 4.0),
    "d": Case("environment steps, 40 Hoppers, chunks of 4", "env step", 3.0),
    "e": Case("one whole iteration of the Hopper leaf", "iteration", 4.0),
    "f act": Case("U-Net, action sampling, 50 envs x 20 steps", "call", 3.0),
    "f clone": Case("U-Net, cloning step, batch 256, with EMA", "step", 2.0),
    "f update": Case("U-Net, PPO update, 10,000 pairs", "minibatch", 2.0),
    "g act": Case("ViT, action sampling, 50 envs x 5 steps (DDIM)", "call", 3.0),
    "g clone": Case("ViT, cloning step, batch 256, with EMA", "step", 2.0),
    "g update": Case("ViT, PPO update, 500 pairs", "minibatch", 2.0),
    "h dql": Case("DQL, critic and actor through 20 steps, batch 1,000", "round", 3.0),
    "h idql": Case("IDQL, value, critics and actor, batch 1,000", "round", 3.0),
    "h rlpd": Case("RLPD, ten critics, batch 256, an actor step in 20", "round", 3.0),
}
LEAVES = {"f": "unet", "g": "image"}  # of cases with networks of their own
# Steps of an epoch of behaviour cloning, and with less work.
CLONING_STEPS = {"b": (400, 100), "f clone": (50, 50), "g clone": (3, 1)}
# Minibatches of a call and chunk steps of the rollout that they are drawn from: enough
# for the critic to be asked per pair, as in the experiments.
UPDATES = {"f update": (2, 200), "g update": (2, 10)}
# Rounds of a call; ours are as many to a block, the peer's of DQL take long.
ROUNDS = {"h dql": 32, "h idql": 32, "h rlpd": 20}
PEERS_ROUNDS = {**ROUNDS, "h dql": 4}


@dataclass
class Prepared:
    """A case that is ready to run: `run()` does `units` units of work."""

    run: Callable[[], None]
    units: int = 1
    close: Callable[[], None] = lambda: None


def config(case: str, folder: Path, quick: bool = False) -> DictConfig:
    """The leaf of a case with what the case changes, and the files it needs.

    Composing imports TensorFlow, so this is not called where PyTorch is measured.

    Args:
        case: A key of `CASES`.
        folder: For files.
        quick: Less work in a call.
    """
    if case in ROUNDS:
        cfg = leaf(
            f"{'scratch' if case == 'h rlpd' else 'finetune'} {case[2:]}", folder
        )
        if "offline_dataset" in cfg:
            write_transitions(cfg)
        return cfg
    if "clone" in case or case == "b":
        cfg = leaf(" ".join(["pretrain", *_network(case)]), folder)
        write_episodes(cfg, cfg.train.batch_size * cloning_steps(case, quick))
        return cfg
    if case.startswith("c"):
        return leaf("finetune", folder, *NO_LIMIT, f"train.batch_size={case[1:]}")
    if "update" in case:
        # The two minibatches of a call make one step.
        accumulate = ("train.grad_accumulate=2",) if case[0] == "g" else ()
        return leaf(f"finetune {LEAVES[case[0]]}", folder, *NO_LIMIT, *accumulate)
    short = ("train.n_steps=50", "train.batch_size=5000")
    less = short if case == "e" and quick else ()
    return leaf(" ".join(["finetune", *_network(case)]), folder, *less)


def _network(case: str) -> list[str]:
    """What the leaves of a case have in their name, if it has its own network."""
    return [LEAVES[case[0]]] if case[0] in LEAVES else []


def cloning_steps(case: str, quick: bool) -> int:
    """Steps of an epoch of behaviour cloning."""
    return CLONING_STEPS[case][quick]


def prepare(side: str, case: str, cfg: DictConfig, quick: bool = False) -> Prepared:
    """Builds a case of a side, or the products of a case, not yet warm.

    Args:
        side: One of `SIDES`, or `ENVS`.
        case: A key of `CASES`; `MATMUL` and a key; a key of a PPO update and `BY_ROW`;
            `STEPPING` and a back end.
        cfg: What `config` returned for the case.
        quick: Less work in a call.
    """
    if case.startswith(MATMUL):
        parts = products(side, case.removeprefix(MATMUL), cfg)
        chain = matmul.torch_chain if side == "torch" else matmul.tensorflow_chain
        return Prepared(chain(parts))
    module: Any = importlib.import_module(MODULES[side])
    if case.startswith(STEPPING):
        made = module.Stepping(cfg, case.removeprefix(STEPPING))
        return Prepared(made, made.units, made.close)
    if case == "a" or " act" in case:
        obs = observations(cfg, np.random.default_rng(0), cfg.env.n_envs)
        options = {"encode_once": True} if case.endswith(ONCE) else {}
        return Prepared(module.Sampling(cfg, obs, **options))
    if case in CLONING_STEPS:
        return Prepared(module.Cloning(cfg), cloning_steps(case, quick))
    if case == "e":
        made = module.Iterating(cfg)
        return Prepared(made, close=made.close)
    if case in ROUNDS:
        count = (PEERS_ROUNDS if side == "torch" else ROUNDS)[case]
        return Prepared(module.Learning(cfg, count), count)
    batches, steps = UPDATES.get(case) or epoch(cfg)
    options = {"by_row": True} if case.endswith(BY_ROW) else {}
    pairs = batches * cfg.train.batch_size
    return Prepared(module.Updating(cfg, steps, pairs, **options), batches)


def epoch(cfg: DictConfig) -> tuple[int, int]:
    """Minibatches and chunk steps of the epoch that a PPO update is measured in.

    Of 50,000 pairs it is the leaf's whole rollout.
    """
    pairs = cfg.train.batch_size
    batches = 10 if pairs < 20000 else 4
    return batches, batches * pairs // (cfg.env.n_envs * cfg.ft_denoising_steps)


# -- products --------------------------------------------------------------------------


def products(side: str, case: str, cfg: DictConfig) -> list[Products]:
    """The products that a unit of a case needs on a side.

    The peer evaluates the frozen network too, as the original does; ours only where
    its output is used, and the critic not more often than there are observations.
    Embeddings of the denoising step are left out.
    """
    widths = {name: tuple(w) for name, w in layer_widths(cfg).items()}
    if case == "a":
        steps = cfg.denoising_steps
        extra = cfg.ft_denoising_steps if side == "torch" else 0
        return [Products(cfg.env.n_envs, widths["actor"], steps + extra)]
    rows = int(case[1:])
    seen = rows if side == "torch" else min(rows, epoch(cfg)[1] * cfg.env.n_envs)
    learned = [
        Products(rows, widths["actor"], backward=True),
        Products(seen, widths["critic"], backward=True),
    ]
    frozen = [Products(rows, widths["actor"])] if side == "torch" else []
    return learned + frozen
