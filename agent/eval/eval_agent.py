"""Evaluation of a checkpoint: one rollout, one line of numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from omegaconf import DictConfig

from agent.common.rollout import Collector, RolloutPlan
from agent.common.setup import (
    ENV_KEYS,
    EpisodeCounter,
    check_sizes,
    make_logger,
    make_model,
    make_samplers,
    make_venv,
    video_options,
)
from agent.common.trajectories import TrajectoryPlots
from util.seeding import HostDraws, Seeds

logger = logging.getLogger(__name__)


class EvalAgent:
    """Owns `run`; leaves say how to act.

    Args:
        cfg: Experiment.
        venv: Vector environment; made from the config if None.
    """

    config_keys: ClassVar[frozenset[str]] = ENV_KEYS | {
        "n_steps",
        "render_num",
        "plotter",
        "wandb",
    }

    def __init__(self, cfg: DictConfig, venv: Any | None = None) -> None:
        self.cfg = cfg
        check_sizes(cfg)
        if cfg.n_steps < 1:
            raise ValueError(f"n_steps must be >= 1, got {cfg.n_steps}.")
        if cfg.get("render_num", 0) > cfg.env.n_envs:
            raise ValueError(
                f"render_num must be <= env.n_envs={cfg.env.n_envs}, "
                f"got {cfg.render_num}."
            )
        self.seeds = Seeds(cfg.seed)
        self.draws = HostDraws(self.seeds.numpy("agent"))
        self.logdir = Path(cfg.logdir)
        self.render_dir = self.logdir / "render"
        self.plot = TrajectoryPlots(cfg, "plotter", self.seeds, self.render_dir)
        self.venv = make_venv(cfg, self.seeds) if venv is None else venv
        self.model = make_model(cfg, self.seeds)
        self.collector = Collector(self.venv, cfg.act_steps, self.plot.needs_frames)
        self.count_episodes = EpisodeCounter(cfg)
        self.logger = make_logger(cfg, cfg.n_steps, "step", wandb=False)
        self._steps = 0
        self.build()

    def build(self) -> None:
        """Makes the compiled sampler; its arguments: observations, noise."""
        self._sample = make_samplers(self.model)[False]

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da) for observations (E, To, ...)."""
        raise NotImplementedError

    def run(self) -> dict[str, float]:
        """Evaluates `n_steps` chunks and writes `result.npz`."""
        self.render_dir.mkdir(parents=True, exist_ok=True)
        shown = self.cfg.get("render_num", 0)
        options = video_options(self.cfg, self.render_dir, shown, "eval_trial-{}.mp4")
        plan = RolloutPlan(self.cfg.n_steps, reset=True, explore=False, learn=False)
        started = time.perf_counter()
        try:
            rollout = self.collector.collect(plan, self._act_with_progress, options)
        finally:
            self.venv.close()
        self.plot(rollout, shown, itr=0)
        episodes = self.count_episodes(rollout)
        result = {
            "num_episode": episodes.count,
            "eval_success_rate": episodes.mean("success"),
            "eval_episode_reward": episodes.mean("rewards"),
            "eval_best_reward": episodes.mean("best_rewards"),
            "time": time.perf_counter() - started,
        }
        self.logger.log(0, result)
        self.logger.write_npz(self.logdir / "result.npz", result)
        self.logger.console(
            f"eval: num episode {episodes.count} | "
            f"success rate {result['eval_success_rate']:.3f} | "
            f"avg episode reward {result['eval_episode_reward']:.2f} | "
            f"avg best reward {result['eval_best_reward']:.3f}"
        )
        if not episodes.count:
            logger.warning(
                "no episode finished in n_steps=%d chunks of %d steps; an episode "
                "has up to env.max_episode_steps=%s.",
                self.cfg.n_steps,
                self.cfg.act_steps,
                self.cfg.env.max_episode_steps,
            )
        self.logger.close()
        return result

    def _act_with_progress(self, obs: Mapping[str, np.ndarray]) -> tuple:
        self._steps += 1
        self.logger.progress(self._steps)
        return self.act(obs, explore=False)
