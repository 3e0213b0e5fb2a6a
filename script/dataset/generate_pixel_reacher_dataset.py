"""Makes demonstrations of the pixel reacher, with a scripted controller.

    python script/dataset/generate_pixel_reacher_dataset.py --n_demos=500 --seed=0 \
        --save_dir=$DPPO_DATA_DIR/pixel/reacher

Writes `train.npz` (with images) and `source.json`. There is no `normalization.npz`: the
environment's states and actions are scaled to about [-1, 1] already. Equal arguments
give equal arrays. The reference has no such script.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

if __package__ in (None, ""):
    # Started as a file: Python then looks for modules beside it, not in the root.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from agent.dataset.demonstrator import SOURCE_FILE
from agent.dataset.normalise import write_together
from env.gym_utils.registry import find_env
from env.pixel_reacher import ENV_ID, LINKS, MAX_STEPS, TORQUE, PixelReacher

ACCELERATION = 200.0 * TORQUE
"""rad/s^2 of a joint at action 1: the motors' gear, over an armature of 1."""

DAMPING = 1.0
"""1/s, of a joint without torque."""

_LARGEST_BEND = 2.9  # rad; the elbow's limit is 3

Arrays = dict[str, np.ndarray]
Act = Callable[[PixelReacher, np.random.Generator], np.ndarray]


def solve_angles(target: np.ndarray) -> np.ndarray:
    """Joint angles (2,) that bring the finger tip to a target, the elbow to one side.

    The law of cosines: r^2 = l1^2 + l2^2 + 2 l1 l2 cos(q2). A choice of sides would
    make the demonstrations contradict each other.

    Args:
        target: Position in m, (2,).
    """
    first, second = LINKS
    cosine = (target @ target - first**2 - second**2) / (2 * first * second)
    bend = min(np.arccos(np.clip(cosine, -1.0, 1.0)), _LARGEST_BEND)
    lead = np.arctan2(second * np.sin(bend), first + second * np.cos(bend))
    turn = np.arctan2(target[1], target[0]) - lead
    return np.array([np.arctan2(np.sin(turn), np.cos(turn)), bend])


@dataclass
class Demonstrator:
    """Moves to the target like a spring with damping, in its own manner each time.

    a = (w^2 (goal - q) - (2 z w - d) q') / 80 + tremor, in units of the largest
    torque; w and z are drawn for each episode, the tremor for each step.

    Attributes:
        frequency: Bounds of w in rad/s: how quickly.
        ratio: Bounds of z: below 1 it overshoots.
        tremor: Standard deviation of the tremor, an autoregression.
        memory: Share of the tremor that is kept from one step to the next.
    """

    frequency: tuple[float, float] = (8.0, 12.0)
    ratio: tuple[float, float] = (0.8, 1.1)
    tremor: float = 0.08
    memory: float = 0.7

    def begin(self, env: PixelReacher, rng: np.random.Generator) -> None:
        """Looks where the target is, and draws this episode's manner."""
        self._goal = solve_angles(env.target)
        self._frequency = rng.uniform(*self.frequency)
        self._ratio = rng.uniform(*self.ratio)
        self._shake = np.zeros(2)

    def __call__(self, env: PixelReacher, rng: np.random.Generator) -> np.ndarray:
        """Returns the next action (2,); begins anew with each episode."""
        if env.data.time == 0.0:
            self.begin(env, rng)
        innovation = self.tremor * np.sqrt(1 - self.memory**2)
        self._shake = self.memory * self._shake + innovation * rng.normal(size=2)
        w, z = self._frequency, self._ratio
        angles, velocities = env.data.qpos[:2], env.data.qvel[:2]
        wanted = w**2 * (self._goal - angles) - (2 * z * w - DAMPING) * velocities
        return np.clip(wanted / ACCELERATION + self._shake, -1.0, 1.0)


def act_at_random(env: PixelReacher, rng: np.random.Generator) -> np.ndarray:
    """Returns an action (2,), uniform in its bounds."""
    return rng.uniform(-1.0, 1.0, 2)


