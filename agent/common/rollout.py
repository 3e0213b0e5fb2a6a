"""Collecting experience: a plan, a collector, and the arrays it fills.

Fixed-length, episode-limited, random and offline iterations are one loop; the plan
says which. Everything is NumPy up to `to_tensors`, the one place where
observations cross into TensorFlow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from env.gym_utils.state import StateNotSupported

logger = logging.getLogger(__name__)

Obs = dict[str, np.ndarray]
Act = Callable[[Obs], tuple[np.ndarray, Mapping[str, np.ndarray]]]


class NonFiniteError(RuntimeError):
    """A loss or the observations of every environment are not finite."""


@dataclass(frozen=True)
class RolloutPlan:
    """What one iteration does.

    Attributes:
        max_steps: Chunk steps of each environment, at most; 0 leaves them alone.
        max_episodes: Stop after this many finished episodes; None for no limit.
        reset: Reset all environments first.
        explore: Act with exploration noise.
        learn: Update from the collected data; otherwise it is an evaluation.
        random: Draw actions uniformly instead of asking the policy.
    """

    max_steps: int
    max_episodes: int | None = None
    reset: bool = False
    explore: bool = True
    learn: bool = True
    random: bool = False


@dataclass
class Rollout:
    """Time-major arrays of one iteration.

    Attributes:
        obs: Observations that were acted on, each (S, E, To, ...).
        actions: Executed chunks (S, E, Te, Da).
        extras: What `act` returned besides actions, each (S, E, ...).
        rewards: Sum over the chunk, unscaled, (S, E) float64.
        terminated: (S, E) bool.
        truncated: (S, E) bool.
        firsts: 1 where an episode starts at that step, (S + 1, E).
        last_obs: Observations after the last step, each (E, To, ...).
        broken: True where the simulator returned NaN, (S, E) bool.
        final_obs: Last observation of truncated episodes, by (step, env).
        frames: All single observations if the env passes them, (1 + S * Te, E, Do).
    """

    obs: Obs
    actions: np.ndarray
    extras: dict[str, np.ndarray]
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    firsts: np.ndarray
    last_obs: Obs
    broken: np.ndarray
    final_obs: dict[tuple[int, int], Obs] = field(default_factory=dict)
    frames: np.ndarray | None = None

    @property
    def done(self) -> np.ndarray:
        """The episode ended for any reason, (S, E) bool."""
        return self.terminated | self.truncated

    def next_obs(self) -> Obs:
        """Observation that follows each step in the same episode, each (S, E, ...)."""
        shifted = {
            key: np.concatenate([value[1:], self.last_obs[key][None]])
            for key, value in self.obs.items()
        }
        for (step, env), final in self.final_obs.items():
            for key, value in final.items():
                shifted[key][step, env] = value
        return shifted


class Collector:
    """Steps a vector environment and keeps its current observation.

    Args:
        venv: Vector environment.
        act_steps: Te, executed steps of each predicted chunk.
        keep_frames: Whether rollouts have `frames`, if the environments pass them.
    """

    def __init__(self, venv: Any, act_steps: int, keep_frames: bool = True) -> None:
        self.venv, self.act_steps = venv, act_steps
        self.keep_frames = keep_frames
        self.obs: Obs = {}
        self.done = np.zeros(venv.num_envs, bool)
        self._venv_can_be_saved = True
        # As some agents of the reference: an episode that begins within a step is
        # acted on by the last observation of the one before (`final_obs_aliasing`).
        self.acts_on_final_obs = False

    def collect(
        self, plan: RolloutPlan, act: Act, options: list[dict] | None = None
    ) -> Rollout:
        """Runs one iteration.

        Args:
            plan: What to do.
            act: Maps observations (E, To, ...) to chunks (E, Ta, Da) and extras.
            options: Reset options of each environment.

        Raises:
            NonFiniteError: All environments returned NaN in the same step, or the
                policy did.
        """
        if plan.max_steps == 0:
            return self._nothing()
        first = self._begin(plan, options)
        columns: dict[str, list] = {name: [] for name in _COLUMNS}
        observed = _Rows(plan.max_steps)
        final_obs: dict[tuple[int, int], Obs] = {}
        frames = [self.obs["state"][:, -1]]
        episodes = 0
        for step in range(plan.max_steps):
            actions, extras = act(self.obs)
            executed = actions[:, : self.act_steps]
            if not np.isfinite(executed).all():
                raise NonFiniteError("the policy's actions are not finite.")
            observed.add(self.obs)
            result = self._step(executed)
            for name, value in zip(
                _COLUMNS, (executed, extras, *result[1:5]), strict=True
            ):
                columns[name].append(value)
            for env, info in enumerate(result[5]):
                if "final_obs" in info:
                    final_obs[step, env] = info["final_obs"]
                    if self.acts_on_final_obs and plan.learn:
                        for key, value in info["final_obs"].items():
                            result[0][key][env] = value
            frames += _frames(result[5]) if self.keep_frames else []
            self.obs, self.done = result[0], result[2] | result[3]
            episodes += int(self.done.sum())
            if plan.max_episodes is not None and episodes >= plan.max_episodes:
                break
        return self._pack(observed.packed(), columns, first, final_obs, frames)

    def _nothing(self) -> Rollout:
        """A rollout without steps; the environments stay as they are."""
        n_envs = self.venv.num_envs
        never = np.zeros((0, n_envs), bool)
        return Rollout(
            obs={},
            actions=np.zeros((0, n_envs, self.act_steps, 0), np.float32),
            extras={},
            rewards=np.zeros((0, n_envs)),
            terminated=never,
            truncated=never,
            firsts=np.zeros((1, n_envs)),
            last_obs={},
            broken=never,
        )

    def _begin(self, plan: RolloutPlan, options: list[dict] | None) -> np.ndarray:
        if not plan.reset and self.obs:
            return self.done.astype(np.float64)
        n_envs = self.venv.num_envs
        self.obs = self.venv.reset_arg(options or [{} for _ in range(n_envs)])
        if all(not np.isfinite(v).all() for v in self.obs.values()):
            raise NonFiniteError("the environments return NaN right after a reset.")
        return np.ones(n_envs)

    def _step(self, actions: np.ndarray) -> tuple:
        """One step of the vector env, with broken simulators reset and marked.

        A broken step counts as a truncation that follows the last good observation,
        with reward 0.
        """
        obs, rewards, terminated, truncated, infos = self.venv.step(actions)
        broken = ~np.isfinite(rewards)
        for value in obs.values():
            if value.dtype.kind == "f":
                broken |= ~np.isfinite(value).reshape(len(value), -1).all(axis=1)
        broken |= np.array([bool(info.get("nan", False)) for info in infos])
        if not broken.any():
            return obs, rewards, terminated, truncated, broken, infos
        if broken.all():
            raise NonFiniteError("all environments returned NaN in the same step.")
        infos = [dict(info) for info in infos]
        rewards = np.where(broken, 0.0, rewards)
        for env in np.flatnonzero(broken):
            fresh = self.venv.reset_one_arg(env_ind=int(env), options={})
            infos[env] = {"final_obs": {k: v[env] for k, v in self.obs.items()}}
            for key, value in fresh.items():
                obs[key][env] = value
        return (
            obs,
            rewards,
            terminated & ~broken,
            truncated | broken,
            broken,
            infos,
        )

    def _pack(
        self,
        obs: Obs,
        columns: dict[str, list],
        first: np.ndarray,
        final_obs: dict[tuple[int, int], Obs],
        frames: list[np.ndarray],
    ) -> Rollout:
        terminated = np.stack(columns["terminated"])
        truncated = np.stack(columns["truncated"])
        full = len(frames) == 1 + len(terminated) * self.act_steps
        return Rollout(
            obs=obs,
            actions=np.stack(columns["actions"]),
            extras=_stack(columns["extras"]),
            rewards=np.stack(columns["rewards"]),
            terminated=terminated,
            truncated=truncated,
            firsts=np.vstack([first[None], terminated | truncated]).astype(np.float64),
            last_obs=self.obs,
            final_obs=final_obs,
            broken=np.stack(columns["broken"]),
            frames=np.stack(frames) if full and len(frames) > 1 else None,
        )

    def get_state(self) -> dict[str, Any]:
        """Current observation, done flags and the state of the environments.

        Environments that cannot be saved are left out, which is said once.
        """
        if self._venv_can_be_saved:
            try:
                venv = self.venv.get_state()
                return {"obs": self.obs, "done": self.done, "venv": venv}
            except StateNotSupported as error:
                self._venv_can_be_saved = False
                logger.warning("%s", error)
        return {"obs": {}, "done": np.zeros_like(self.done), "venv": None}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`; environments that were left out are reset."""
        self.obs, self.done = state["obs"], np.asarray(state["done"], bool)
        if state["venv"] is not None:
            self.venv.set_state(state["venv"])


