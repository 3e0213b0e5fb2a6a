"""Builds the vector environment of an experiment."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
from omegaconf import OmegaConf

from env.gym_utils.async_vector_env import AsyncVectorEnv, count_processors
from env.gym_utils.registry import EnvName, find_env
from env.gym_utils.state import StateNotSupported
from env.gym_utils.sync_vector_env import SyncVectorEnv
from env.gym_utils.vector_env import VectorEnv
from env.gym_utils.wrapper import wrapper_dict

__all__ = [
    "AsyncVectorEnv",
    "StateNotSupported",
    "SyncVectorEnv",
    "VectorEnv",
    "make_async",
    "wrapper_dict",
]

logger = logging.getLogger(__name__)

_BACKENDS = ("auto", "sync", "async")
_LATER_WRAPPERS = {
    "robomimic_lowdim": "robomimic",
    "robomimic_image": "robomimic",
    "d3il_lowdim": "d3il",
}


def make_async(
    id: str,
    num_envs: int = 1,
    asynchronous: bool = True,
    wrappers: Mapping[str, Mapping[str, Any] | None] | None = None,
    render: bool = False,
    obs_dim: int | None = None,
    action_dim: int | None = None,
    env_type: str | None = None,
    max_episode_steps: int | None = None,
    robomimic_env_cfg_path: str | None = None,
    shape_meta: Mapping[str, Any] | None = None,
    use_image_obs: bool = False,
    render_offscreen: bool = False,
    backend: str = "auto",
    **kwargs: Any,
) -> VectorEnv:
    """Returns `num_envs` environments as one vector environment.

    With backend "auto" the environments run in worker processes if there are at least
    two for each processor. Measured with `python -m tests.env.benchmark <n>` for Hopper
    and chunks of 4 on 2 cores, sync against async, in env steps per second of
    processor time: 3,860 to 2,640 for n=1; 3,880 to 4,200 for 2; 3,270 to 4,750 for 4;
    3,110 to 5,880 for 40. By the clock workers were 10 to 15 % slower for 40 while
    training runs used both cores; a quiet machine could not be had.

    Args:
        id: A D4RL name such as `hopper-medium-v2`, or an id of gymnasium.
        num_envs: E.
        asynchronous: False is the same as backend "sync".
        wrappers: Arguments of each wrapper by its name in `wrapper_dict`, the
            innermost first.
        render: Show a window.
        obs_dim: Do that is expected; None does not check.
        action_dim: Da that is expected; None does not check.
        env_type: Family of the simulator; None for gymnasium's.
        max_episode_steps: Time limit in env steps. The wrapper `multi_step` has one
            of its own, with which this one is not used.
        robomimic_env_cfg_path: Makes it a robomimic environment.
        shape_meta: Shapes of image observations, of robomimic.
        use_image_obs: Observe images, of robomimic.
        render_offscreen: Record videos, of robomimic.
        backend: "sync" runs all environments in this process, "async" in workers.
        **kwargs: Arguments of `gymnasium.make`.

    Raises:
        ValueError: The family is not available yet, the name is unknown, a size is
            impossible, or the environment has other sizes than obs_dim, action_dim.
        TypeError: An argument is unknown to the environment or wrapper.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be >= 1, got {num_envs}.")
    if backend not in _BACKENDS:
        raise ValueError(
            f"env.backend must be one of {', '.join(_BACKENDS)}, got {backend!r}."
        )
    plain = _to_plain(wrappers)
    _refuse_unavailable(id, env_type, robomimic_env_cfg_path, plain)
    if use_image_obs:
        raise ValueError(f"env.use_image_obs: {id} has no image observations.")
    if render_offscreen:
        logger.warning("env.save_video has no effect: %s records no videos.", id)
    options = dict(kwargs)
    if render:
        options["render_mode"] = "human"
    if max_episode_steps is not None and "multi_step" not in plain:
        options["max_episode_steps"] = max_episode_steps
    factory = _Factory(find_env(id), options, plain)
    in_workers = _use_workers(num_envs) if backend == "auto" else backend == "async"
    kind = AsyncVectorEnv if asynchronous and in_workers else SyncVectorEnv
    venv = kind([factory] * num_envs)
    try:
        _check_dims(venv, obs_dim, action_dim)
    except ValueError:
        venv.close()
        raise
    return venv


@dataclass(frozen=True)
class _Factory:
    """Makes one environment with its wrappers."""

    name: EnvName
    kwargs: Mapping[str, Any]
    wrappers: Mapping[str, Mapping[str, Any]]

    def __call__(self) -> gymnasium.Env:
        env = self.name.make(**self.kwargs)
        for key, arguments in self.wrappers.items():
            env = wrapper_dict[key](env, **arguments)
        return env


def _to_plain(wrappers: Any) -> dict[str, dict[str, Any]]:
    """Wrappers as plain mappings with known names."""
    if OmegaConf.is_config(wrappers):
        wrappers = OmegaConf.to_container(wrappers, resolve=True)
    return {key: dict(value or {}) for key, value in (wrappers or {}).items()}


def _use_workers(num_envs: int) -> bool:
    processors = count_processors()
    return processors > 1 and num_envs >= 2 * processors


def _refuse_unavailable(
    id: str,
    env_type: str | None,
    robomimic_env_cfg_path: str | None,
    wrappers: Mapping[str, Any],
) -> None:
    """Refuses families and wrappers that this version does not have."""
    family = env_type
    if robomimic_env_cfg_path is not None:
        family = "robomimic"
    elif "avoiding" in id:
        family = "d3il"
    elif id.startswith("kitchen-"):
        family = "kitchen"
    for key in wrappers:
        family = _LATER_WRAPPERS.get(key, family)
    if family is not None:
        raise ValueError(
            f"{id}: environments of the family {family!r} are not available yet."
        )
    for key in wrappers:
        if key not in wrapper_dict:
            near = difflib.get_close_matches(key, wrapper_dict, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"env.wrappers: no wrapper is called {key!r}; the nearest is {near!r}."
            )


def _check_dims(venv: VectorEnv, obs_dim: int | None, action_dim: int | None) -> None:
    """Refuses sizes that the environment does not have."""
    spaces = {"action_dim": (venv.single_action_space, action_dim)}
    if "state" in venv.single_observation_space.spaces:
        spaces["obs_dim"] = venv.single_observation_space["state"], obs_dim
    for name, (space, expected) in spaces.items():
        own = (space.shape or (0,))[-1]
        if expected is not None and own != expected:
            raise ValueError(
                f"{name} must be {own}, as the environment has, got {expected}."
            )
