"""The measured experiments: leaves of Hopper mostly, composed by our own code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from omegaconf import DictConfig, OmegaConf

from tests.bench.robomimic import SIZES
from util.config import ROOT, check_keys, compose

LEAVES = {
    "finetune": ("gym/finetune/hopper-v2", "ft_ppo_diffusion_mlp"),
    "finetune walker2d": ("gym/finetune/walker2d-v2", "ft_ppo_diffusion_mlp"),
    "finetune halfcheetah": ("gym/finetune/halfcheetah-v2", "ft_ppo_diffusion_mlp"),
    "pretrain": ("gym/pretrain/hopper-medium-v2", "pre_diffusion_mlp"),
    "finetune unet": ("gym/finetune/hopper-v2", "ft_ppo_diffusion_unet"),
    "pretrain unet": ("gym/pretrain/hopper-medium-v2", "pre_diffusion_unet"),
    "finetune image": ("pixel/finetune/reacher", "ft_ppo_diffusion_mlp_img"),
    "pretrain image": ("pixel/pretrain/reacher", "pre_diffusion_mlp_img"),
    "finetune dql": ("gym/finetune/hopper-v2", "ft_dql_diffusion_mlp"),
    "finetune idql": ("gym/finetune/hopper-v2", "ft_idql_diffusion_mlp"),
    "scratch rlpd": ("gym/scratch/halfcheetah-v2", "rlpd_mlp"),
}
ALWAYS = ("wandb=null", "device=cpu")
FINETUNE = (
    "base_policy_path=null",
    "train.force_train=true",
    "train.n_train_itr=1000000",
)
SCRATCH = ("train.n_train_itr=1000000",)
PRETRAIN = (
    "train.n_epochs=1000000",
    "train.save_model_freq=1000000",
    "train.save_last_minutes=1000000",
    "train.epoch_start_ema=0",
)
STAGES = {"pretrain": PRETRAIN, "finetune": FINETUNE, "scratch": SCRATCH}
ROWS = 20000
"""Of a buffer, and of a data set of transitions."""


def leaf(kind: str, folder: Path, *overrides: str) -> DictConfig:
    """A leaf with its own sizes, resolved; what it reads and writes is in `folder`.

    Args:
        kind: A key of `LEAVES`.
        folder: Gets the normalisation file or data set, and the run.
        *overrides: `key=value`.
    """
    stage = kind.partition(" ")[0]
    own = (*STAGES[stage], *SIZES.get(kind, ()))
    where, name = LEAVES[kind]
    given = (*ALWAYS, *own, *overrides, f"logdir={folder / kind.replace(' ', '_')}")
    folders = {"DPPO_LOG_DIR": str(folder), "DPPO_DATA_DIR": str(folder)}
    with mock.patch.dict(os.environ, folders):
        cfg = compose(ROOT / "cfg" / where, name, given)
        check_keys(cfg, name, given)
        OmegaConf.resolve(cfg)
    if stage != "pretrain" and cfg.get("normalization_path"):
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


def write_episodes(cfg: DictConfig, items: int) -> None:
    """A data set of `items` chunks, all from one episode, where the leaf has it."""
    rng = np.random.default_rng(0)
    steps = items + cfg.horizon_steps - 1
    path = Path(cfg.train_dataset_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = {}
    if (shape := image_shape(cfg)) is not None:
        images["images"] = rng.integers(0, 256, (steps, *shape), np.uint8)
    np.savez(
        path,
        states=rng.uniform(-1, 1, (steps, cfg.obs_dim)).astype(np.float32),
        actions=rng.uniform(-1, 1, (steps, cfg.action_dim)).astype(np.float32),
        traj_lengths=np.array([steps]),
        **images,
    )


def image_shape(cfg: DictConfig) -> tuple[int, ...] | None:
    """C, H and W of what a leaf's networks see, if they see."""
    shape = OmegaConf.select(cfg, "shape_meta.obs.rgb.shape")
    return None if shape is None else tuple(shape)


