"""The real leaves, shrunk until one iteration takes no time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

import tests.fakes  # noqa: F401 - registers the toy environment
from util.config import ROOT, check_keys, compose
from util.metrics import read_metrics

LEAVES = {
    "pretrain": ("gym/pretrain/hopper-medium-v2", "pre_diffusion_mlp"),
    "ppo": ("gym/finetune/hopper-v2", "ft_ppo_diffusion_mlp"),
    "scratch": ("gym/scratch/hopper-v2", "ppo_diffusion_mlp"),
    "sac": ("gym/scratch/hopper-v2", "sac_mlp"),
    "eval": ("gym/eval/hopper-v2", "eval_diffusion_mlp"),
    "pretrain gaussian": ("gym/pretrain/hopper-medium-v2", "pre_gaussian_mlp"),
    "ppo gaussian": ("gym/scratch/hopper-v2", "ppo_gaussian_mlp"),
    "eval gaussian": ("gym/eval/hopper-v2", "eval_gaussian_mlp"),
    "pretrain gmm": ("d3il/pretrain/avoid_m1", "pre_gmm_mlp"),
    # The reference fine-tunes mixtures in environments that come with later issues.
    "ppo gmm": ("gym/scratch/hopper-v2", "ppo_gaussian_mlp"),
    "eval gmm": ("gym/eval/hopper-v2", "eval_gaussian_mlp"),
}
LEAVES["hopper"] = LEAVES["ppo"]

_TASK = ("obs_dim=3", "action_dim=2", "seed=5")
_CHUNK = ("horizon_steps=4", "denoising_steps=4")
_GAUSSIAN_CHUNK = ("horizon_steps=4", "act_steps=2")
_ENV = (
    "env.n_envs=2",
    "env.max_episode_steps=6",
    "env.best_reward_threshold_for_success=0.5",
    "normalization_path=null",
)
_POINT = (
    *_TASK,
    *_ENV,
    "env.name=tests.fakes:dppo-tf/Point-v0",
    "env.specific.obs_size=3",
    "env.specific.action_size=2",
)
_ONLINE = ("wandb=null", "train.render.num=0")
_PPO_SIZES = (
    *_ONLINE,
    "train.n_train_itr=3",
    "train.n_steps=4",
    "train.val_freq=2",
    "train.batch_size=8",
    "train.update_epochs=2",
    "train.save_model_freq=1",
    "model.actor.mlp_dims=[16,16,16]",
    "model.critic.mlp_dims=[16,16,16]",
)
_PPO = (
    *_PPO_SIZES,
    *_CHUNK,
    "act_steps=2",
    "ft_denoising_steps=2",
    "base_policy_path=null",
)
_PRETRAIN = (
    *_TASK,
    "wandb=null",
    "train.n_epochs=3",
    "train.batch_size=8",
    "train.save_model_freq=2",
    "train.lr_scheduler.first_cycle_steps=10",
    "model.network.mlp_dims=[16,16,16]",
)
_GMM = ("_target_=model.common.mlp_gmm.GMM_MLP", "num_modes=5")
OVERRIDES = {
    "pretrain": (*_PRETRAIN, *_CHUNK),
    "pretrain gaussian": (*_PRETRAIN, "horizon_steps=4"),
    "ppo gaussian": (*_POINT, *_PPO_SIZES, *_GAUSSIAN_CHUNK),
    "eval gaussian": (
        *_POINT,
        *_GAUSSIAN_CHUNK,
        "n_steps=6",
        "model.network.mlp_dims=[16,16,16]",
    ),
    "pretrain gmm": (
        *_PRETRAIN,
        "horizon_steps=4",
        "train.lr_scheduler.warmup_steps=1",
    ),
    "ppo gmm": (
        *_POINT,
        *_PPO_SIZES,
        *_GAUSSIAN_CHUNK,
        "model._target_=model.rl.gmm_ppo.PPO_GMM",
        *(f"model.actor.{option}" for option in _GMM),
    ),
    "eval gmm": (
        *_POINT,
        *_GAUSSIAN_CHUNK,
        "n_steps=6",
        "model._target_=model.common.gmm.GMMModel",
        "model.network.mlp_dims=[16,16,16]",
        *(f"model.network.{option}" for option in _GMM),
    ),
    "ppo": (*_POINT, *_PPO),
    "scratch": (*_POINT, *(o for o in _PPO if not o.startswith("base_policy"))),
    "hopper": ("seed=5", *_ENV, *_PPO),
    "sac": (
        *_POINT,
        *_ONLINE,
        "train.n_train_itr=12",
        "train.val_freq=8",
        "train.n_eval_episode=2",
        "train.n_explore_steps=5",
        "train.batch_size=4",
        "train.critic_replay_ratio=4",
        "train.actor_replay_ratio=2",
        "train.buffer_size=100",
        "train.log_freq=1",
        "train.save_model_freq=100",
        "train.save_last_minutes=0",
        "model.actor.mlp_dims=[16,16]",
        "model.critic.mlp_dims=[16,16]",
    ),
    "eval": (
        *_POINT,
        *_CHUNK,
        "act_steps=2",
        "n_steps=6",
        "model.network.mlp_dims=[16,16,16]",
    ),
}


def tiny_config(kind: str, logdir: Path, *overrides: str) -> DictConfig:
    """The leaf of a kind of agent with tiny sizes, resolved.

    Args:
        kind: A key of `LEAVES`.
        logdir: Folder of the run.
        *overrides: `key=value`, after the tiny sizes.
    """
    cfg = OmegaConf.merge(_composed(kind), OmegaConf.from_dotlist(list(overrides)))
    cfg.logdir = str(logdir)
    check_keys(cfg, f"the tiny {kind} leaf", overrides)
    with _folders():
        OmegaConf.resolve(cfg)
    return cfg


@cache
def _composed(kind: str) -> DictConfig:
    folder, name = LEAVES[kind]
    with _folders():
        return compose(ROOT / "cfg" / folder, name, OVERRIDES[kind])


def _folders() -> AbstractContextManager:
    """Folders of data and logs, which these tests do not touch."""
    return mock.patch.dict(os.environ, {"DPPO_LOG_DIR": "log", "DPPO_DATA_DIR": "data"})


def write_dataset(path: Path, episodes: int = 4, steps: int = 10) -> Path:
    """A data set of a point that is pushed to the origin, Do = 3, Da = 2."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (episodes * steps, 3)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        states=states,
        actions=np.clip(-states[:, :2], -1, 1),
        traj_lengths=np.full(episodes, steps),
    )
    return path


@contextmanager
def eagerly() -> Iterator[None]:
    """Compiled functions run line by line: tiny ones are faster without compiling."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def weights(module) -> dict[str, np.ndarray]:
    """A copy of the state dict."""
    return {key: np.array(value) for key, value in module.state_dict().items()}


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """Keys whose arrays differ in any bit."""
    assert before.keys() == after.keys()
    return {key for key in before if before[key].tobytes() != after[key].tobytes()}


def moved(agent: Any, *, iterations: int) -> set[str]:
    """Which networks change in so many iterations, by the first part of their keys."""
    before = weights(agent.model)
    for _ in range(iterations):
        agent.iterate()
    keys = changed(before, weights(agent.model))
    return {key.split(".")[0] for key in keys}


def record_losses(agent: Any, losses: list) -> None:
    """Appends the losses of each minibatch from now on."""

    def trace(label: str, **values: Any) -> None:
        if label == "minibatch":
            losses.append(values["losses"])

    agent.trace = trace


def trained_row(folder: Path) -> dict[str, Any]:
    """Metrics of the last training iteration of a run."""
    rows = read_metrics(folder / "metrics.jsonl")
    return [row for row in rows if "loss" in row][-1]
