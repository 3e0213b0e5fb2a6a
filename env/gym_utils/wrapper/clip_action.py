"""Clips actions to the bounds, as D4RL's environments do.

The reference has no such file: D4RL clips inside the environments that it registers.
MuJoCo limits the controls anyway; what changes is the control cost in the reward.
gymnasium's wrapper of that name hides the bounds, which random exploration needs.
"""

from typing import Any

import gymnasium
import numpy as np


class ClipAction(gymnasium.ActionWrapper):
    """Clips every action to the bounds of the environment's action space.

    Args:
        env: Environment with a bounded `Box` of actions.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        if not isinstance(env.action_space, gymnasium.spaces.Box):
            raise TypeError(f"action_space must be a Box, got {env.action_space}.")
        self.low, self.high = env.action_space.low, env.action_space.high

    def action(self, action: Any) -> np.ndarray:
        """Returns the action (Da,) within the bounds."""
        return np.minimum(np.maximum(action, self.low), self.high)
