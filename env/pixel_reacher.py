"""A reacher that has to find its target in camera images.

`dppo-tf/PixelReacher-v0` of gymnasium, in configs
`env.pixel_reacher:dppo-tf/PixelReacher-v0`. The reference has no such task: its image
tasks need robosuite and gigabytes of recordings. Arm, target and first states are those
of gymnasium's `Reacher-v4`; what is seen and rewarded is not, and motors are weaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from env.rendering import OffscreenRenderer, choose_renderer

ENV_ID = "dppo-tf/PixelReacher-v0"
MAX_STEPS = 50
LINKS = (0.1, 0.11)
"""Lengths of the two links in m; the second ends at the finger tip."""

REACHED = 0.03
"""Distance of finger tip and target in m below which a step is rewarded."""

TORQUE = 0.4
"""Share of `Reacher-v4`'s torques that actions have: small ones matter here too."""

_FRAME_SKIP = 2  # of 0.01 s
_VELOCITY_SCALE = 10.0  # rad/s
_TARGET_RADIUS = 0.2  # m
_VIEW = 0.255  # m, half of what the camera sees
# Networks see (colour - 0.5): the ground is nothing to them, the target the most.
_COLOURS = {
    "ground": (0.5, 0.5, 0.5),
    "root": (0.1, 0.1, 0.1),
    "link0": (0.2, 0.4, 0.9),
    "link1": (0.4, 0.7, 1.0),
    "fingertip": (0.1, 0.9, 0.2),
    "target": (1.0, 0.1, 0.1),
}
_RADII = {"fingertip": 0.014, "target": 0.02}  # m; the target is 5 of 64 pixels wide


class PixelReacher(gymnasium.Env):
    """Two joints and a target in the plane, seen from above.

    Observation: `state` (6,) float32, the cosines, sines and velocities / 10 rad/s of
    the joints, without the target; `rgb` (3, H, W) uint8, upright. Action: torques
    (2,) in [-1, 1]. Reward: 1 for a step after which the finger tip is within 3 cm of
    the target, else 0; an episode in which it stays there for a whole chunk has a best
    reward of 1. Never terminates; truncated by gymnasium after 50 steps of 0.02 s.

    Args:
        image_size: Height and width of images in pixels.
        blank: Show black images; what cannot be known without eyes, is not known.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: An argument is impossible.
        RenderingError: Images are needed, but there is no renderer.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 50,
    }

    def __init__(
        self, image_size: int = 64, blank: bool = False, render_mode: str | None = None
    ) -> None:
        if image_size < 8:
            raise ValueError(f"image_size must be >= 8, got {image_size}.")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"render_mode must be null or rgb_array, got {render_mode!r}."
            )
        self.image_size, self.blank, self.render_mode = image_size, blank, render_mode
        if not blank:
            choose_renderer()  # before MuJoCo is imported and workers are forked
        self.model, self.data = _make_simulation()
        shape = (3, image_size, image_size)
        self.observation_space = Dict(
            {
                "state": Box(-np.inf, np.inf, (6,), np.float32),
                "rgb": Box(0, 255, shape, np.uint8),
            }
        )
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self._renderer: OffscreenRenderer | None = None  # made by the first picture

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode: the arm nearly straight to the right, a new target."""
        import mujoco

        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:2] = self.np_random.uniform(-0.1, 0.1, 2)
        self.data.qvel[:2] = self.np_random.uniform(-0.005, 0.005, 2)
        # Uniform on a disc.
        radius = _TARGET_RADIUS * np.sqrt(self.np_random.uniform())
        angle = self.np_random.uniform(-np.pi, np.pi)
        self.data.qpos[2:] = radius * np.cos(angle), radius * np.sin(angle)
        mujoco.mj_forward(self.model, self.data)
        return self._observe(), {"distance": self.distance}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies torques (2,) for 0.02 s."""
        import mujoco

        self.data.ctrl[:] = TORQUE * np.clip(action, -1.0, 1.0)
        mujoco.mj_step(self.model, self.data, nstep=_FRAME_SKIP)
        mujoco.mj_forward(self.model, self.data)  # a step leaves old positions behind
        reached = self.distance < REACHED
        return (
            self._observe(),
            float(reached),
            False,
            False,
            {"distance": self.distance},
        )

    @property
    def distance(self) -> float:
        """Distance of finger tip and target in m."""
        tip, target = (self.data.body(n).xpos[:2] for n in ("fingertip", "target"))
        return float(np.linalg.norm(tip - target))

    @property
    def target(self) -> np.ndarray:
        """Position of the target in m, (2,)."""
        return self.data.qpos[2:].copy()

    def _observe(self) -> dict[str, np.ndarray]:
        angles, velocities = self.data.qpos[:2], self.data.qvel[:2]
        parts = (np.cos(angles), np.sin(angles), velocities / _VELOCITY_SCALE)
        image = np.zeros((3, self.image_size, self.image_size), np.uint8)
        if not self.blank:
            image = np.ascontiguousarray(self.render().transpose(2, 0, 1))
        return {"state": np.concatenate(parts).astype(np.float32), "rgb": image}

    def render(self) -> np.ndarray:
        """Returns what the camera sees, also if images are blank, (H, W, 3) uint8."""
        if self._renderer is None:
            size = self.image_size
            self._renderer = OffscreenRenderer(self.model, size, size, _make_camera())
        return self._renderer.render(self.data)

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def get_state(self) -> dict[str, Any]:
        """Returns the simulation's state; see `env.gym_utils.state`."""
        from env.gym_utils.mujoco_state import get_simulation

        return get_simulation(self.model, self.data)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        from env.gym_utils.mujoco_state import set_simulation

        set_simulation(self.model, self.data, state)


def _make_simulation() -> tuple[Any, Any]:
    """Gymnasium's reacher in colours that can be told apart, and evenly lit.

    Masses were computed when the file was read, so sizes are looks only.
    """
    import mujoco

    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    model = mujoco.MjModel.from_xml_path(str(folder / "reacher.xml"))
    for name, colour in _COLOURS.items():
        model.geom(name).rgba[:3] = colour
    for name, radius in _RADII.items():
        model.geom(name).size[0] = radius
    model.vis.headlight.ambient[:] = 1.0
    model.vis.headlight.diffuse[:] = model.vis.headlight.specular[:] = 0.0
    model.vis.quality.shadowsize = 0
    model.vis.global_.offwidth = model.vis.global_.offheight = 8  # the renderer's
    return model, mujoco.MjData(model)


def _make_camera() -> Any:
    """Looks down from above; x goes to the right, y up."""
    import mujoco

    camera = mujoco.MjvCamera()
    camera.lookat[:] = 0.0
    camera.distance = _VIEW / np.tan(np.deg2rad(45.0 / 2))  # MuJoCo's angle of view
    camera.azimuth, camera.elevation = 90.0, -90.0
    return camera


gymnasium.register(
    ENV_ID,
    PixelReacher,  # type: ignore[arg-type]
    max_episode_steps=MAX_STEPS,
)
