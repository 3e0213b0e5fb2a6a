"""Whole recorded runs of agents, replayed with their environments and draws.

The agent is this project's own and runs its own `run()`. Its hooks `trace` and `draws`
are replaced: the first hands out intermediate values, the second returns the recorded
draws in order and refuses a draw of another kind or shape.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from tests.fakes import ScriptedVectorEnv
from tests.parity.block_cases import episode_arrays
from tests.parity.build import load_parameters, running
from tests.parity.case import Case
from tests.parity.pretrain_cases import replay_pretraining
from tests.parity.scripted import Recorder, TapeDraws

Produced = dict[str, np.ndarray]

RESULTS = "result.pkl"


def replay(case: Case, mode: str) -> Produced:
    """Runs the agent of a case; returns its variables under the recorded names.

    Raises:
        ValueError: The run made other draws than the recorded one.
    """
    with tempfile.TemporaryDirectory() as folder, quiet(), running(mode):
        if "train_dataset" in case.meta["cfg"]:
            return replay_pretraining(case, Path(folder))
        return _replay_finetuning(case, Path(folder))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps an agent's console output back."""
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


def make_agent(case: Case, cfg: DictConfig, **arguments: Any) -> Any:
    """The agent of a case with the recorded parameters."""
    module, _, name = case.meta["class"].rpartition(".")
    agent = getattr(importlib.import_module(module), name)(cfg, **arguments)
    load_parameters(agent.model, case)
    return agent


def run_with_tape(agent: Any, tape: TapeDraws, trace: Any) -> None:
    """Runs an agent on recorded draws.

    Raises:
        ValueError: Some of them were not used.
    """
    agent.draws, agent.trace = tape, trace
    agent.run()
    if tape.left:
        raise ValueError(f"{tape.left} recorded draws were not made.")


# -- fine-tuning -----------------------------------------------------------------------


def _replay_finetuning(case: Case, folder: Path) -> Produced:
    cfg = OmegaConf.create({**case.meta["cfg"], "logdir": str(folder)})
    venv = ScriptedVectorEnv(case.inputs()["env"], (1, cfg.action_dim))
    agent = make_agent(case, cfg, venv=venv)
    tape = TapeDraws(case.noise_names, case.noise)
    trace = FinetuningTrace(agent, tape)
    run_with_tape(agent, tape, trace)
    return {
        **trace.recorder.produced,
        "out/env/actions": np.stack(venv.actions),
        "out/env/resets_before_step": np.array(venv.resets_before_step),
        **_results(folder / RESULTS, case),
    }


def _results(path: Path, case: Case) -> Produced:
    """Columns of `result.pkl`, NaN where a row has no value.

    The reference writes the file in logged iterations only, so its last one may lack
    rows of the end of the run; ours has all of them.
    """
    recorded = case.under("out/run_results/")
    length = max((len(value) for value in recorded.values()), default=0)
    rows = pickle.loads(path.read_bytes())[:length]  # noqa: S301 - written just now
    return {
        f"out/run_results/{key}": np.array([row.get(key, np.nan) for row in rows])
        for key in recorded
    }


class FinetuningTrace:
    """An agent's trace as the recorded labels and variables.

    Args:
        agent: The agent.
        tape: Its draws; says which rows were chosen.
    """

    def __init__(self, agent: Any, tape: TapeDraws) -> None:
        self.agent, self.tape, self.recorder = agent, tape, Recorder()
        self.clipfracs: list[float] = []

    def __call__(self, label: str, **values: Any) -> None:
        """The hook; labels without a method are not recorded."""
        method = getattr(self, f"on_{label}", None)
        if method is not None:
            method(**values)

    def on_rollout(self, rollout: Any, episodes: Any, plan: Any) -> None:
        """Collected arrays and episode statistics."""
        self.clipfracs = []
        found = {
            key.removeprefix("out/"): value
            for key, value in episode_arrays(episodes, rollout.rewards).items()
        }
        values = {
            "eval_mode": not plan.learn,
            "firsts_trajs": rollout.firsts,
            "reward_trajs": rollout.rewards,
            "terminated_trajs": rollout.terminated,
            "cnt_train_step": self.agent.train_steps,
            **{f"{key}_trajs": value for key, value in rollout.extras.items()},
            **{f"obs_trajs/{key}": value for key, value in rollout.obs.items()},
        }
        self.recorder.add("rollout", {**values, **found})

    def on_gae(
        self, rewards: Any, data: Any, last_obs: Any, **values: np.ndarray
    ) -> None:
        """Values, advantages and returns; `data` holds old log-probabilities."""
        flat = {
            f"{key}_k": value.astype(np.float32).reshape(-1)
            for key, value in values.items()
        }
        trajs = {f"{key}_trajs": value for key, value in values.items()}
        last = {
            f"obs_venv_ts/{key}": value.astype(np.float32)
            for key, value in last_obs.items()
        }
        scored = {"logprobs_trajs": data["logprobs"], "reward_trajs": rewards}
        self.recorder.add("gae", {**flat, **trajs, **last, **scored})

    def on_minibatch(self, losses: Any, rows: Any = None) -> None:
        """Rows and losses of one minibatch."""
        self.clipfracs.append(float(losses.clipfrac))
        values = {**losses._asdict(), "loss": self.agent.total_loss(losses)}
        if rows is not None:
            steps = getattr(self.agent.model, "ft_denoising_steps", 1)
            inner = {"denoising_inds_b": np.array(rows) % steps}
            values |= {"inds_b": rows, "batch_inds_b": np.array(rows) // steps, **inner}
        self.recorder.add("update", values)

    def on_end_update(self, metrics: Any, plan: Any) -> None:
        """How an update ended."""
        values: dict[str, Any] = {"eval_mode": not plan.learn}
        if self.clipfracs:
            data_rows = self._rows_of_last_update()
            batches = max(1, data_rows // self.agent.batch_size)
            last = len(self.clipfracs) - 1
            values |= {
                "explained_var": metrics["explained variance"],
                "clipfracs": self.clipfracs,
                "mean_clipfrac": metrics["clipfrac"],
                "last_update_epoch": last // batches,
                "last_batch": last % batches,
                "flag_break": last + 1 < batches * self.agent.update_epochs,
            }
        self.recorder.add("end_update", values)

    def _rows_of_last_update(self) -> int:
        number = self.recorder.count("gae") - 1
        shape = self.recorder.produced[f"out/gae/{number}/logprobs_trajs"].shape
        steps = getattr(self.agent.model, "ft_denoising_steps", 1)
        return shape[0] * steps

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
        values = {"loss_alpha": loss_alpha, "grad_log_alpha": self._alpha_gradient()}
        self.recorder.add("temperature_update", values)

    def _alpha_gradient(self) -> np.ndarray:
        """The last gradient of log_alpha, from Adam's first moment."""
        optimizer = self.agent.alpha_learner.optimizer
        moment, beta = optimizer.exp_avg[0].numpy(), optimizer.betas[0]
        before = getattr(self, "_alpha_moment", 0.0)
        self._alpha_moment = moment
        return (moment - beta * before) / (1.0 - beta)

    def on_itr(self, **_: Any) -> None:
        """Parameters and learning rates at the end of an iteration."""
        agent = self.agent
        values = {
            "itr": agent.itr,
            "lr_actor": agent.actor_learner.lr,
            "lr_critic": agent.critic_learner.lr,
            **{f"param/{k}": v for k, v in agent.model.state_dict().items()},
        }
        if hasattr(agent, "log_alpha"):
            values["log_alpha"] = agent.log_alpha
        self.recorder.add("itr", values)
