"""Environments stepped one after the other in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium.spaces import Dict

from env.gym_utils.env_group import Buffers, EnvFactory, EnvFailure, EnvGroup
from env.gym_utils.vector_env import Args, VectorEnv, raise_cause


class SyncVectorEnv(VectorEnv):
    """A vector environment without worker processes.

    Args:
        env_fns: Make the environments.
        dummy_env_fn: Makes an environment of which only the spaces are used.

    Raises:
        ValueError: There are no environments, or their observations differ.
        TypeError: Observations are not named arrays.
    """

    def __init__(
        self, env_fns: Sequence[EnvFactory], dummy_env_fn: EnvFactory | None = None
    ) -> None:
        super().__init__(env_fns, dummy_env_fn)
        try:
            self._group = EnvGroup(env_fns, 0, self._buffers)
        except EnvFailure as failure:
            raise_cause(failure)
        self.closed = False

    def _allocate(self, space: Dict) -> Buffers:
        return Buffers.allocate(self.num_envs, space)

    def _dispatch(self, command: str, args: Args, indices: Sequence[int]) -> None:
        self._command = command
        self._args, self._indices = args, indices

    def _gather(self, timeout: float | None) -> list[Any]:
        try:
            return self._group.handle(self._command, self._args, self._indices)
        except EnvFailure as failure:
            raise_cause(failure)

    def _close(self) -> None:
        self._group.close()
