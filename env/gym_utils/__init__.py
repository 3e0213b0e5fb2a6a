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
from env.gym_utils.native_tasks import has_task
from env.gym_utils.pipeline import NotBatched
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

_BACKENDS = ("auto", "sync", "async", "native", "envpool")
_FEWEST_NATIVE = 4  # below, NumPy's overhead costs more than gymnasium's objects
_LATER_WRAPPERS = {
    "robomimic_lowdim": "robomimic",
    "robomimic_image": "robomimic",
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

    With backend "auto" four or more environments are stepped natively if their task,
    wrappers and arguments allow it; else they run in worker processes if there are at
    least two for each processor, else in this process. All three take the same
    trajectories, and one reads the states of another. Measured with `python -m
    tests.env.benchmark 40` for Hopper and chunks of 4, in env steps for a second of
    processor time: native 25,500, sync 14,800, async 13,300, gymnasium's own
    `AsyncVectorEnv` 8,300; MuJoCo alone takes 25,000. Sync against native: 15,900 to
    13,200 for 1 environment, 14,700 to 14,400 for 3, 15,000 to 18,900 for 8. By the
    clock, on 2 quiet cores (`python -m tests.bench`): native 35,000, async 21,200,
    sync 14,700, and 13,000 with a process for each environment.

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
        shape_meta: Shapes that are expected, `{"obs": {"rgb": {"shape": (C, H, W)},
            "state": {"shape": (Do,)}}, "action": {"shape": (Da,)}}`; None does not
            check.
        use_image_obs: Whether there are images among the observations. Environments
            that render run in workers, whatever their number.
        render_offscreen: Record videos, of robomimic.
        backend: "sync" runs all environments in this process, "async" in workers,
            "native" in threads without gymnasium's objects and infos; "envpool" is
            EnvPool, with physics of its own. "auto" chooses among the first three.
        **kwargs: Arguments of `gymnasium.make`.

    Raises:
        ValueError: The family is not available yet, the name is unknown, a size is
            impossible, the environment has other sizes than obs_dim, action_dim,
            shape_meta, or no images, or the named backend does not have it.
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
    if render_offscreen:
        logger.warning("env.save_video has no effect: %s records no videos.", id)
    options = dict(kwargs)
    if render:
        options["render_mode"] = "human"
    if max_episode_steps is not None and "multi_step" not in plain:
        options["max_episode_steps"] = max_episode_steps
    factory = _Factory(find_env(id), options, plain, use_image_obs)
    venv = _make_venv(factory, num_envs, backend if asynchronous else "sync")
    try:
        _check_dims(venv, obs_dim, action_dim)
        _check_shapes(venv, shape_meta or {})
        _check_images(venv, id, use_image_obs)
    except ValueError:
        venv.close()
        raise
    return venv


@dataclass(frozen=True)
class _Factory:
    """Makes one environment with its wrappers, which `renders` images or not."""

    name: EnvName
    kwargs: Mapping[str, Any]
    wrappers: Mapping[str, Mapping[str, Any]]
    renders: bool = False

    def __call__(self) -> gymnasium.Env:
        env = self.name.make(**self.kwargs)
        for key, arguments in self.wrappers.items():
            env = wrapper_dict[key](env, **arguments)
        return env


def _make_venv(factory: _Factory, num_envs: int, backend: str) -> VectorEnv:
    """Makes the vector environment and logs which one was chosen."""
    env_fns = [factory] * num_envs
    venv: VectorEnv | None = None
    why = "env.backend=auto" if backend == "auto" else "as asked for"
    if factory.renders and backend in ("auto", "async"):
        # Not forked: OpenGL needs a process that is no copy of this (env.rendering).
        venv, why = AsyncVectorEnv(env_fns, context="forkserver"), "it renders"
    elif backend == "auto" and num_envs < _FEWEST_NATIVE:
        why = f"fewer than {_FEWEST_NATIVE}"
    elif backend in ("auto", "native"):
        try:
            venv = _make_native(factory, num_envs)
        except NotBatched as error:
            if backend == "native":
                raise ValueError(f"env.backend=native is impossible: {error}") from None
            why = f"not native: {error}".rstrip(".")
    elif backend == "envpool":
        venv = _make_envpool(factory, num_envs)
    if venv is None:
        in_workers = _use_workers(num_envs) if backend == "auto" else backend == "async"
        venv = AsyncVectorEnv(env_fns) if in_workers else SyncVectorEnv(env_fns)
    kind = type(venv).__name__
    logger.info("%d x %s in a %s (%s).", num_envs, factory.name.id, kind, why)
    return venv


def _make_native(factory: _Factory, num_envs: int) -> VectorEnv:
    """Raises `NotBatched` before MuJoCo is imported or an environment made."""
    if not has_task(factory.name.id):
        raise NotBatched(f"there is no native task for {factory.name.id}.")
    if factory.kwargs.get("render_mode") is not None:
        raise NotBatched("rendering needs gymnasium's objects.")
    from env.gym_utils.native_vector_env import NativeVectorEnv

    return NativeVectorEnv([factory] * num_envs)


def _make_envpool(factory: _Factory, num_envs: int) -> VectorEnv:
    from env.gym_utils.envpool_vector_env import EnvPoolVectorEnv

    kwargs = {**factory.name.kwargs, **factory.kwargs}
    try:
        return EnvPoolVectorEnv([factory] * num_envs, factory.name.id, kwargs)
    except NotBatched as error:
        raise ValueError(f"env.backend=envpool is impossible: {error}") from None


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


def _check_shapes(venv: VectorEnv, shape_meta: Mapping[str, Any]) -> None:
    """Refuses observations and actions of other shapes than `shape_meta` has."""
    spaces = venv.single_observation_space.spaces
    pairs: dict[str, tuple[Any, Any]] = {
        "action": (venv.single_action_space, shape_meta.get("action"))
    }
    for key, meta in (shape_meta.get("obs") or {}).items():
        pairs[f"obs.{key}"] = spaces.get(key), meta
    for key, (space, meta) in pairs.items():
        if meta is None:
            continue
        expected = tuple(meta["shape"])
        # Time is the first axis, which the wrapper `multi_step` adds.
        own = None if space is None else tuple(space.shape or ())[-len(expected) :]
        if own != expected:
            has = "no such observation" if own is None else f"{list(own)}"
            raise ValueError(
                f"shape_meta.{key}.shape must be what the environment has, {has}, "
                f"got {list(expected)}."
            )


def _check_images(venv: VectorEnv, id: str, expected: bool) -> None:
    """Refuses images that were not asked for, and asking for images without any."""
    has_images = "rgb" in venv.single_observation_space.spaces
    if expected and not has_images:
        raise ValueError(f"env.use_image_obs: {id} has no image observations.")
    if has_images and not expected:
        raise ValueError(
            f"env.use_image_obs must be True for {id}, which observes images."
        )