def observations(
    cfg: DictConfig, rng: np.random.Generator, *shape: int
) -> dict[str, np.ndarray]:
    """Made-up observations of a leaf, (..., To, Do) and (..., To, C, H, W)."""
    size = (*shape, cfg.cond_steps)
    obs = {"state": rng.standard_normal((*size, cfg.obs_dim)).astype(np.float32)}
    if (image := image_shape(cfg)) is not None:
        obs["rgb"] = rng.integers(0, 256, (*size, *image), np.uint8)
    return obs


def layer_widths(cfg: DictConfig) -> dict[str, list[int]]:
    """Widths of the policy's and the critic's linear layers, first to last."""
    chunk = cfg.horizon_steps * cfg.action_dim
    network = cfg.model.get("actor") or cfg.model.network
    widths = {}
    if "mlp_dims" in network:
        seen = cfg.obs_dim * cfg.cond_steps + network.get("spatial_emb", 0)
        noisy = chunk + network.time_dim if "time_dim" in network else 0
        widths["actor"] = [noisy + seen, *network.mlp_dims, chunk]
    for name in ("critic", "critic_q", "critic_v"):
        if name in cfg.model:
            widths[name] = _critic_widths(cfg, cfg.model[name])
    return widths


def _critic_widths(cfg: DictConfig, node: DictConfig) -> list[int]:
    """Widths of a critic, which may see actions."""
    seen = cfg.obs_dim * cfg.cond_steps + node.get("spatial_emb", 0)
    acted = node.get("action_steps", 0) * node.get("action_dim", 0)
    return [seen + acted, *node.mlp_dims, 1]


def rollout_arrays(cfg: DictConfig, steps: int) -> dict[str, Any]:
    """What an iteration of `steps` chunk steps collects, made up but plausible.

    Each denoising step moves the chunk by about the noise that the likelihood expects.
    """
    rng = np.random.default_rng(1)
    envs, inner = cfg.env.n_envs, cfg.ft_denoising_steps
    shape = (steps, envs, 1, cfg.horizon_steps, cfg.action_dim)
    moves = 0.1 * rng.standard_normal((steps, envs, inner, *shape[3:]))
    start = 0.5 * rng.standard_normal(shape)
    chains = np.concatenate([start, start + np.cumsum(moves, axis=2)], axis=2)
    obs = observations(cfg, rng, steps + 1, envs)
    return {
        "obs": {key: value[:-1] for key, value in obs.items()},
        "last_obs": {key: value[-1] for key, value in obs.items()},
        "chains": chains.astype(np.float32),
        "rewards": rng.uniform(0, 4, (steps, envs)),
        "terminated": rng.uniform(size=(steps, envs)) < 0.05,
    }


def transition_rows(cfg: DictConfig, seed: int = 2) -> dict[str, np.ndarray]:
    """Made-up rows of a buffer, by column, float32."""
    rng = np.random.default_rng(seed)
    obs, chunk = (cfg.cond_steps, cfg.obs_dim), (cfg.act_steps, cfg.action_dim)
    rows = {
        "obs": rng.standard_normal((ROWS, *obs)),
        "next_obs": rng.standard_normal((ROWS, *obs)),
        "actions": rng.uniform(-1, 1, (ROWS, *chunk)),
        "rewards": rng.uniform(0, 0.04, ROWS),
        "terminated": rng.uniform(size=ROWS) < 0.05,
    }
    return {key: value.astype(np.float32) for key, value in rows.items()}


def write_transitions(cfg: DictConfig) -> None:
    """A data set of `ROWS` transitions where the leaf has it, in episodes of 100."""
    rng = np.random.default_rng(3)
    path = Path(cfg.offline_dataset.dataset_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        states=rng.standard_normal((ROWS, cfg.obs_dim)).astype(np.float32),
        actions=rng.uniform(-1, 1, (ROWS, cfg.action_dim)).astype(np.float32),
        rewards=rng.uniform(0, 1, ROWS).astype(np.float32),
        terminals=np.arange(ROWS) % 100 == 99,
        traj_lengths=np.full(ROWS // 100, 100),
    )
