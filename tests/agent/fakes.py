"""Vector environments with scripted numbers, and leaves that learn nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from agent.common.rollout import Rollout
from agent.finetune.train_agent import TrainAgent
from agent.finetune.train_ppo_agent import TrainPPOAgent
from agent.finetune.train_replay_agent import TrainReplayAgent
from agent.pretrain.train_agent import PreTrainAgent
from model.common.gaussian import Policy
from tests.fakes import ScriptedVectorEnv
from util.torch_to_tf import nn_Linear

Places = Iterable[tuple[int, int]]


class LoggedVectorEnv(ScriptedVectorEnv):
    """A scripted environment that notes calls and may pass all frames.

    Attributes:
        options: Those of each reset of all environments.
        reset_ones: Environments that were reset alone.
        frames: (step, env) -> all observations of that chunk, (n, Do).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options: list[list[dict]] = []
        self.reset_ones: list[int] = []
        self.frames: dict[tuple[int, int], np.ndarray] = {}
        self.says_nan: set[tuple[int, int]] = set()

    def reset_arg(self, options_list: Any) -> dict[str, np.ndarray]:
        self.options.append([dict(options) for options in options_list])
        return super().reset_arg(options_list)

    def reset_one_arg(self, env_ind: int, options: Any = None):
        self.reset_ones.append(env_ind)
        return super().reset_one_arg(env_ind, options)

    def step(self, actions: np.ndarray):
        number = len(self.actions)
        *rest, infos = super().step(actions)
        for env, info in enumerate(infos):
            if (number, env) in self.frames:
                info["full_obs"] = {"state": self.frames[number, env]}
            if (number, env) in self.says_nan:
                info["nan"] = True
        return (*rest, infos)


def scripted(
    steps: int,
    envs: int,
    rewards: Any = None,
    terminated: Places = (),
    truncated: Places = (),
    nan: Places = (),
    action_shape: tuple[int, int] = (2, 1),
    resets: int = 9,
) -> LoggedVectorEnv:
    """An environment whose numbers say where they come from.

    Step k (from 0) returns 10 (k + 1) + env, ends an episode on -(10 (k + 1) + env),
    and the r-th reset returns 1000 (r + 1) + env. To = Do = 1.

    Args:
        steps: Chunk steps in the tables.
        envs: E.
        rewards: (S, E); zeros by default.
        terminated: (step, env) where an episode terminates.
        truncated: (step, env) where one is truncated.
        nan: (step, env) where the observation is NaN.
        action_shape: (Te, Da).
        resets: Resets in the tables.
    """
    column = np.arange(envs)
    obs = (10.0 * (np.arange(steps) + 1))[:, None] + column
    reset = (1000.0 * (np.arange(resets) + 1))[:, None] + column
    final = -obs
    obs = obs.copy()
    for place in nan:
        obs[place] = np.nan
    ends = {name: np.zeros((steps, envs), bool) for name in ("terminated", "truncated")}
    for name, places in (("terminated", terminated), ("truncated", truncated)):
        for place in places:
            ends[name][place] = True
    given = np.zeros((steps, envs)) if rewards is None else np.array(rewards, float)
    tables = {
        "obs": obs[..., None, None],
        "final_obs": final[..., None, None],
        "reset_obs": reset[..., None, None],
        "reward": given,
        **ends,
    }
    return LoggedVectorEnv(tables, action_shape)


def make_rollout(
    rewards: Any,
    terminated: Places = (),
    truncated: Places = (),
    broken: Places = (),
    first: Any = 1.0,
    obs: Any = None,
    last_obs: Any = 0.0,
    final_obs: dict[tuple[int, int], float] | None = None,
) -> Rollout:
    """A rollout of single numbers, To = Do = Te = Da = 1.

    Args:
        rewards: (S, E).
        terminated: (step, env).
        truncated: (step, env).
        broken: (step, env).
        first: Whether the first step starts an episode, (E,).
        obs: (S, E).
        last_obs: (E,).
        final_obs: Number of each truncated (step, env).
    """
    rewards = np.array(rewards, float)
    marks = {}
    for name, places in (
        ("terminated", terminated),
        ("truncated", truncated),
        ("broken", broken),
    ):
        marks[name] = np.zeros(rewards.shape, bool)
        for place in places:
            marks[name][place] = True
    done = marks["terminated"] | marks["truncated"]
    firsts = np.vstack([np.broadcast_to(first, done.shape[1:])[None], done])
    state = np.zeros(rewards.shape) if obs is None else np.array(obs, float)
    last = np.array(np.broadcast_to(last_obs, rewards.shape[1:]), float)
    return Rollout(
        obs={"state": state[..., None, None]},
        actions=np.zeros((*rewards.shape, 1, 1), np.float32),
        extras={},
        rewards=rewards,
        firsts=firsts.astype(float),
        last_obs={"state": last[..., None, None]},
        final_obs={
            place: {"state": np.array([[value]])}
            for place, value in (final_obs or {}).items()
        },
        **marks,
    )


