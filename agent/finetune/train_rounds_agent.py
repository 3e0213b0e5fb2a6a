"""Off-policy agents that learn after each rollout: a buffer, then rounds of steps.

The reference writes this loop in each of its agents. Here a leaf says what a round is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.checkpoints import buffer_folder
from agent.common.learner import Learner, learner_keys, learner_of
from agent.common.replay import ReplayBuffer
from agent.common.rollout import Rollout, RolloutPlan, to_tensors
from agent.common.rounds import Batch, Losses, Rounds, as_rows, jit_where
from agent.common.setup import make_samplers
from agent.common.transitions import Transitions
from agent.finetune.train_agent import TrainAgent
from util.checkpoint import StateRegistry
from util.config import compat
from util.seeding import Draws


class TrainRoundsAgent(TrainAgent):
    """Owns the buffer, the learners, and how many rounds an iteration takes.

    A round is a batch of `train.batch_size` rows; an iteration takes as many that
    `train.replay_ratio` rows are learned from for each row that it collects. Until
    `train.n_critic_warmup_itr` the actor takes no step.
    """

    config_keys: ClassVar[frozenset[str]] = TrainAgent.config_keys | {
        "train.gamma",
        "train.buffer_size",
        "train.scale_reward_factor",
        "train.n_step",
        "train.replay_ratio",
        "train.n_critic_warmup_itr",
        *learner_keys("actor_", "critic_"),
    }
    console: ClassVar[tuple[str, ...]] = ("loss - actor", "loss - critic")
    # The buffer makes `last` large, so it is written now and then.
    save_last_minutes = 5.0
    # Critics by the name of their learner: attributes of the model.
    critics: ClassVar[tuple[str, ...]] = ("critic",)
    # What a round returns.
    losses: ClassVar[tuple[str, ...]] = ("loss - critic", "loss - actor")
    rounds_per_call = 32
    # Rows of the buffer are vector steps: `train.buffer_size` counts those.
    counts_vector_steps: ClassVar[bool] = False
    # Whether the reference acts on the last observation of an episode after its end.
    aliases_final_obs: ClassVar[bool] = False

    def build(self) -> None:
        """Makes the buffer, the learners and the compiled functions."""
        train = self.cfg.train
        self.gamma, self.replay_ratio = train.gamma, train.replay_ratio
        self.scale_reward_factor = train.scale_reward_factor
        self.warmup = train.n_critic_warmup_itr
        self.check_rounds()
        wide = self.venv.num_envs if self.counts_vector_steps else 1
        self.transitions = Transitions(
            train.gamma, train.scale_reward_factor, train.get("n_step", 1)
        )
        self.buffer = ReplayBuffer(train.buffer_size * wide, buffer_folder(self.cfg))
        self.learners = self.make_learners()
        self.actor_learner = self.learners["actor"]
        self.jit = jit_where(self.actor_learner.params)
        self.rounds = Rounds(self.round, self.losses, self.rounds_per_call, self.jit)
        self._sample = make_samplers(self.model, **self.sampling())
        self.collector.acts_on_final_obs = self.aliases_final_obs and compat(
            "final_obs_aliasing"
        )

    def check_rounds(self) -> None:
        """Refuses settings with which no round would be taken.

        Raises:
            ValueError: Names them.
        """
        collected = self.n_steps * self.venv.num_envs
        if int(collected / self.batch_size * self.replay_ratio) < 1:
            raise ValueError(
                f"train.replay_ratio={self.replay_ratio} with train.batch_size="
                f"{self.batch_size} gives no batch for the {collected} rows that an "
                "iteration collects (train.n_steps * env.n_envs)."
            )

    def make_learners(self) -> dict[str, Learner]:
        """Actor and critics; only the actor's gradient is clipped."""
        train = self.cfg.train
        actor = self.model.actor.parameters()
        learners = {"actor": learner_of(train, "actor_", actor, self.max_grad_norm)}
        for name in self.critics:
            params = getattr(self.model, self.critic_module(name)).parameters()
            learners[name] = learner_of(train, "critic_", params)
        return learners

    def critic_module(self, name: str) -> str:
        """The attribute of the model that the learner called `name` trains."""
        return name

    def state(self) -> StateRegistry:
        """Adds the learners and the buffer."""
        registry = super().state()
        for name, learner in self.learners.items():
            registry.add(f"{name} learner", learner)
        registry.add("buffer", self.buffer)
        if self.transitions.n_step.n > 1:
            registry.add("n_step", self.transitions.n_step)
        return registry

    # -- acting -----------------------------------------------------------------------

    def sampling(self) -> dict[str, Any]:
        """What `forward` of the model is given besides observations and noise."""
        return {}

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da)."""
        noise = self.acting_noise(explore)
        return self._sample[explore](to_tensors(obs), noise).numpy(), {}

    def acting_noise(self, explore: bool) -> list | None:
        """Recorded draws of one sampling call, if there are any."""
        return self.draws.recorded(1 + self.model.denoising_steps)

    # -- learning ---------------------------------------------------------------------

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """One round (compiled): losses by name.

        Args:
            batch: obs, next_obs, actions, rewards, terminated of B rows.
            flags: "actor" says whether the actor takes its step.
            noise: Recorded draws in order; None draws.
        """
        raise NotImplementedError

    def round_noise(self) -> list | None:
        """Recorded draws of one round, if there are any."""
        raise NotImplementedError

    def source(self, noise: list | None) -> Draws:
        """The draws of a round, for all parts of it."""
        return self.model.draws(noise)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Stores the transitions and takes the rounds."""
        self.buffer.add(self.transitions(rollout))
        count = int(rollout.rewards.size / self.batch_size * self.replay_ratio)
        self.trace("buffer", buffer=self.buffer, count=count)
        return self.take_rounds(count)

    def take_rounds(self, count: int) -> dict[str, float]:
        """Rounds on random rows of the buffer; losses of the last one."""
        found: Losses = {}
        for size in self.rounds.sizes(count, self.draws.replays):
            rows = self.choose(size, len(self.buffer))
            batches = as_rows(self.buffer.take(rows))
            found = self.rounds(batches, self.flags(), self.round_noise())
            self.trace("round", rows=rows[-1], losses=found)
        return {name: float(value) for name, value in found.items()}

    def flags(self) -> dict[str, tf.Tensor]:
        """Whether the actor takes its steps in this iteration."""
        return {"actor": tf.constant(self.itr >= self.warmup)}

    def choose(self, count: int, among: int) -> np.ndarray:
        """Indices (count, B) below `among`, with replacement."""
        shape = (count, self.batch_size)
        return self.draws.choice(
            among, self.batch_size if count == 1 else shape
        ).reshape(shape)

    def step_critic(self, name: str, loss: Any) -> tf.Tensor:
        """One step of a critic on `loss()`, which is returned (compiled)."""
        return self.step(name, loss, True)

    def step(self, name: str, loss: Any, due: tf.Tensor | bool) -> tf.Tensor:
        """One step of a learner on `loss()`, if it is due (compiled)."""
        return self.learners[name].minimise(loss, due)

    def end_iteration(self, plan: RolloutPlan) -> None:
        """All schedules go on, in evaluations too."""
        for learner in self.learners.values():
            learner.step_schedule()
