"""Pictures of where environments have been: the Avoid task, and a toy of its kind.

Departures from the reference: whose episodes are shown is drawn from a generator that
is handed in; an unknown `env_type` is refused; without `normalization_path`
observations are drawn as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from env.gym_utils.wrapper.normalization import Normalization
from util.plotting import make_figure, save_figure

# Avoid, in metres: what the tool must get past, and the line it is to cross.
PILLARS = (
    (0.5, -0.1),
    *((0.425, 0.08), (0.575, 0.08)),
    *((0.35, 0.26), (0.5, 0.26), (0.65, 0.26)),
)
PILLAR_RADIUS = 0.01
GOAL_Y = 0.4
AVOID_LIMITS = ((0.2, 0.8), (-0.3, 0.5))
AVOID_DIMS = (4, 2)  # of observations (desired and actual position) and of actions

TOY_LIMITS = ((0.0, 8.0), (-3.0, 3.0))
TOY_TARGET, TOY_OBSTACLE, TOY_RADIUS = (6.0, 0.0), (3.0, 0.0), 1.0

_GREY, _BLUE = (0.3, 0.3, 0.3), (31 / 255, 119 / 255, 180 / 255)
_AVOID_SIZE, _TOY_SIZE = (4.0, 4.8), (6.0, 4.0)  # inches


class TrajPlotter:
    """Draws the observations of some environments into PNG files.

    Args:
        env_type: "avoid": `traj-<itr>.png` with one path for each environment; "toy":
            `traj-<itr>-<env>.png` for each; None: nothing is drawn.
        normalization_path: A ``normalization.npz``, for "avoid"; None if observations
            are not normalised.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: `env_type` is none of these, or the file is of another task.
    """

    def __init__(
        self, env_type: str | None, normalization_path: str | Path | None = None
    ) -> None:
        drawers: dict[str | None, Callable[..., None]] = {
            "avoid": self.save_avoid_traj,
            "toy": self.save_toy_traj,
            None: lambda *_: None,
        }
        if env_type not in drawers:
            raise ValueError(f"env_type must be avoid, toy or null, got {env_type!r}.")
        self.draw = drawers[env_type]
        self.ranges: Normalization | None = None
        if normalization_path is not None:
            self.ranges = Normalization.load(normalization_path, *AVOID_DIMS)

    def __call__(
        self,
        obs_full_trajs: np.ndarray,
        n_render: int,
        max_episode_steps: int,
        render_dir: str | Path,
        itr: int,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Draws the beginning of an iteration.

        Args:
            obs_full_trajs: Single observations in order, (T, E, Do).
            n_render: Environments to show, chosen at random, at most E.
            max_episode_steps: Observations of each that are shown.
            render_dir: Where the files go.
            itr: Number of the iteration, in their names.
            rng: Chooses; None takes the first environments.

        Raises:
            OSError: A file cannot be written.
            ValueError: There are fewer environments than are to be shown.
        """
        n_envs = obs_full_trajs.shape[1]
        if not 1 <= n_render <= n_envs:
            raise ValueError(f"n_render must be in 1..{n_envs}, got {n_render}.")
        chosen = np.arange(n_render)
        if rng is not None:
            chosen = rng.choice(n_envs, n_render, replace=False)
        paths = obs_full_trajs[:max_episode_steps]
        self.draw(paths, chosen, Path(render_dir), itr)

    def save_avoid_traj(
        self, paths: np.ndarray, chosen: np.ndarray, folder: Path, itr: int
    ) -> None:
        """Desired positions, pillars and goal line in one picture.

        Args:
            paths: Observations (T, E, Do), the desired position first.
            chosen: Environments to show, (n,).
            folder: Where the file goes.
            itr: Number of the iteration.
        """
        from matplotlib.patches import Circle

        if self.ranges is not None:
            paths = self.ranges.unnormalize_obs(paths)
        figure, axes = _make_board(_AVOID_SIZE, AVOID_LIMITS)
        axes.set(xlabel="X pos", ylabel="Y pos")
        axes.axhline(GOAL_Y, color=_BLUE)
        for center in PILLARS:
            axes.add_patch(Circle(center, PILLAR_RADIUS, color="black", zorder=3))
        for env in chosen:
            x, y = paths[:, env, :2].T
            axes.plot(x, y, color=_GREY, linewidth=0.8)
            axes.scatter(x, y, s=2, color=_GREY)
        save_figure(figure, folder / f"traj-{itr}.png")

    def save_toy_traj(
        self, paths: np.ndarray, chosen: np.ndarray, folder: Path, itr: int
    ) -> None:
        """Positions coloured by time, a picture for each environment.

        Args:
            paths: Positions (T, E, Do), the first two from 0 to 1.
            chosen: Environments to show, (n,).
            folder: Where the files go.
            itr: Number of the iteration.
        """
        from matplotlib.patches import Circle, Rectangle

        low, high = np.array(TOY_LIMITS).T
        for env in chosen:
            positions = paths[:, env, :2] * (high - low) + low
            figure, axes = _make_board(_TOY_SIZE, TOY_LIMITS)
            axes.add_patch(Rectangle(low, *(high - low), fill=False, color="black"))
            axes.add_patch(Circle(TOY_OBSTACLE, TOY_RADIUS, color="red"))
            steps = np.arange(len(positions))
            dots = axes.scatter(*positions.T, s=20, c=steps, zorder=2)
            axes.scatter(*positions[0], s=120, marker="*", color="green", zorder=3)
            axes.scatter(*TOY_TARGET, s=120, marker="*", color="red", zorder=3)
            figure.colorbar(dots, ax=axes, label="env step", shrink=0.7)
            save_figure(figure, folder / f"traj-{itr}-{env}.png")


def _make_board(
    size: tuple[float, float], limits: tuple[tuple[float, float], tuple[float, float]]
) -> tuple[Any, Any]:
    """An empty figure, and axes on which both directions have one scale."""
    figure = make_figure(size)
    axes = figure.add_subplot(aspect="equal")
    axes.set(xlim=limits[0], ylim=limits[1])
    return figure, axes
