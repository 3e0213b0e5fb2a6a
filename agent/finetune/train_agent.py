"""The loop of every fine-tuning agent: plan, collect, summarise, update, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from omegaconf import DictConfig, OmegaConf

from agent.common.checkpoints import AttributeState, ModuleState, RunCheckpoints
from agent.common.episodes import Episodes
from agent.common.rollout import Collector, NonFiniteError, Rollout, RolloutPlan
from agent.common.setup import (
    ENV_KEYS,
    EpisodeCounter,
    check_sizes,
    make_logger,
    make_model,
    make_venv,
    video_options,
)
from agent.common.trajectories import TrajectoryPlots, trajectory_arrays
from util.checkpoint import StateRegistry
from util.config import compat
from util.seeding import HostDraws, Seeds

logger = logging.getLogger(__name__)


class TrainAgent:
    """Owns `run`; leaves say how to act and what is special in an update.

    Args:
        cfg: Experiment.
        venv: Vector environment; made from the config if None.
    """

    config_keys: ClassVar[frozenset[str]] = ENV_KEYS | {
        "train.n_train_itr",
        "train.n_steps",
        "train.batch_size",
        "train.val_freq",
        "train.log_freq",
        "train.save_model_freq",
        "train.save_last_minutes",
        "train.force_train",
        "train.max_grad_norm",
        "train.compute_dtype",
        "train.save_trajs",
        "train.render.freq",
        "train.render.num",
        "train.plotter",
    }
    # `last` is written after every iteration, or after this many minutes.
    save_last_minutes = 0.0

    def __init__(self, cfg: DictConfig, venv: Any | None = None) -> None:
        self.cfg, train = cfg, cfg.train
        check_sizes(cfg)
        self._check_train()
        self.seeds = Seeds(cfg.seed)
        self.draws = HostDraws(self.seeds.numpy("agent"))
        self.logdir = Path(cfg.logdir)
        self.render_dir = self.logdir / "render"
        self.plot = TrajectoryPlots(cfg, "train.plotter", self.seeds, self.render_dir)
        self.venv = make_venv(cfg, self.seeds) if venv is None else venv
        self.model = make_model(cfg, self.seeds)
        self.act_steps = cfg.act_steps
        self.n_steps, self.batch_size = train.n_steps, train.batch_size
        self.n_train_itr, self.val_freq = train.n_train_itr, train.val_freq
        self.log_freq = train.get("log_freq", 1)
        self.force_train = train.get("force_train", False)
        self.max_grad_norm = train.get("max_grad_norm")
        self.reset_at_iteration = cfg.env.get("reset_at_iteration", True)
        self.collector = Collector(self.venv, self.act_steps, self.plot.needs_frames)
        self.count_episodes = EpisodeCounter(cfg)
        self.itr, self.train_steps, self.last_itr_eval = 0, 0, False
        self.broken_episodes = 0
        self.logger = make_logger(cfg, self.n_train_itr, "itr", wandb=True)
        self.render_dir.mkdir(parents=True, exist_ok=True)
        self.build()
        self.checkpoints = RunCheckpoints(cfg, self.state(), self.checkpoint_meta)

    # -- what leaves define ---------------------------------------------------------

    def build(self) -> None:
        """Makes learners and compiled functions; called once, after the model."""
        raise NotImplementedError

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da) for observations (E, To, ...), and what to remember."""
        raise NotImplementedError

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Learns from a rollout; returns metrics under the reference's names."""
        raise NotImplementedError

    def evaluated(self, rollout: Rollout) -> dict[str, float]:
        """Called in place of `update` after an evaluation."""
        return {}

    def end_iteration(self, plan: RolloutPlan) -> None:
        """Advances schedules; called after each iteration, evaluations too."""

    def plan(self) -> RolloutPlan:
        """What the next iteration does."""
        evaluate = self.itr % self.val_freq == 0 and not self.force_train
        after_eval = self.last_itr_eval and not compat("no_reset_after_eval")
        return RolloutPlan(
            max_steps=self.n_steps,
            reset=self.reset_at_iteration or evaluate or after_eval,
            explore=not evaluate,
            learn=not evaluate,
        )

    def state(self) -> StateRegistry:
        """Everything that a resumed run needs, by name."""
        registry = StateRegistry()
        registry.add("model", ModuleState(self.model))
        registry.add("seeds", self.seeds)
        registry.add("collector", self.collector)
        registry.add("metrics", self.logger)
        registry.add("loop", AttributeState(self, *self.counters))
        return registry

    def checkpoint_meta(self) -> dict[str, Any]:
        """What a reader of `state_<itr>` wants to know without loading it."""
        own = {"kind": "finetune", "itr": self.itr, "name": self.cfg.get("name")}
        return own | self.model.description()

    # -- the loop ---------------------------------------------------------------------

    def run(self) -> None:
        """Trains until `train.n_train_itr`, from the start or where a run ended."""
        self.checkpoints.resume()
        self.warn_about_length()
        try:
            while self.itr < self.n_train_itr:
                self.iterate()
        finally:
            self.logger.close()
            self.venv.close()

    def iterate(self) -> None:
        """One iteration of the loop."""
        started = time.perf_counter()
        plan = self.plan()
        self.last_itr_eval = not plan.learn
        try:
            rollout = self.collector.collect(plan, self._actor(plan), self._options())
            episodes = self.count_episodes(rollout)
            if plan.learn:
                self.train_steps += rollout.rewards.size * self.act_steps
            self.trace("rollout", rollout=rollout, episodes=episodes, plan=plan)
            learn = self.update if plan.learn else self.evaluated
            metrics = learn(rollout)
            _check_finite(metrics, self.itr)
        except NonFiniteError as error:
            where = self.checkpoints.save_aside(f"nonfinite_{self.itr}")
            raise NonFiniteError(f"iteration {self.itr}: {error} {where}") from error
        self.trace("end_update", metrics=metrics, plan=plan)
        self.plot(rollout, self._shown(), self.itr)
        self.end_iteration(plan)
        self.trace("itr", metrics=metrics)
        save = self.cfg.train.get("save_trajs", False)
        arrays = trajectory_arrays(rollout) if save else {}
        self.report(plan, episodes, metrics, time.perf_counter() - started, arrays)
        self.itr += 1
        self._save()

    def _actor(self, plan: RolloutPlan) -> Any:
        if plan.random:
            return self.act_randomly
        return lambda obs: self.act(obs, explore=plan.explore)

    def act_randomly(self, obs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict]:
        """Uniform actions of the env's bounds, (E, Te, Da)."""
        space = self.venv.single_action_space
        shape = (self.venv.num_envs, self.act_steps, self.cfg.action_dim)
        low, high = (np.broadcast_to(b, shape) for b in (space.low, space.high))
        return self.draws.action_sample(low, high), {}

    def _shown(self) -> int:
        """Environments that are rendered in this iteration."""
        render = self.cfg.train.render
        return render.num if self.itr % render.freq == 0 else 0

    def _options(self) -> list[dict]:
        name = f"itr-{self.itr}_trial-{{}}.mp4"
        return video_options(self.cfg, self.render_dir, self._shown(), name)

    def _save(self) -> None:
        done = self.itr - 1
        frequency = self.cfg.train.save_model_freq
        if done % frequency == 0 or done == self.n_train_itr - 1:
            self.checkpoints.save(done)
        minutes = self.cfg.train.get("save_last_minutes", self.save_last_minutes)
        self.checkpoints.save_last(minutes, force=self.itr == self.n_train_itr)

    # -- reporting --------------------------------------------------------------------

    def report(
        self,
        plan: RolloutPlan,
        episodes: Episodes,
        metrics: Mapping[str, float],
        seconds: float,
        arrays: Mapping[str, Any],
    ) -> None:
        """Writes one iteration's numbers under the reference's names.

        Args:
            plan: What the iteration was to do.
            episodes: Those that ended in it.
            metrics: Of the update.
            seconds: That it took.
            arrays: What else `result.pkl` is to hold of it.
        """
        self.broken_episodes += episodes.broken
        row: dict[str, Any] = {"itr": self.itr, "step": self.train_steps, **arrays}
        if self.should_log(plan):
            row["time"] = seconds
            reward = episodes.mean("rewards")
            if plan.learn:
                row["train_episode_reward"] = reward
                self._report_training(episodes, metrics, reward, seconds)
            else:
                row["eval_success_rate"] = episodes.mean("success")
                row["eval_episode_reward"] = reward
                row["eval_best_reward"] = episodes.mean("best_rewards")
                self._report_evaluation(episodes, row)
        self.logger.record(row)
        if self.should_log(plan):
            self.logger.progress(self.itr + 1, step=self.train_steps)

    def should_log(self, plan: RolloutPlan) -> bool:
        """Whether this iteration is written out."""
        return self.itr % self.log_freq == 0 or not plan.learn

    def _report_training(
        self,
        episodes: Episodes,
        metrics: Mapping[str, float],
        reward: float,
        seconds: float,
    ) -> None:
        scalars = {
            "total env step": self.train_steps,
            **metrics,
            "avg episode reward - train": reward,
            "num episode - train": episodes.count,
        }
        if self.broken_episodes:
            scalars["num broken episode"] = self.broken_episodes
        self.logger.log(self.itr, scalars)
        shown = " | ".join(
            f"{name} {metrics[name]:8.4f}" for name in self.console if name in metrics
        )
        self.logger.console(
            f"{self.itr}: step {self.train_steps:8d} | {shown} | "
            f"reward {reward:8.2f} | t {seconds:6.2f}"
        )

    # Attributes that a resumed run continues from.
    counters: ClassVar[tuple[str, ...]] = (
        "itr",
        "train_steps",
        "last_itr_eval",
        "broken_episodes",
    )
    # Metrics of a training iteration that the console shows.
    console: ClassVar[tuple[str, ...]] = ("loss",)

    def _report_evaluation(self, episodes: Episodes, row: Mapping[str, float]) -> None:
        self.logger.log(
            self.itr,
            {
                "total env step": self.train_steps,
                "success rate - eval": row["eval_success_rate"],
                "avg episode reward - eval": row["eval_episode_reward"],
                "avg best reward - eval": row["eval_best_reward"],
                "num episode - eval": episodes.count,
            },
            commit=False,
        )
        self.logger.console(
            f"{self.itr}: eval: success rate {row['eval_success_rate']:6.3f} | "
            f"avg episode reward {row['eval_episode_reward']:9.2f} | "
            f"avg best reward {row['eval_best_reward']:7.3f} | "
            f"episodes {episodes.count}"
        )
        if not episodes.count:
            logger.warning("itr %d: no episode finished; rewards are 0.", self.itr)

    def warn_about_length(self) -> None:
        """Warns where an iteration is too short for an episode to finish."""
        steps, longest = self.n_steps * self.act_steps, self.cfg.env.max_episode_steps
        if longest is not None and steps < longest:
            logger.warning(
                "train.n_steps=%d chunks of %d steps are shorter than an episode "
                "(env.max_episode_steps=%d): evaluations may finish none. Use "
                "train.n_steps>=%d.",
                self.n_steps,
                self.act_steps,
                longest,
                -(-longest // self.act_steps),
            )

    def trace(self, label: str, **values: Any) -> None:
        """Hook for tests that compare intermediate values; does nothing here."""

    def _check_train(self) -> None:
        for key in _AT_LEAST_ONE:
            value = OmegaConf.select(self.cfg.train, key)
            if value is not None and value < 1:
                raise ValueError(f"train.{key} must be >= 1, got {value}.")
        number, n_envs = self.cfg.train.render.num, self.cfg.env.n_envs
        if number > n_envs:
            raise ValueError(
                f"train.render.num must be <= env.n_envs={n_envs}, got {number}."
            )
        if number <= 0 and self.cfg.env.get("save_video", False):
            raise ValueError(
                f"env.save_video needs train.render.num >= 1, got {number}."
            )


_AT_LEAST_ONE = (
    "n_steps",
    "batch_size",
    "val_freq",
    "log_freq",
    "save_model_freq",
    "render.freq",
)


def _check_finite(metrics: Mapping[str, float], itr: int) -> None:
    """Losses must be finite; explained variance may be NaN for constant returns."""
    for name, value in metrics.items():
        if "loss" in name and not np.isfinite(value):
            raise NonFiniteError(f"{name} is {value}.")
