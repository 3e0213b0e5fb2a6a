"""The measured experiments: leaves of Hopper mostly, composed by our own code."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np
from omegaconf import DictConfig, OmegaConf

from util.config import ROOT, check_keys, compose

LEAVES = {
    "finetune": ("gym/finetune/hopper-v2", "ft_ppo_diffusion_mlp"),
    "finetune walker2d": ("gym/finetune/walker2d-v2", "ft_ppo_diffusion_mlp"),
    "finetune halfcheetah": ("gym/finetune/halfcheetah-v2", "ft_ppo_diffusion_mlp"),
    "pretrain": ("gym/pretrain/hopper-medium-v2", "pre_diffusion_mlp"),
}
ALWAYS = ("wandb=null", "device=cpu")
FINETUNE = (
    "base_policy_path=null",
    "train.force_train=true",
    "train.n_train_itr=1000000",
)
PRETRAIN = (
    "train.n_epochs=1000000",
    "train.save_model_freq=1000000",
    "train.save_last_minutes=1000000",
    "train.epoch_start_ema=0",
)


def leaf(kind: str, folder: Path, *overrides: str) -> DictConfig:
    """A leaf with its own sizes, resolved; what it reads and writes is in `folder`.

    Args:
        kind: A key of `LEAVES`.
        folder: Gets the normalisation file or data set, and the run.
        *overrides: `key=value`.
    """
    own = PRETRAIN if kind == "pretrain" else FINETUNE
    where, name = LEAVES[kind]
    given = (*ALWAYS, *own, *overrides, f"logdir={folder / kind}")
    folders = {"DPPO_LOG_DIR": str(folder), "DPPO_DATA_DIR": str(folder)}
    with mock.patch.dict(os.environ, folders):
        cfg = compose(ROOT / "cfg" / where, name, given)
        check_keys(cfg, name, given)
        OmegaConf.resolve(cfg)
    if kind != "pretrain" and cfg.get("normalization_path"):
        write_ranges(Path(cfg.normalization_path), cfg.obs_dim, cfg.action_dim)
    return cfg


def write_ranges(path: Path, obs_dim: int, action_dim: int) -> None:
    """A normalisation file that halves observations and leaves actions alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        obs_min=np.full(obs_dim, -2.0),
        obs_max=np.full(obs_dim, 2.0),
        action_min=np.full(action_dim, -1.0),
        action_max=np.full(action_dim, 1.0),
    )


def write_episodes(path: Path, obs_dim: int, action_dim: int, items: int) -> None:
    """A data set of `items` chunks of four actions, all from one episode."""
    rng = np.random.default_rng(0)
    steps = items + 3
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        states=rng.uniform(-1, 1, (steps, obs_dim)).astype(np.float32),
        actions=rng.uniform(-1, 1, (steps, action_dim)).astype(np.float32),
        traj_lengths=np.array([steps]),
    )


def layer_widths(cfg: DictConfig) -> dict[str, list[int]]:
    """Widths of the policy's and the critic's linear layers, first to last."""
    chunk = cfg.horizon_steps * cfg.action_dim
    state = cfg.obs_dim * cfg.cond_steps
    network = cfg.model.get("actor") or cfg.model.network
    widths = {
        "actor": [chunk + network.time_dim + state, *network.mlp_dims, chunk],
    }
    if "critic" in cfg.model:
        widths["critic"] = [state, *cfg.model.critic.mlp_dims, 1]
    return widths


def rollout_arrays(cfg: DictConfig, steps: int) -> dict[str, np.ndarray]:
    """What an iteration of `steps` chunk steps collects, made up but plausible.

    Each denoising step moves the chunk by about the noise that the likelihood expects.
    """
    rng = np.random.default_rng(1)
    envs, inner = cfg.env.n_envs, cfg.ft_denoising_steps
    shape = (steps, envs, 1, cfg.horizon_steps, cfg.action_dim)
    moves = 0.1 * rng.standard_normal((steps, envs, inner, *shape[3:]))
    start = 0.5 * rng.standard_normal(shape)
    chains = np.concatenate([start, start + np.cumsum(moves, axis=2)], axis=2)
    obs = rng.standard_normal((steps + 1, envs, cfg.cond_steps, cfg.obs_dim))
    return {
        "obs": obs[:-1].astype(np.float32),
        "last_obs": obs[-1].astype(np.float32),
        "chains": chains.astype(np.float32),
        "rewards": rng.uniform(0, 4, (steps, envs)),
        "terminated": rng.uniform(size=(steps, envs)) < 0.05,
    }
