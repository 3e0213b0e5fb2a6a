"""Replays recorded cases of the area `env`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from env.gym_utils.async_vector_env import AsyncVectorEnv
from env.gym_utils.wrapper.d3il_lowdim import D3ilLowdimWrapper
from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)
from env.gym_utils.wrapper.multi_step import MultiStep
from util.compat import reference

Arrays = Mapping[str, np.ndarray]

DIFFERENT_BY_CHOICE = {
    "out/reset_arg/type": "a dict of arrays (E, To, ...), not a list of E dicts"
}
"""Recorded outputs that `replay` leaves out, and what this project has instead."""


def replay(meta: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """Computes `out/...` of a case with this project's wrappers and vector envs.

    Args:
        meta: The case's `meta`: class and call.
        arrays: The case's arrays, of which `in/...` is read.

    Raises:
        ValueError: No adapter knows the class.
    """
    kind = meta["class"].rsplit(".", 1)[1]
    adapters = {
        "MultiStep": _replay_multi_step,
        "MujocoLocomotionLowdimWrapper": partial(
            _replay_lowdim, MujocoLocomotionLowdimWrapper
        ),
        "D3ilLowdimWrapper": partial(_replay_lowdim, D3ilLowdimWrapper),
        "AsyncVectorEnv": _replay_async,
    }
    if kind not in adapters:
        raise ValueError(f"class must be one of {', '.join(adapters)}, got {kind}.")
    with reference():
        out = adapters[kind](meta["call"], arrays)
    return {f"out/{name}": np.asarray(value) for name, value in out.items()}


class CountingEnv(gymnasium.Env):
    """The recorder's toy: state = [episode, step, last action[0], draw].

    Args:
        term: Step at which each episode terminates, in turn; None for never.
        time_limit: Behaves like gym 0.22's TimeLimit: both flags, and an info.
        draws: Whether `draw` is a random number of each reset, else 0.
    """

    def __init__(
        self,
        term: Sequence[int | None],
        time_limit: int | None = None,
        draws: bool = False,
    ) -> None:
        self.term, self.time_limit, self.draws = term, time_limit, draws
        self.observation_space = Dict({"state": Box(-np.inf, np.inf, (4,))})
        self.action_space = _ZeroBox(-1.0, 1.0, (2,))
        self.rng = np.random.RandomState()
        self.episode, self.n_steps, self.draw, self.last_seed = -1, 0, 0.0, -1

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.RandomState(seed)
            if "seed" not in (options or {}):
                self.last_seed = seed
        self.episode, self.n_steps = self.episode + 1, 0
        self.draw = self.rng.random_sample() if self.draws else 0.0
        return self._observe(0.0), {}

    def step(self, action):
        self.n_steps += 1
        limit = self.term[self.episode % len(self.term)]
        done = limit is not None and self.n_steps >= limit
        info, truncated = {"k": self.n_steps}, False
        if self.time_limit is not None and self.n_steps >= self.time_limit:
            truncated, done = not done, True
            info["TimeLimit.truncated"] = truncated
        reward = self.n_steps + 0.1 * float(action[0])
        return self._observe(action[0]), reward, done, truncated, info

    def _observe(self, last_action):
        return {"state": np.array([self.episode, self.n_steps, last_action, self.draw])}


class _ZeroBox(Box):
    """A box whose sample is zero."""

    def sample(self, mask=None, probability=None):
        return np.zeros(self.shape, self.dtype)


def _replay_multi_step(call: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    inner = CountingEnv(**call["env"])
    env = MultiStep(inner, **call["multi_step"])
    out: dict[str, Any] = {"reset_obs": env.reset()[0]["state"]}
    for index, chunk in enumerate(arrays["in/actions"][: call["n_chunks"]]):
        if call.get("squeeze"):
            chunk = chunk[0]
        obs, reward, terminated, truncated, info = env.step(chunk)
        result = {
            "obs": obs["state"],
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "info_keys": sorted(info),
            "info_k": info["k"],
            "cnt": env.cnt,
            "inner_episode": inner.episode,
            "inner_step": inner.n_steps,
        }
        for key in ("final_obs", "full_obs"):
            if key in info:
                result[key] = info[key]["state"]
        if env.n_obs_steps > 1:
            result["prev_action"] = env.get_prev_action()
        out |= {f"chunk{index}/{key}": value for key, value in result.items()}
    return out


class TableEnv(gymnasium.Env):
    """Returns rows of a table and remembers the actions; every step ends an episode.

    Args:
        obs: The first row is what a reset returns, the others what steps do.
        action_dim: Da.
    """

    def __init__(self, obs: np.ndarray, action_dim: int) -> None:
        self.table = obs
        self.observation_space = Box(-np.inf, np.inf, obs.shape[1:], obs.dtype.type)
        self.action_space = Box(-1.0, 1.0, (action_dim,))
        self.rng = np.random.RandomState()
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.RandomState(seed)
        return self.table[0], {}

    def step(self, action):
        self.actions.append(action)
        return self.table[len(self.actions)], 0.0, True, False, {}


def _replay_lowdim(
    wrapper: type[MujocoLocomotionLowdimWrapper],
    call: Mapping[str, Any],
    arrays: Arrays,
) -> dict[str, Any]:
    inner = TableEnv(arrays["in/raw_obs"], arrays["in/actions"].shape[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "normalization.npz"
        prefix = "in/norm/"
        norm = {k.removeprefix(prefix): v for k, v in arrays.items() if prefix in k}
        np.savez(path, **norm)
        env = wrapper(inner, path)
    space = env.observation_space["state"]
    out = {"space_low": space.low, "space_high": space.high}
    out["reset_obs"] = env.reset()[0]["state"]
    steps = [env.step(action) for action in arrays["in/actions"]]
    out["obs"] = np.stack([step[0]["state"] for step in steps])
    out["done"] = [step[2] for step in steps]
    out["raw_actions"] = np.stack(inner.actions)
    draws = []
    for seed in call["seeds"]:
        env.reset(options={"seed": seed})
        draws.append(inner.rng.random_sample())
    out["draw_after_seeded_reset"] = draws
    return out


# What the recorder did after the steps; the cases do not say it.
_RESET_ENV, _RESET_SEED = 1, 5


def _replay_async(call: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    def make(term):
        return lambda: MultiStep(CountingEnv(term, draws=True), **call["multi_step"])

    venv = AsyncVectorEnv([make(term) for term in call["terms"]], num_workers=2)
    actions = arrays["in/actions"]
    out: dict[str, Any] = {}
    try:
        if call.get("vector_reset"):
            out["vector_reset/state"] = venv.reset(seed=call["seeds"])["state"]
        venv.seed(call["seeds"])
        out["reset_arg/state"] = venv.reset_arg(call["options_list"])["state"]
        for index in range(call["n_steps"]):
            out |= _step(venv, actions[index], f"step{index}")
        one = venv.reset_one_arg(env_ind=_RESET_ENV, options={"seed": _RESET_SEED})
        out["reset_one_arg/type"] = type(one).__name__
        out["reset_one_arg/state"] = one["state"]
        out["after_reset_one/state"] = venv.step(actions[0])[0]["state"]
        again = venv.reset_arg([{} for _ in call["terms"]])
        out["reset_arg2/state"] = again["state"]
        out["last_seed_seen"] = venv.get_attr("last_seed")
    finally:
        venv.close()
    return out


def _step(venv: AsyncVectorEnv, actions: np.ndarray, name: str) -> dict[str, Any]:
    obs, reward, terminated, truncated, infos = venv.step(actions)
    out = {
        "state": obs["state"],
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "has_final_obs": ["final_obs" in info for info in infos],
    }
    for index, info in enumerate(infos):
        if "final_obs" in info:
            out[f"final_obs/{index}"] = info["final_obs"]["state"]
    return {f"{name}/{key}": value for key, value in out.items()} | {
        "info_type": type(infos).__name__
    }
