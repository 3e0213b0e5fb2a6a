"""Normalisation for the D3IL tasks, in which nothing but a time limit ends an episode.

Departures from the reference: those of `mujoco_locomotion_lowdim.py`.
"""

from __future__ import annotations

from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)


class D3ilLowdimWrapper(MujocoLocomotionLowdimWrapper):
    """Returns observations `{"state": (Do,)}`, normalised, and takes such actions.

    An episode goes on after a success and after a collision.

    Args:
        env: Environment with `Box` spaces of one dimension.
        normalization_path: A ``normalization.npz``; None leaves observations and
            actions as they are.
    """

    def flags(self, terminated: bool, truncated: bool) -> tuple[bool, bool]:
        """Leaves the time limit of the environment alone."""
        return False, truncated