class _Rows:
    """Observations by step in arrays that are made once: images are large.

    Args:
        steps: Most rows there can be; memory is taken as they come.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.count = steps, 0
        self.arrays: Obs = {}

    def add(self, row: Obs) -> None:
        """Copies one step's observations, each (E, To, ...)."""
        if not self.arrays:
            self.arrays = {
                key: np.empty((self.steps, *value.shape), value.dtype)
                for key, value in row.items()
            }
        for key, value in row.items():
            self.arrays[key][self.count] = value
        self.count += 1

    def packed(self) -> Obs:
        """All rows, each (S, E, To, ...)."""
        return {key: value[: self.count] for key, value in self.arrays.items()}


_COLUMNS = (
    "actions",
    "extras",
    "rewards",
    "terminated",
    "truncated",
    "broken",
)


def _stack(rows: list[Mapping[str, np.ndarray]]) -> Obs:
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _frames(infos: Any) -> list[np.ndarray]:
    """Single observations of one step, each (E, Do), if every env passes them."""
    if not all("full_obs" in info for info in infos):
        return []
    states = [np.asarray(info["full_obs"]["state"]) for info in infos]
    if len({len(state) for state in states}) != 1:
        return []
    return list(np.stack(states, axis=1))


def tensor_type(dtype: np.dtype) -> tf.DType:
    """Type of an observation in TensorFlow: images stay bytes, the rest is float32."""
    return tf.uint8 if dtype == np.uint8 else tf.float32


def to_tensors(obs: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Observations as tensors, see `tensor_type`."""
    return {
        key: tf.convert_to_tensor(
            value.astype(tensor_type(value.dtype).as_numpy_dtype, copy=False)
        )
        for key, value in obs.items()
    }