class StubModel(Policy):
    """Linear maps in the places of policy and critic."""

    def __init__(self, horizon_steps: int = 2, action_dim: int = 1) -> None:
        super().__init__()
        self.horizon_steps, self.action_dim = horizon_steps, action_dim
        self.network = nn_Linear(1, 1)
        self.actor_ft = nn_Linear(1, 1)
        self.critic = nn_Linear(1, 1)

    def step(self) -> bool:
        return False


class StubAgent(TrainAgent):
    """Acts with its observation, remembers rollouts, returns `metrics`."""

    metrics: dict[str, float]
    console = ("loss",)

    def build(self) -> None:
        self.metrics = {"loss": 0.5}
        self.rollouts: list[Rollout] = []
        self.explored: list[bool] = []

    def act(self, obs, explore):
        self.explored.append(explore)
        shape = (self.venv.num_envs, self.cfg.horizon_steps, self.cfg.action_dim)
        return np.broadcast_to(obs["state"], shape).astype(np.float32), {}

    def update(self, rollout: Rollout) -> dict[str, float]:
        self.rollouts.append(rollout)
        return self.metrics


class StubReplayAgent(TrainReplayAgent):
    """Counts how often it learns."""

    console = ("loss - critic",)

    def build(self) -> None:
        super().build()
        self.learned: list[int] = []

    def make_learners(self) -> dict:
        return {}

    act = StubAgent.act
    explored = property(lambda self: self.__dict__.setdefault("_explored", []))

    def learn(self) -> dict[str, float]:
        self.learned.append(self.itr)
        return {"loss - critic": float(len(self.learned))}


class StubLosses(NamedTuple):
    """What a minibatch step reports."""

    clipfrac: float
    approx_kl: float


class StubPPOAgent(TrainPPOAgent):
    """Values are observations; minibatch steps report scripted KL divergences."""

    console = ("loss",)
    act = StubAgent.act
    explored = StubReplayAgent.explored

    def compile(self) -> None:
        self.kls: list[float] = []
        self.batches: list[np.ndarray] = []
        self.inputs: list[dict[str, Any]] = []
        self.value_rows: list[int] = []

    def value(self, obs):
        self.value_rows.append(len(obs["state"]))
        return tf.reshape(obs["state"], [-1])

    def score(self, rollout: Rollout) -> dict[str, Any]:
        return {"rows": rollout.rewards.size, "obs": self.observations(rollout.obs)}

    def rows(self, data: dict[str, Any]) -> int:
        return data["rows"]

    def learn_step(self, data, rows, inputs):
        self.batches.append(rows.numpy())
        self.inputs.append(inputs)
        number = len(self.batches) - 1
        return StubLosses(0.25, self.kls[number] if number < len(self.kls) else 0.0)

    def summarise_losses(self, losses: StubLosses) -> dict[str, float]:
        return {"loss": 1.0, "approx kl": losses.approx_kl}


class MeanModel(Policy):
    """One number that is to become the mean of the actions."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.network = nn_Linear(1, 1, bias=False)
        self.network.weight.assign([[start]])

    @property
    def number(self) -> float:
        return float(self.network.weight.numpy()[0, 0])


class MeanAgent(PreTrainAgent):
    """Regression of `MeanModel` on actions: loss (w - a)^2, averaged over the batch."""

    def loss(self, batch, noise=None):
        weight = tf.reshape(self.model.network.weight, [])
        error = weight - batch.actions
        size = tf.constant(len(batch.actions), tf.float32)
        return tf.reduce_mean(error**2), {"size": size}
