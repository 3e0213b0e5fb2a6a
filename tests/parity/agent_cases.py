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
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from agent.common.rollout import to_tensors
from agent.dataset.gather import discounted_returns
from agent.finetune.train_ppo_gaussian_agent import ChunkRows
from agent.finetune.train_rwr_diffusion_agent import TrainRWRDiffusionAgent
from tests.fakes import ScriptedVectorEnv
from tests.parity.block_cases import episode_arrays
from tests.parity.build import ENSEMBLE, load_parameters, running
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
        return replay_finetuning(case, Path(folder))


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


def replay_finetuning(case: Case, folder: Path, kind: Any = None) -> Produced:
    """Runs an agent on its recorded environment.

    Args:
        case: Its data set, if it has one, is `offline.npz` in the folder.
        folder: Of the run.
        kind: Class of the trace; `FinetuningTrace` by default.
    """
    cfg = OmegaConf.create({**case.meta["cfg"], "logdir": str(folder)})
    if "offline_dataset" in cfg:
        cfg.offline_dataset.dataset_path = str(folder / "offline.npz")
    venv = ScriptedVectorEnv(case.inputs()["env"], (1, cfg.action_dim))
    agent = make_agent(case, cfg, venv=venv)
    tape = TapeDraws(case.noise_names, case.noise)
    trace = (kind or FinetuningTrace)(agent, tape)
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
        if hasattr(agent.model, "choice_logits"):
            self._note_choices(agent)

    def _note_choices(self, agent: Any) -> None:
        """Also records with which probabilities an agent chooses among its samples."""
        acting_noise, number = agent.acting_noise, iter(range(10**6))

        def noted(explore: bool) -> list:
            noise = acting_noise(explore)
            if explore:
                model, count = agent.model, agent.cfg.train.eval_sample_num
                obs = to_tensors(agent.collector.obs)
                samples = model.candidates(obs, count, False, noise[:-1])
                advantages = model.score(obs, samples) - model.value(obs)
                weights = tf.exp(model.choice_logits(advantages, 0.7))
                shares = tf.transpose(weights / tf.reduce_sum(weights, axis=0))
                self.recorder.produced[f"out/multinomial_probs/{next(number)}"] = (
                    shares.numpy()
                )
            return noise

        agent.acting_noise = noted

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
        if isinstance(self.agent, TrainRWRDiffusionAgent):
            found["returns_trajs_split"] = self._returns(rollout, episodes.spans)
        self.recorder.add("rollout", {**values, **found})

    def _returns(self, rollout: Any, spans: np.ndarray) -> np.ndarray:
        """Discounted returns within the episodes of a rollout."""
        pieces = [rollout.rewards[a : b + 1, env] for env, a, b in spans]
        lengths = np.array([len(piece) for piece in pieces])
        gamma = self.agent.cfg.train.gamma
        return discounted_returns(np.concatenate(pieces), lengths, gamma)

    def on_augmented(self, images: Any) -> None:
        """Shifted images by row (step, env)."""
        shape = (-1, self.agent.venv.num_envs, *images.shape[1:])
        self.recorder.add("augmented", {"rgb": images.numpy().reshape(shape)})

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
            steps = self._rows_of_a_chunk()
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
        return shape[0] * self._rows_of_a_chunk()

    def _rows_of_a_chunk(self) -> int:
        """Rows that minibatches are drawn from, for each chunk."""
        if isinstance(self.agent, ChunkRows):
            return 1
        return self.agent.model.ft_denoising_steps

    def on_buffer(self, buffer: Any, count: int) -> None:
        """What the rounds of an iteration are drawn from.

        The reference's loop over rounds is passed once more than it is entered.
        """
        if self.agent.counts_vector_steps:
            for _ in range(count + 1):
                rows = self._columns(buffer, count, "trajs")
                self.recorder.add("buffer", rows)

    @staticmethod
    def _columns(buffer: Any, count: int, kind: str) -> dict[str, Any]:
        """Rows of a buffer by age under the recorded names."""
        names = {"actions": "action", "rewards": "reward"}
        rows = buffer.take(np.arange(len(buffer))).items()
        return {f"{names.get(k, k)}_{kind}": v for k, v in rows} | {"num_batch": count}

    def _record_buffer(self) -> None:
        agent = self.agent
        size = agent.n_steps * agent.venv.num_envs
        count = int(size / agent.batch_size * agent.replay_ratio)
        rows = self._columns(agent.buffer, count, "array")
        self.recorder.add("buffer_before_batch", rows)

    def on_round(self, rows: Any, losses: Any) -> None:
        """A round of gradient steps."""
        self._record_buffer()
        critic, actor = losses["loss - critic"], losses["loss - actor"]
        self.recorder.add("critic_update", {"inds": rows, "loss_critic": critic})
        value = losses.get("loss - critic v", critic)
        self.recorder.add("v_update", {"inds": rows, "critic_loss_v": value})
        q = losses.get("loss - critic q", critic)
        self.recorder.add("q_update", {"critic_loss_q": q})
        self.recorder.add("actor_update", {"inds": rows, "loss_actor": actor})

    def on_critic_round(self, rows: Any, loss: Any, batch: Any) -> None:
        """The critic's part of a round that is taken in parts."""
        self._record_buffer()
        names = {"rewards_b": batch["rewards"], "terminated_b": batch["terminated"]}
        values = {"inds": rows, "loss_critic": loss, **names}
        self.recorder.add("critic_update", values)

    def on_actor_round(self, rows: Any, loss: Any, guided: Any) -> None:
        """The actor's part, with the actions that it cloned."""
        flat = {"inds": rows, "guided_action": guided}
        self.recorder.add("guided", flat)
        self.recorder.add("actor_update", {"inds": rows, "loss_actor": loss})

    def on_td(self, steps: Any, values: Any, targets: Any) -> None:
        """Values and targets before the critic learns; the reference's line is passed
        twice."""
        rows = {f"{key}_trajs": steps[key] for key in ("obs", "terminated")}
        rows["reward_trajs"] = steps["rewards"]
        flat_obs = steps["obs"].reshape(-1, *steps["obs"].shape[2:])
        found = {"values_trajs": values, "td_trajs": targets}
        flat = {"obs_t": flat_obs, "td_t": targets.reshape(-1)}
        for _ in range(2):
            self.recorder.add("td", {**rows, **found, **flat})

    def on_adv(self, values: Any, targets: Any) -> None:
        """Values, targets and advantages before the actor learns; twice, too."""
        found = {"values_trajs": values, "td_trajs": targets}
        for _ in range(2):
            self.recorder.add("adv", {**found, "advantages_trajs": targets - values})

    def on_weights(self, rows: Any) -> None:
        """Rows of reward-weighted regression."""
        values = {
            "returns_trajs_split": rows["returns"],
            "rewards_k": rows["returns"],
            "rewards_k_scaled": rows["weights"],
            "obs_k/state": rows["state"],
            "samples_k": rows["samples"],
        }
        self.recorder.add("weights", values)

    def on_weighted_round(self, rows: Any, batch: Any, losses: Any) -> None:
        """A round of a weighted regression, of the critic or of the policy."""
        if "targets" in batch:
            loss = losses["loss - critic"]
            self.recorder.add("critic_update", {"inds": rows, "loss_critic": loss})
        elif "advantages" in batch:
            own = tf.constant(batch["advantages"][0])
            values = {
                "advantages_b": self.agent.normalise(own),
                "advantages_b_scaled": self.agent.weigh(own),
            }
            loss = losses["loss - actor"]
            self.recorder.add(
                "actor_update", {**values, "inds": rows, "loss_actor": loss}
            )
        else:
            values = {"inds_b": rows, "rewards_b": batch["weights"][0]}
            self.recorder.add("update", {**values, "loss": losses["loss"]})

    def on_itr(self, **_: Any) -> None:
        """Parameters and learning rates at the end of an iteration."""
        agent = self.agent
        ensemble = getattr(agent.model, "ensemble_params", {})
        values = {
            "itr": agent.itr,
            **self._rates(),
            **{f"param/{k}": v for k, v in agent.model.state_dict().items()},
            **{f"param/{ENSEMBLE}{k}": v for k, v in ensemble.items()},
        }
        if hasattr(agent, "log_alpha"):
            values["log_alpha"] = agent.log_alpha
        self.recorder.add("itr", values)

    def _rates(self) -> dict[str, float]:
        """Learning rates by the name of their learner."""
        if hasattr(self.agent, "learners"):
            learners = self.agent.learners
            return {f"lr_{name}": learner.lr for name, learner in learners.items()}
        names = ("actor", "critic")
        return {f"lr_{n}": getattr(self.agent, f"{n}_learner").lr for n in names}
