"""Off-policy agents: a replay buffer, random exploration, step-wise iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from agent.common.checkpoints import ModuleState, buffer_folder
from agent.common.episodes import Episodes
from agent.common.learner import Learner, learner_of
from agent.common.offline import Source, sample_rows
from agent.common.replay import ReplayBuffer
from agent.common.rollout import Rollout, RolloutPlan
from agent.common.rounds import Batch, Losses, Rounds, as_rows
from agent.common.setup import make_samplers
from agent.common.transitions import Transitions
from agent.finetune.train_agent import TrainAgent
from util.checkpoint import StateRegistry
from util.config import compat

EVAL_STEPS = 100_000


class TrainReplayAgent(TrainAgent):
    """Owns the buffer, when to explore at random, when to evaluate and to update.

    An update takes rounds of gradient steps on random rows; a leaf says what a round
    is, how many there are, and in which of them the actor takes its step.
    """

    config_keys: ClassVar[frozenset[str]] = TrainAgent.config_keys | {
        "train.gamma",
        "train.buffer_size",
        "train.scale_reward_factor",
        "train.n_eval_episode",
        "train.n_explore_steps",
        "train.n_step",
    }
    # The buffer makes `last` large, so it is written now and then.
    save_last_minutes = 5.0
    # Whether actions are random until the exploration ends.
    explores_randomly: ClassVar[bool] = True
    # Iterations after the exploration before the first update or evaluation.
    learns_after: ClassVar[int] = 1
    # What a round returns.
    losses: ClassVar[tuple[str, ...]] = ("loss - critic", "loss - actor")
    console: ClassVar[tuple[str, ...]] = ("loss - actor", "loss - critic")
    rounds_per_call = 32

    def build(self) -> None:
        """Makes the buffer, the learners and the compiled functions."""
        train = self.cfg.train
        if train.buffer_size < self.batch_size:
            raise ValueError(
                f"train.buffer_size must be >= train.batch_size={self.batch_size}, "
                f"got {train.buffer_size}."
            )
        self.gamma = train.gamma
        self.scale_reward_factor = train.scale_reward_factor
        self.n_eval_episode = train.n_eval_episode
        self.n_explore_steps = train.n_explore_steps
        self.transitions = Transitions(
            train.gamma, train.scale_reward_factor, train.get("n_step", 1)
        )
        self.buffer = ReplayBuffer(train.buffer_size, buffer_folder(self.cfg))
        self.sources = self.make_sources()
        self.returns = np.zeros(self.venv.num_envs)
        self.finished_returns: list[float] = []
        self.metrics: dict[str, float] = {}
        self.learners = self.make_learners()
        self.rounds = Rounds(self.round, self.losses, self.rounds_per_call)
        self._sample = make_samplers(self.model)

    def make_sources(self) -> Sequence[Source]:
        """Where batches come from, in equal shares."""
        return [self.buffer]

    def make_learners(self) -> dict[str, Learner]:
        """Actor and critic with their schedules."""
        train, actor = self.cfg.train, self.model.network.parameters()
        return {
            "actor": learner_of(train, "actor_", actor),
            "critic": learner_of(train, "critic_", self.critic_parameters()),
        }

    def critic_parameters(self) -> Sequence[keras.Variable]:
        """What the critic's learner trains."""
        return self.model.critic.parameters()

    def state(self) -> StateRegistry:
        """Adds learners, buffer, and critics that the model's state does not have."""
        registry = super().state()
        for name, learner in self.learners.items():
            registry.add(f"{name} learner", learner)
        registry.add("buffer", self.buffer)
        if self.transitions.n_step.n > 1:
            registry.add("n_step", self.transitions.n_step)
        critics = getattr(self.model, "trained_critics", None)
        if critics is not None and compat("stale_ensemble_checkpoint"):
            registry.add("trained critics", ModuleState(critics))
        return registry

    counters = (*TrainAgent.counters, "returns", "finished_returns", "metrics")

    # -- when -------------------------------------------------------------------------

    @property
    def learns(self) -> bool:
        """Whether the exploration is over for updates and evaluations."""
        return self.itr >= self.n_explore_steps + self.learns_after

    def plan(self) -> RolloutPlan:
        """One iteration is `n_steps` chunks, or an evaluation by episodes."""
        evaluate = self.itr % self.val_freq == 0 and self.learns
        after_eval = self.last_itr_eval and not compat("no_reset_after_eval")
        reset = self.reset_at_iteration or evaluate or after_eval or self.itr == 0
        if evaluate:
            return RolloutPlan(
                EVAL_STEPS, self.n_eval_episode, reset, explore=False, learn=False
            )
        random = self.explores_randomly and self.itr < self.n_explore_steps
        return RolloutPlan(self.n_steps, reset=reset, random=random)

    def should_update(self) -> bool:
        """Whether this iteration takes gradient steps."""
        return self.learns and all(len(source) > 0 for source in self.sources)

    # -- learning ---------------------------------------------------------------------

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Stores the transitions and learns when it is time."""
        if len(rollout.rewards):
            self._count(rollout)
            self.buffer.add(self.transitions(rollout, **self.columns(rollout)))
        if self.should_update():
            self.metrics |= self.learn()
        return self.metrics

    def columns(self, rollout: Rollout) -> dict[str, np.ndarray]:
        """More columns of the buffer, each (S, E, ...)."""
        return {}

    def learn(self) -> dict[str, float]:
        """The rounds of one iteration; losses of the last one."""
        count, taken = self.round_count(), 0
        found: Losses = {}
        for size in self.rounds.sizes(count, self.draws.replays):
            rows = sample_rows(self.draws, self.sources, self.batch_size, size)
            acts = self.acts(np.arange(taken, taken + size), count)
            noise = self.round_noise(bool(acts[-1]))
            found = self.rounds({**as_rows(rows), "acts": acts}, {}, noise)
            self.trace("stepwise_round", rows=rows, noise=noise, losses=found)
            taken += size
        return {name: float(found[name]) for name in self.console if name in found}

    def round_count(self) -> int:
        """Rounds of this iteration."""
        raise NotImplementedError

    def acts(self, numbers: np.ndarray, count: int) -> np.ndarray:
        """In which of the rounds (N,) the actor takes its step: the last of `count`."""
        return numbers == count - 1

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """One round (compiled): losses by name.

        Args:
            batch: obs, next_obs, actions, rewards, terminated of B rows; "acts" says
                whether the actor takes its step.
            flags: Nothing.
            noise: Recorded draws of the critic's part and of the actor's; None draws.
        """
        raise NotImplementedError

    def round_noise(self, acts: bool) -> list | None:
        """Recorded draws of both parts of one round, if there are any."""
        raise NotImplementedError

    def _count(self, rollout: Rollout) -> None:
        """Follows episode returns across iterations shorter than an episode."""
        steps = zip(
            rollout.firsts, rollout.rewards, rollout.done, rollout.broken, strict=False
        )
        for first, rewards, done, broken in steps:
            self.returns = np.where(first == 1, 0.0, self.returns) + rewards
            self.finished_returns += [float(r) for r in self.returns[done & ~broken]]
            self.broken_episodes += int(broken.sum())

    # -- reporting --------------------------------------------------------------------

    def warn_about_length(self) -> None:
        """Evaluations run until enough episodes are over, so nothing is too short."""

    def should_log(self, plan: RolloutPlan) -> bool:
        """As the reference, not before the exploration ends; evaluations always."""
        due = self.itr % self.log_freq == 0 and self.itr > self.n_explore_steps
        return due or not plan.learn

    def report(
        self,
        plan: RolloutPlan,
        episodes: Episodes,
        metrics: Mapping[str, float],
        seconds: float,
        arrays: Mapping[str, Any],
    ) -> None:
        """Reports logged iterations only, with returns that span iterations."""
        if not plan.learn:
            self.returns = np.zeros(self.venv.num_envs)
        if compat("single_step_episode_statistics"):
            super().report(plan, episodes, metrics, seconds, arrays)
            return
        if not self.should_log(plan):
            return
        if plan.learn:
            # Broken episodes have been counted already.
            rewards = np.array(self.finished_returns)
            spans = np.zeros((len(rewards), 3), np.int64)
            episodes = Episodes(spans, rewards, rewards, rewards > np.inf)
            self.finished_returns = []
        super().report(plan, episodes, metrics, seconds, arrays)

    def end_iteration(self, plan: RolloutPlan) -> None:
        """All schedules go on, in evaluations too."""
        for learner in self.learners.values():
            learner.step_schedule()
