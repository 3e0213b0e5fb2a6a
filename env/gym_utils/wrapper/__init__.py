"""Wrappers by the name that configs give them under `env.wrappers`."""

import gymnasium

from env.gym_utils.wrapper.d3il_lowdim import D3ilLowdimWrapper
from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)
from env.gym_utils.wrapper.multi_step import MultiStep

wrapper_dict: dict[str, type[gymnasium.Wrapper]] = {
    "multi_step": MultiStep,
    "mujoco_locomotion_lowdim": MujocoLocomotionLowdimWrapper,
    "d3il_lowdim": D3ilLowdimWrapper,
}
"""Key of `env.wrappers` -> class; the values there are constructor arguments."""
