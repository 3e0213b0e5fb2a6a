"""Pictures of where the environments went, and the arrays of it for `result.pkl`.

An extra file next to `rollout.py`: the reference repeats these lines in its agents,
here all agents draw and save alike, in training and in evaluation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agent.common.rollout import Rollout
from util.config import instantiate
from util.seeding import Seeds

logger = logging.getLogger(__name__)

_KEEPS = "env.save_full_observations"
_PASSES = "env.wrappers.multi_step.pass_full_observations"


class TrajectoryPlots:
    """Calls the plotter of a config, if it has one.

    Args:
        cfg: Experiment.
        key: Where the plotter stands in it.
        seeds: Of the run; one stream chooses whose paths are shown.
        folder: Where the pictures go.

    Attributes:
        needs_frames: Whether rollouts are to have `frames`.

    Raises:
        ValueError: The config has a plotter, but not the observations that it draws.
    """

    def __init__(self, cfg: DictConfig, key: str, seeds: Seeds, folder: Path) -> None:
        self.key, self.folder = key, folder
        self.max_episode_steps = cfg.env.max_episode_steps
        self.needs_frames = _keeps_frames(cfg)
        self.plotter: Callable[..., None] | None = None
        if (node := OmegaConf.select(cfg, key)) is not None:
            if not self.needs_frames:
                raise ValueError(
                    f"{key} draws all observations, so {_KEEPS} must be true."
                )
            self.plotter, self.rng = instantiate(node), seeds.numpy("plotter")

    def __call__(self, rollout: Rollout, count: int, itr: int) -> None:
        """Draws the paths of `count` environments in an iteration."""
        if self.plotter is None or count < 1:
            return
        if rollout.frames is None:
            logger.warning(
                "itr %d: %s draws nothing: the environments did not pass all "
                "observations, or a chunk ended early.",
                itr,
                self.key,
            )
            return
        self.plotter(
            obs_full_trajs=rollout.frames,
            n_render=count,
            max_episode_steps=self.max_episode_steps,
            render_dir=self.folder,
            itr=itr,
            rng=self.rng,
        )


def _keeps_frames(cfg: DictConfig) -> bool:
    keeps = cfg.env.get("save_full_observations", False)
    if keeps and not OmegaConf.select(cfg, _PASSES, default=False):
        raise ValueError(f"{_KEEPS}=true needs {_PASSES}=true.")
    return keeps


def trajectory_arrays(rollout: Rollout) -> dict[str, Any]:
    """A rollout under the reference's names; those it does not have are left out.

    Returns:
        obs_full_trajs: All single observations, (1 + S * Te, E, Do).
        obs_trajs: Observations acted on, each (S, E, To, ...).
        action_trajs: Predicted chunks (S, E, Ta, Da) if the agent remembers them, else
            the executed part.
        chains_trajs: Of diffusion policies, (S, E, K + 1, Ta, Da).
        reward_trajs: Unscaled, (S, E).
    """
    extras = rollout.extras
    arrays = {
        "obs_full_trajs": rollout.frames,
        "obs_trajs": rollout.obs,
        "action_trajs": extras.get("samples", rollout.actions),
        "chains_trajs": extras.get("chains"),
        "reward_trajs": rollout.rewards,
    }
    return {name: value for name, value in arrays.items() if value is not None}
