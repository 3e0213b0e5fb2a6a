"""Wrappers by the name that configs give them under `env.wrappers`."""

import gymnasium

from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)
from env.gym_utils.wrapper.multi_step import MultiStep

wrapper_dict: dict[str, type[gymnasium.Wrapper]] = {
    "multi_step": MultiStep,
    "mujoco_locomotion_lowdim": MujocoLocomotionLowdimWrapper,
}
"""Key of `env.wrappers` -> class; the values there are constructor arguments."""
