"""What `SyncVectorEnv` and `AsyncVectorEnv` have in common.

Departures from the reference: both offer `reset_arg` and `reset_one_arg`, which return
arrays with the observation space's dtype; `seed` makes resets reproducible; states can
be saved; `step` checks its actions.
"""

from __future__ import annotations

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from gymnasium.error import (
    AlreadyPendingCallError,
    ClosedEnvironmentError,
    NoAsyncCallError,
)
from gymnasium.spaces import Dict
from gymnasium.vector.utils import batch_space

from env.gym_utils.env_group import Buffers, EnvFactory, EnvFailure, check_obs_space

Obs = dict[str, np.ndarray]
Args = Sequence[Any] | np.ndarray
Step = tuple[Obs, np.ndarray, np.ndarray, np.ndarray, tuple[dict[str, Any], ...]]


class VectorEnv(ABC):
    """Environments that are stepped together. Nothing here resets by itself.

    Attributes:
        num_envs: E.
        single_observation_space: Of one environment, a `Dict`, each (To, ...).
        single_action_space: Of one environment, (Te, Da).
        observation_space: Of all, each (E, To, ...).
        action_space: Of all, (E, Te, Da).
        metadata: Of the environments.
        closed: Whether `close` was called.
    """

    is_vector_env = True

    def __init__(
        self, env_fns: Sequence[EnvFactory], dummy_env_fn: EnvFactory | None = None
    ) -> None:
        """Reads the spaces.

        Args:
            env_fns: Make the environments.
            dummy_env_fn: Makes an environment of which only the spaces are used; by
                default the first of `env_fns`.

        Raises:
            ValueError: There are no environments.
            TypeError: Observations are not named arrays.
        """
        if not env_fns:
            raise ValueError("num_envs must be >= 1, got 0.")
        self.closed = True  # until the subclass is ready
        self._pending: str | None = None
        self.num_envs = len(env_fns)
        dummy = (dummy_env_fn or env_fns[0])()
        self.single_observation_space = check_obs_space(dummy.observation_space)
        self.single_action_space = dummy.action_space
        self.metadata = dummy.metadata
        dummy.close()
        self.observation_space = batch_space(
            self.single_observation_space, self.num_envs
        )
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._buffers = self._allocate(self.single_observation_space)

    # -- what a subclass does ---------------------------------------------------------

    @abstractmethod
    def _allocate(self, space: Dict) -> Buffers:
        """Returns the buffers that the environments write to."""

    @abstractmethod
    def _dispatch(self, command: str, args: Args, indices: Sequence[int]) -> None:
        """Starts a command in `indices`, see `EnvGroup.handle`."""

    @abstractmethod
    def _gather(self, timeout: float | None) -> list[Any]:
        """Returns the results of the command that was started, in order.

        Raises:
            multiprocessing.TimeoutError: Not done in time; may be called again.
            Exception: What an environment raised.
        """

    @abstractmethod
    def _close(self) -> None:
        """Closes the environments."""

    # -- stepping ---------------------------------------------------------------------

    def step(self, actions: np.ndarray) -> Step:
        """Executes a chunk in each environment.

        Args:
            actions: Shape (E, Te, Da).

        Returns:
            Observations, each (E, To, ...); rewards over the chunk (E,) float64;
            terminated (E,) bool; truncated (E,) bool; an info dict for each.

        Raises:
            ValueError: The actions have another shape or are not finite.
            Exception: What an environment raised, with its index.
        """
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: np.ndarray) -> None:
        """Starts a step; `step_wait` ends it."""
        self._send("step", self._check_actions(np.asarray(actions)))

    def step_wait(self, timeout: float | None = None) -> Step:
        """Returns the result of `step_async`, see `step`.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            NoAsyncCallError: No step was started.
            multiprocessing.TimeoutError: It takes longer; may be called again.
        """
        infos = self._receive("step", timeout)
        b = self._buffers
        terminated, truncated = b.terminated.copy(), b.truncated.copy()
        return self._read_obs(), b.rewards.copy(), terminated, truncated, tuple(infos)

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        expected = (self.num_envs, *(self.single_action_space.shape or ()))
        if actions.shape != expected:
            raise ValueError(
                f"actions must have shape (E, Te, Da)={expected}, got {actions.shape}."
            )
        finite = np.isfinite(actions).reshape(self.num_envs, -1).all(axis=1)
        if not finite.all():
            bad = ", ".join(str(index) for index in np.flatnonzero(~finite))
            raise ValueError(f"actions of the environments {bad} are not finite.")
        return actions

    # -- resets -----------------------------------------------------------------------

    def seed(self, seeds: Sequence[int | None] | int | None = None) -> None:
        """Seeds each environment's generator at its next explicit reset.

        The resets within steps go on with that generator.

        Args:
            seeds: One for each; an integer stands for seeds, seeds + 1, ....
        """
        if seeds is None or isinstance(seeds, int | np.integer):
            start = seeds
            seeds = [
                None if start is None else int(start) + index
                for index in range(self.num_envs)
            ]
        self._check_length("seeds", seeds)
        self._run("seed", seeds)

    def reset(
        self,
        *,
        seed: Sequence[int | None] | int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Obs:
        """Resets all environments with the same options; see `seed`, `reset_arg`."""
        if seed is not None:
            self.seed(seed)
        return self.reset_arg([dict(options or {}) for _ in range(self.num_envs)])

    def reset_arg(self, options_list: Sequence[Mapping[str, Any]]) -> Obs:
        """Resets all environments, each with options of its own.

        Args:
            options_list: E mappings; `seed` in one seeds that reset.

        Returns:
            Observations, each (E, To, ...).
        """
        self._check_length("options_list", options_list)
        self._run("reset", options_list)
        return self._read_obs()

    def reset_one_arg(
        self, env_ind: int, options: Mapping[str, Any] | None = None
    ) -> Obs:
        """Resets one environment and returns its observation, each (To, ...)."""
        if not 0 <= env_ind < self.num_envs:
            raise ValueError(
                f"env_ind must be in 0..{self.num_envs - 1}, got {env_ind}."
            )
        self._run("reset", [options or {}], [env_ind])
        return {k: array[env_ind].copy() for k, array in self._buffers.obs.items()}

    def _read_obs(self) -> Obs:
        return {key: array.copy() for key, array in self._buffers.obs.items()}

    # -- attributes and states --------------------------------------------------------

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns what the method (or attribute) `name` of each environment gives."""
        return tuple(self._run("call", [(name, args, kwargs)] * self.num_envs))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns the attribute `name` of each environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute: one value for all, or a list or tuple of E values."""
        if not isinstance(values, list | tuple):
            values = [values] * self.num_envs
        self._check_length("values", values)
        self._run("set_attr", [(name, value) for value in values])

    def render(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Returns a frame of each environment."""
        return self.call("render", *args, **kwargs)

    def get_state(self) -> dict[str, Any]:
        """Returns all that decides how the environments continue.

        Raises:
            StateNotSupported: They cannot be saved.
        """
        return {"envs": self._run("get_state", [None] * self.num_envs)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state` of a vector environment of the same kind.

        Raises:
            ValueError: The state belongs to other environments.
        """
        self._check_length("envs of the state", state["envs"])
        self._run("set_state", state["envs"])

    def close(self) -> None:
        """Closes the environments; does nothing the second time."""
        if not self.closed:
            self.closed = True
            self._close()

    # -- commands ---------------------------------------------------------------------

    def _run(
        self, command: str, args: Args, indices: Sequence[int] | None = None
    ) -> list[Any]:
        self._send(command, args, indices)
        return self._receive(command, None)

    def _send(
        self, command: str, args: Args, indices: Sequence[int] | None = None
    ) -> None:
        self._check_open(command)
        if self._pending is not None:
            raise AlreadyPendingCallError(
                f"{command} must wait for a pending {self._pending}.", self._pending
            )
        self._dispatch(command, args, indices or range(self.num_envs))
        self._pending = command

    def _receive(self, command: str, timeout: float | None) -> list[Any]:
        self._check_open(command)
        if self._pending != command:
            raise NoAsyncCallError(f"no {command} was started.", command)
        try:
            results = self._gather(timeout)
        except multiprocessing.TimeoutError:
            raise
        except BaseException:
            self._pending = None
            raise
        self._pending = None
        return results

    def _check_open(self, command: str) -> None:
        if self.closed:
            raise ClosedEnvironmentError(f"{command} on a closed vector environment.")

    def _check_length(self, name: str, values: Sequence[Any]) -> None:
        if len(values) != self.num_envs:
            raise ValueError(
                f"{name} must have one entry for each of the {self.num_envs} "
                f"environments, got {len(values)}."
            )


def raise_cause(failure: EnvFailure) -> NoReturn:
    """Raises what an environment raised, with its index as a note."""
    cause = failure.__cause__ or failure
    cause.add_note(f"This happened in environment {failure.index}.")
    raise cause
