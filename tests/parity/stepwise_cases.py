"""Whole recorded runs of agents that learn step by step: SAC, RLPD, IBRL, Cal-QL."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from agent.common.episodes import find_spans
from agent.common.rollout import to_tensors
from agent.dataset.gather import discounted_returns
from tests.parity.agent_cases import FinetuningTrace, quiet, replay_finetuning
from tests.parity.build import recorded_choices, running
from tests.parity.case import Case

Produced = dict[str, np.ndarray]


def replay(case: Case, mode: str) -> Produced:
    """Runs the agent of a case; returns its variables under the recorded names."""
    with tempfile.TemporaryDirectory() as name, quiet(), running(mode):
        if offline := case.inputs().get("offline"):
            np.savez(Path(name) / "offline.npz", **offline)
        return replay_finetuning(case, Path(name), StepwiseTrace)


class StepwiseTrace(FinetuningTrace):
    """An agent's trace as the recorded labels and variables."""

    def _note_choices(self, agent: Any) -> None:
        """Also records how likely the teacher's and the actor's chunks were."""
        acting_noise, number = agent.acting_noise, iter(range(10**6))

        def noted(explore: bool) -> list:
            noise = acting_noise(explore)
            if explore:
                with recorded_choices() as found:
                    agent.model.forward(to_tensors(agent.collector.obs), noise=noise)
                shares = found["multinomial_probs/0"].numpy()
                self.recorder.produced[f"out/multinomial_probs/{next(number)}"] = shares
            return noise

        agent.acting_noise = noted

    def on_rollout(self, rollout: Any, episodes: Any, plan: Any) -> None:
        """Also what was counted, and returns of the episodes that ended."""
        super().on_rollout(rollout, episodes, plan)
        counted = {"n_steps": plan.max_steps, "cnt_episode": int(rollout.done.sum())}
        spans = find_spans(rollout.firsts)
        if len(spans):
            pieces = [rollout.rewards[a : b + 1, env] for env, a, b in spans]
            lengths = np.array([len(piece) for piece in pieces])
            self._returns_split = discounted_returns(
                np.concatenate(pieces), lengths, self.agent.gamma
            )
        counted["returns_trajs_split"] = getattr(self, "_returns_split", [])
        self._amend(counted)

    def _amend(self, values: dict[str, Any]) -> None:
        """Adds variables to the last passage of "rollout"."""
        number = self.recorder.count("rollout") - 1
        for name, value in values.items():
            self.recorder.produced[f"out/rollout/{number}/{name}"] = np.array(value)

    def on_end_update(self, metrics: Any, plan: Any) -> None:
        """Buffers, which the reference fills before the label "rollout"."""
        super().on_end_update(metrics, plan)
        self._amend(self._stored())
        stray = getattr(self.agent, "stray_returns", None)
        if stray is not None and len(stray.returns):
            rows = stray.returns.take(np.arange(len(stray.returns)))
            self._amend({"reward_to_go_buffer": rows["returns"]})

    def _stored(self) -> dict[str, Any]:
        """Columns of the buffer by age, and of the data set, by recorded names."""
        names = {"actions": "action", "rewards": "reward", "returns": "reward_to_go"}
        kinds = ("obs", "next_obs", "terminated", "action", "reward", "reward_to_go")
        found: dict[str, Any] = {f"{kind}_buffer": np.zeros(0) for kind in kinds}
        offline = self.agent.sources[0]
        for source, ending in ((self.agent.buffer, ""), (offline, "_off")):
            rows = source.take(np.arange(len(source))) if len(source) else {}
            found |= {f"{names.get(k, k)}_buffer{ending}": v for k, v in rows.items()}
        return found

    def on_stepwise_round(self, rows: Any, noise: Any, losses: Any) -> None:
        """One round: the critic's part, then those of actor and temperature."""
        batch = {f"{key}_b": value[0] for key, value in rows.items()}
        values = {"inds": self.tape.chosen[-1], "loss_critic": losses["loss - critic"]}
        if "returns_b" in batch:
            batch["reward_to_go_b"] = batch["returns_b"]
            values["random_actions"] = 2.0 * noise[0][0] - 1.0
        if "entropy coeff" in losses:
            values["alpha"] = losses["entropy coeff"]
        self.recorder.add("buffer", self._stored())
        self.recorder.add("critic_update", {**batch, **values})
        if noise[1] is not None:
            self.on_actor_update(losses["loss - actor"], losses.get("loss - alpha"))

    def on_critic_update(self, batch: Any, loss_critic: Any, alpha: Any) -> None:
        """A batch of the buffer and the critic's loss."""
        values = {
            "inds": self.tape.chosen[-1],
            "obs_b": batch["obs"]["state"],
            "next_obs_b": batch["next_obs"]["state"],
            "actions_b": batch["actions"],
            "rewards_b": batch["rewards"],
            "terminated_b": batch["terminated"],
            "alpha": alpha,
            "loss_critic": loss_critic,
        }
        self.recorder.add("critic_update", values)

    def on_actor_update(self, loss_actor: Any, loss_alpha: Any) -> None:
        """Losses of actor and temperature."""
        self.recorder.add("actor_update", {"loss_actor": loss_actor})
        if loss_alpha is None:
            return
        values = {"loss_alpha": loss_alpha, "grad_log_alpha": self._alpha_gradient()}
        self.recorder.add("temperature_update", values)

    def _alpha_gradient(self) -> np.ndarray:
        """The last gradient of log_alpha, from Adam's first moment."""
        optimizer = self.agent.learners["alpha"].optimizer
        moment, beta = optimizer.exp_avg[0].numpy(), optimizer.betas[0]
        before = getattr(self, "_alpha_moment", 0.0)
        self._alpha_moment = moment
        return (moment - beta * before) / (1.0 - beta)