def roll_out(
    act: Act, episodes: int, seed: int, title: str, **options: Any
) -> tuple[Arrays, np.ndarray]:
    """Plays whole episodes, with a progress bar.

    Args:
        act: The policy, which sees the simulation.
        episodes: How many.
        seed: Of environment and policy.
        title: Of the progress bar.
        **options: Of the environment.

    Returns:
        The arrays of `train.npz` for N = 50 * episodes steps, and the distance of
        finger tip and target in m after each step, (N,).
    """
    env = find_env(ENV_ID).make(**options)
    body: Any = env.unwrapped
    rng = np.random.default_rng([seed, 1])
    image = env.observation_space["rgb"].shape  # type: ignore[index]
    n = episodes * MAX_STEPS
    data = {
        "states": np.zeros((n, 6), np.float32),
        "actions": np.zeros((n, 2), np.float32),
        "images": np.zeros((n, *image), np.uint8),
        "rewards": np.zeros(n, np.float32),
        "terminals": np.zeros(n, bool),
        "traj_lengths": np.full(episodes, MAX_STEPS, np.int64),
    }
    distances = np.zeros(n)
    obs: dict[str, np.ndarray] = {}
    for row in tqdm(range(n), desc=title, unit="step"):
        if row % MAX_STEPS == 0:
            obs, _ = env.reset(seed=seed if row == 0 else None)
        action = act(body, rng).astype(np.float32)
        data["states"][row], data["images"][row] = obs["state"], obs["rgb"]
        data["actions"][row] = action
        obs, data["rewards"][row], *_, info = env.step(action)
        distances[row] = info["distance"]
    env.close()
    return data, distances


def summarise(rewards: np.ndarray, chunk: int = 4) -> dict[str, np.ndarray]:
    """Episode rewards and success as the agents count them, each (episodes,).

    Args:
        rewards: Of steps, (50 * episodes,).
        chunk: Steps of a chunk; success is a whole chunk at the target.
    """
    steps = rewards.reshape(-1, MAX_STEPS)
    padded = np.pad(steps, ((0, 0), (0, -MAX_STEPS % chunk)))
    chunks = padded.reshape(len(steps), -1, chunk).sum(-1)
    return {"reward": steps.sum(1), "success": chunks.max(1) >= chunk}


def generate(save_dir: str | Path, n_demos: int, seed: int) -> dict[str, Any]:
    """Writes the data set, and returns what source.json says about it.

    Args:
        save_dir: Created if missing.
        n_demos: Episodes.
        seed: Of environment and controller.

    Raises:
        ValueError: n_demos is below 1.
        RenderingError: No renderer works.
    """
    if n_demos < 1:
        raise ValueError(f"n_demos must be >= 1, got {n_demos}.")
    data, _ = roll_out(Demonstrator(), n_demos, seed, "demonstrations")
    episodes = summarise(data["rewards"])
    source = {
        "source": "generated",
        "command": "python script/dataset/generate_pixel_reacher_dataset.py "
        f"--n_demos={n_demos} --seed={seed}",
        "env_id": ENV_ID,
        "seed": seed,
        "steps": len(data["rewards"]),
        "episodes": n_demos,
        "mean_return": float(episodes["reward"].mean()),
        "std_return": float(episodes["reward"].std()),
        "success_rate": float(episodes["success"].mean()),
        "renderer": os.environ["MUJOCO_GL"],
        "versions": {"gymnasium": gymnasium.__version__, "numpy": np.__version__},
    }
    files: dict[str, Arrays | dict[str, Any]] = {SOURCE_FILE: source, "train.npz": data}
    write_together(save_dir, files, compress=True)
    return source


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    data_dir = os.environ.get("DPPO_DATA_DIR") or "data"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n_demos", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save_dir", default=f"{data_dir}/pixel/reacher")
    options = parser.parse_args(arguments)
    source = generate(options.save_dir, options.n_demos, options.seed)
    print(
        f"{options.save_dir}: {source['episodes']} episodes, reward "
        f"{source['mean_return']:.1f} +- {source['std_return']:.1f} of {MAX_STEPS}, "
        f"success rate {source['success_rate']:.3f}"
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"Error: {error}")
