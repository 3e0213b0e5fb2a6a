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
    "ppo gmm": ("d3il/finetune/avoid_m1", "ft_ppo_gmm_mlp"),
    "eval gmm": ("d3il/eval/avoid_m1", "eval_gmm_mlp"),
    "ppo avoid": ("d3il/finetune/avoid_m1", "ft_ppo_diffusion_mlp"),
    "eval avoid": ("d3il/eval/avoid_m1", "eval_diffusion_mlp"),
    "ppo avoid gaussian": ("d3il/finetune/avoid_m1", "ft_ppo_gaussian_mlp"),
    "eval avoid gaussian": ("d3il/eval/avoid_m1", "eval_gaussian_mlp"),
}
for _stage, _name in (("pretrain", "pre"), ("ppo", "ft_ppo"), ("eval", "eval")):
    _folder = f"pixel/{'finetune' if _stage == 'ppo' else _stage}/reacher"
    LEAVES[f"{_stage} img"] = (_folder, f"{_name}_diffusion_mlp_img")
    LEAVES[f"{_stage} gaussian img"] = (_folder, f"{_name}_gaussian_mlp_img")
LEAVES["pretrain unet"] = ("gym/pretrain/hopper-medium-v2", "pre_diffusion_unet")
LEAVES["ppo unet"] = ("gym/finetune/hopper-v2", "ft_ppo_diffusion_unet")
LEAVES["hopper"] = LEAVES["ppo"]
# Diffusion policies that learn in rounds.
ROUNDS = ("dql", "idql", "qsm", "dipo", "awr", "rwr")
for _name in ROUNDS:
    LEAVES[_name] = ("gym/finetune/hopper-v2", f"ft_{_name}_diffusion_mlp")
LEAVES["ppo exact"] = ("gym/finetune/hopper-v2", "ft_ppo_exact_diffusion_mlp")
LEAVES["rlpd"] = ("gym/scratch/hopper-v2", "rlpd_mlp")
LEAVES["ibrl"] = ("gym/finetune/hopper-v2", "ibrl_mlp")
LEAVES["calql"] = ("gym/finetune/hopper-v2", "calql_mlp_online")
LEAVES["calql offline"] = ("gym/pretrain/hopper-medium-v2", "calql_mlp_offline")
for _name in ("awr", "rwr", "vpg"):
    LEAVES[f"{_name} gaussian"] = ("gym/finetune/hopper-v2", f"ft_{_name}_gaussian_mlp")

_TASK = ("obs_dim=3", "action_dim=2", "seed=5")
_CHUNK = ("horizon_steps=4", "denoising_steps=4")
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
# 2 x 4 whole chunks an iteration.
_ROUNDS = (
    *_POINT,
    *_ONLINE,
    "horizon_steps=2",
    "act_steps=2",
    "denoising_steps=4",
    "base_policy_path=null",
    "train.n_train_itr=4",
    "train.n_steps=4",
    "train.val_freq=2",
    "train.batch_size=4",
    "train.save_model_freq=1",
    "train.save_last_minutes=0",
)
_BUFFER = (
    *_ROUNDS,
    "train.n_critic_warmup_itr=2",
    "train.replay_ratio=4",
    "train.buffer_size=100",
    "model.actor.mlp_dims=[16]",
)
_Q_OR_V = (*_BUFFER, "model.critic.mlp_dims=[16]")
# Single steps, and data that a test writes where it needs them.
_STEPS = (
    *_POINT,
    *_ONLINE,
    "train.n_train_itr=12",
    "train.val_freq=8",
    "train.n_eval_episode=2",
    "train.n_explore_steps=5",
    "train.batch_size=4",
    "train.buffer_size=100",
    "train.log_freq=1",
    "train.save_model_freq=100",
    "train.save_last_minutes=0",
    "model.actor.mlp_dims=[16,16]",
    "model.critic.mlp_dims=[16,16]",
)
_CALQL = (
    *_STEPS,
    "env.n_envs=1",
    "train.num_update=3",
    "train.n_explore_steps=0",
    "train.n_random_actions=2",
    "model.cql_n_actions=2",
)
_EVAL = (*_POINT, "act_steps=2", "n_steps=6", "model.network.mlp_dims=[16,16,16]")
# One episode without reset in each iteration, of which pictures are drawn.
_AVOID = (
    *_POINT,
    *_PPO_SIZES,
    "act_steps=2",
    "train.n_steps=3",
    "train.render.num=1",
    "train.render.freq=3",
    "base_policy_path=null",
)
_EVAL_AVOID = (*_EVAL, "n_steps=3", "render_num=2")
_UNET = ("dim=8", "n_groups=2", "kernel_size=3")


