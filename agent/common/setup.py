"""What training and evaluation set up alike: environments, models, options.

An extra file next to `rollout.py`: both agent families build the same vector
environment and model from a config, and neither is the other's parent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from agent.common.episodes import Episodes, summarise
from agent.common.rollout import Rollout
from env.gym_utils import make_async
from util.config import instantiate
from util.metrics import MetricsLogger
from util.seeding import Seeds
from util.torch_to_tf import compute_in, torch_manual_seed, transposed_weights

logger = logging.getLogger(__name__)

ENV_KEYS = frozenset(
    {
        "env_name",
        "obs_dim",
        "action_dim",
        "cond_steps",
        "horizon_steps",
        "act_steps",
        "denoising_steps",
        "ft_denoising_steps",
        "normalization_path",
        "base_policy_path",
        "robomimic_env_cfg_path",
        "shape_meta",
        "env.name",
        "env.n_envs",
        "env.max_episode_steps",
        "env.env_type",
        "env.wrappers",
        "env.use_image_obs",
        "env.render",
        "env.save_video",
        "env.reset_at_iteration",
        "env.save_full_observations",
        "env.specific",
        "env.best_reward_threshold_for_success",
        "env.backend",
    }
)


def make_venv(cfg: DictConfig, seeds: Seeds) -> Any:
    """The vector environment of a config, seeded.

    Raises:
        ValueError: A size is impossible.
    """
    env = cfg.env
    if env.n_envs < 1:
        raise ValueError(f"env.n_envs must be >= 1, got {env.n_envs}.")
    venv = make_async(
        env.name,
        num_envs=env.n_envs,
        asynchronous=True,
        wrappers=env.get("wrappers"),
        render=env.get("render", False),
        render_offscreen=env.get("save_video", False),
        obs_dim=cfg.obs_dim,
        action_dim=cfg.action_dim,
        env_type=env.get("env_type"),
        max_episode_steps=env.max_episode_steps,
        robomimic_env_cfg_path=cfg.get("robomimic_env_cfg_path"),
        shape_meta=cfg.get("shape_meta"),
        use_image_obs=env.get("use_image_obs", False),
        backend=env.get("backend", "auto"),
        **env.get("specific", {}),
    )
    venv.seed([seeds.child(f"env {index}") for index in range(env.n_envs)])
    return venv


def check_sizes(cfg: DictConfig) -> None:
    """Refuses sizes that cannot work, before anything is built.

    Raises:
        ValueError: Names the key, its value and what is expected.
    """
    for key in ("obs_dim", "action_dim", "cond_steps", "horizon_steps", "act_steps"):
        if key in cfg and cfg[key] < 1:
            raise ValueError(f"{key} must be >= 1, got {cfg[key]}.")
    if cfg.act_steps > cfg.horizon_steps:
        raise ValueError(
            f"act_steps must be <= horizon_steps={cfg.horizon_steps}, "
            f"got {cfg.act_steps}."
        )
    _check_length(cfg)


def _check_length(cfg: DictConfig) -> None:
    """Refuses chunks after the end of an episode if none begins then."""
    multi_step = OmegaConf.select(cfg, "env.wrappers.multi_step") or {}
    longest = multi_step.get("max_episode_steps")
    if longest is None or multi_step.get("reset_within_step", False):
        return
    key = "train.n_steps" if "train" in cfg else "n_steps"
    n_steps, most = OmegaConf.select(cfg, key), -(-longest // cfg.act_steps)
    if n_steps > most:
        raise ValueError(
            f"{key} must be <= {most}, got {n_steps}: episodes end after "
            f"env.max_episode_steps={longest} steps, in chunks of {cfg.act_steps}, and "
            "no other begins (env.wrappers.multi_step.reset_within_step=false)."
        )


# A policy, its fine-tuned half, slow copies and teachers, as the models call them.
POLICY_NETWORKS = (
    *("network", "actor", "actor_ft"),
    *("actor_target", "target_actor", "bc_policy"),
)


def make_model(cfg: DictConfig, seeds: Seeds) -> Any:
    """The model of a config, with seeded initial values and draws."""
    torch_manual_seed(seeds.child("initial parameters"))
    options = {"use_ema": cfg.use_ema} if "use_ema" in cfg else {}
    model = instantiate(cfg.model, **options)
    model.set_rng(seeds.tensorflow("policy"))
    dtype = OmegaConf.select(cfg, "train.compute_dtype")
    if dtype is not None:
        networks = (getattr(model, name, None) for name in POLICY_NETWORKS)
        compute_in(str(dtype), *(network for network in networks if network))
    return model


def make_samplers(model: Any, **options: Any) -> dict[bool, Any]:
    """Sampling compiled by XLA, by whether to explore; its arguments: obs, noise.

    Without exploration the model is in evaluation mode, so nothing is dropped out.

    Args:
        model: The policy.
        **options: Further arguments of its `forward`.
    """

    def sampler(explore: bool) -> Any:
        def sample(obs: Mapping[str, tf.Tensor], noise: list | None) -> Any:
            model.train(explore)
            with transposed_weights(model):
                result = model.forward(
                    obs, deterministic=not explore, noise=noise, **options
                )
            model.train()
            return result

        return tf.function(sample, jit_compile=True)

    return {explore: sampler(explore) for explore in (True, False)}


def make_logger(cfg: DictConfig, total: int, unit: str, wandb: bool) -> MetricsLogger:
    """The logger of a run's folder.

    Args:
        cfg: Experiment.
        total: Number of `unit`s of the run.
        unit: What is counted.
        wandb: Whether the config's `wandb` applies.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return MetricsLogger(
        Path(cfg.logdir),
        name=config.get("name", cfg.get("_target_", "run")),
        config=config,
        wandb=config.get("wandb") if wandb else None,
        total=total,
        unit=unit,
    )


class EpisodeCounter:
    """Turns rollouts into episode statistics by the environment's conventions.

    Args:
        cfg: Experiment.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.act_steps = cfg.act_steps
        self.threshold = cfg.env.get("best_reward_threshold_for_success", float("inf"))
        furniture = cfg.env.get("env_type") == "furniture"
        specific = cfg.env.get("specific", {})
        self.sparse_furniture = furniture and specific.get("sparse_reward", False)

    def __call__(self, rollout: Rollout) -> Episodes:
        """Statistics of one iteration."""
        return summarise(rollout, self.act_steps, self.threshold, self.sparse_furniture)


def video_options(cfg: DictConfig, folder: Path, count: int, name: str) -> list[dict]:
    """Reset options of each env; the first `count` record a video.

    Args:
        cfg: Experiment.
        folder: Where videos go.
        count: Number of videos.
        name: File name with a place for the env index, e.g. `itr-3_trial-{}.mp4`.
    """
    options: list[dict] = [{} for _ in range(cfg.env.n_envs)]
    if cfg.env.get("save_video", False):
        for index in range(count):
            options[index]["video_path"] = str(folder / name.format(index))
    return options