def _with_unet(overrides: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Overrides of a kind with an MLP, for a small UNet in its place."""
    kept = (o for o in overrides if f"model.{name}.mlp_dims" not in o)
    return (*kept, *(f"model.{name}.{option}" for option in _UNET))


_SEEN = (
    "env.name=tests.fakes:dppo-tf/SeenPoint-v0",
    "shape_meta.obs.rgb.shape=[3,16,16]",
    "shape_meta.obs.state.shape=[3]",
)


def _vision(name: str, width: int = 16) -> tuple[str, ...]:
    """A small network that sees."""
    return (
        f"model.{name}.backbone.cfg.embed_dim={width}",
        f"model.{name}.backbone.cfg.num_heads=2",
        f"model.{name}.spatial_emb=8",
    )


_PPO_IMG = (
    *_POINT,
    *_SEEN,
    *_PPO_SIZES,
    *_vision("actor"),
    *_vision("critic"),
    "act_steps=2",
    "base_policy_path=null",
    "train.grad_accumulate=2",
    "train.n_critic_warmup_itr=0",
    "train.batch_size=3",
    "train.actor_lr_scheduler.warmup_steps=1",
    "train.critic_lr_scheduler.warmup_steps=1",
)
_IMG = {
    "pretrain": (*_PRETRAIN, *_SEEN[1:], *_vision("network")),
    "ppo": _PPO_IMG,
    "eval": (*_EVAL, *_SEEN, *_vision("network")),
}
OVERRIDES = {
    "pretrain": (*_PRETRAIN, *_CHUNK),
    "pretrain gaussian": (*_PRETRAIN, "horizon_steps=4"),
    "ppo gaussian": (*_POINT, *_PPO_SIZES, "horizon_steps=4", "act_steps=2"),
    "eval gaussian": (*_EVAL, "horizon_steps=4"),
    "pretrain gmm": (
        *_PRETRAIN,
        "horizon_steps=4",
        "train.lr_scheduler.warmup_steps=1",
    ),
    "ppo gmm": _AVOID,
    "eval gmm": _EVAL_AVOID,
    "ppo avoid": (*_AVOID, *_CHUNK, "ft_denoising_steps=2"),
    "eval avoid": (*_EVAL_AVOID, *_CHUNK),
    "ppo avoid gaussian": _AVOID,
    "eval avoid gaussian": _EVAL_AVOID,
    "ppo": (*_POINT, *_PPO),
    "pretrain img": (*_IMG["pretrain"], *_CHUNK),
    "pretrain gaussian img": (*_IMG["pretrain"], "horizon_steps=4"),
    "pretrain unet": (*_with_unet(_PRETRAIN, "network"), *_CHUNK),
    "ppo unet": (*_POINT, *_with_unet(_PPO, "actor")),
    "ppo img": (*_IMG["ppo"], *_CHUNK, "ft_denoising_steps=2"),
    "ppo gaussian img": (*_IMG["ppo"], "horizon_steps=4"),
    "eval img": (*_IMG["eval"], *_CHUNK),
    "eval gaussian img": (*_IMG["eval"], "horizon_steps=4"),
    "scratch": (*_POINT, *(o for o in _PPO if not o.startswith("base_policy"))),
    "hopper": ("seed=5", *_ENV, *_PPO),
    "dql": _Q_OR_V,
    "qsm": _Q_OR_V,
    "dipo": (*_Q_OR_V, "train.action_gradient_steps=2"),
    "idql": (
        *_BUFFER,
        "train.eval_sample_num=3",
        "model.critic_q.mlp_dims=[16]",
        "model.critic_v.mlp_dims=[16]",
    ),
    "awr": (*_Q_OR_V, "train.critic_update_ratio=2"),
    "rwr": (*_ROUNDS, "train.update_epochs=2", "model.network.mlp_dims=[16]"),
    "sac": (*_STEPS, "train.critic_replay_ratio=4", "train.actor_replay_ratio=2"),
    "rlpd": (*_STEPS, "train.critic_num_update=3", "model.n_critics=3"),
    "ibrl": (
        *_STEPS,
        "base_policy_path=null",
        "train.n_explore_steps=0",
        "train.critic_num_update=2",
        "model.n_critics=3",
    ),
    "calql": (*_CALQL, "base_policy_path=null"),
    "calql offline": _CALQL,
    "ppo exact": (*_POINT, *_PPO),
    "eval": (*_EVAL, *_CHUNK),
}


def _in_one_step(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides of a diffusion policy for a Gaussian one."""
    return tuple(o for o in overrides if "denoising_steps" not in o)


OVERRIDES |= {
    "awr gaussian": _in_one_step(OVERRIDES["awr"]),
    "rwr gaussian": (
        *_in_one_step(_ROUNDS),
        "train.update_epochs=2",
        "model.actor.mlp_dims=[16]",
    ),
    "vpg gaussian": (*_in_one_step(OVERRIDES["ppo"]), "train.update_epochs=1"),
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
    """A data set of a point that is pushed to the origin, Do = 3, Da = 2.

    Every second episode terminates.
    """
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (episodes * steps, 3)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        states=states,
        actions=np.clip(-states[:, :2], -1, 1),
        rewards=-np.abs(states).sum(1),
        terminals=np.arange(1, len(states) + 1) % (2 * steps) == 0,
        traj_lengths=np.full(episodes, steps),
        images=rng.integers(0, 256, (episodes * steps, 3, 16, 16), np.uint8),
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
