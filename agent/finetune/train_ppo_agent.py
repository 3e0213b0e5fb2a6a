"""PPO on rollouts: values, reward scaling, GAE, epochs of minibatches, KL stop.

Leaves say how to act, which rows there are, and what the losses of a minibatch are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.blocks import gradients_in_blocks
from agent.common.learner import Learner, host_flag, learner_keys, learner_of
from agent.common.rollout import Rollout, RolloutPlan, tensor_type, to_tensors
from agent.common.setup import make_samplers
from agent.finetune.train_agent import TrainAgent
from model.common.objectives import gae
from util.checkpoint import StateRegistry
from util.config import compat
from util.device import shared_devices
from util.reward_scaling import RunningRewardScaler
from util.stats import explained_variance
from util.torch_to_tf import nn_DataParallel

logger = logging.getLogger(__name__)

Tensors = dict[str, Any]

# Not slower than all rows at once (`python -m tests.bench.compilation`), less memory.
CPU_BLOCK_SIZE = 5000


class TrainPPOAgent(TrainAgent):
    """Actor and critic learners and the update of one iteration."""

    config_keys: ClassVar[frozenset[str]] = TrainAgent.config_keys | {
        "train.block_size",
        "train.logprob_batch_size",
        "train.gamma",
        "train.n_critic_warmup_itr",
        "train.target_kl",
        "train.update_epochs",
        "train.reward_scale_running",
        "train.reward_scale_const",
        "train.gae_lambda",
        "train.ent_coef",
        "train.vf_coef",
        "train.use_bc_loss",
        "train.bc_loss_coeff",
        *learner_keys("actor_", "critic_"),
    }
    # Whether `device` may name several, which then share the rows of a minibatch.
    shares_devices: ClassVar[bool] = True
    # Rows that a CPU evaluates at once, if `train.block_size` does not say.
    cpu_block_size: ClassVar[int] = CPU_BLOCK_SIZE
    # Compiled functions that `compile` makes.
    value: Callable[[Tensors], tf.Tensor]
    learn_step: Callable[[Tensors, tf.Tensor, Tensors], Any]

    def build(self) -> None:
        """Makes both learners, the reward scaler and the compiled functions."""
        train = self.cfg.train
        self.gamma, self.gae_lambda = train.gamma, train.get("gae_lambda", 0.95)
        self.warmup = train.n_critic_warmup_itr
        self.update_epochs, self.target_kl = train.update_epochs, train.target_kl
        self.ent_coef = train.get("ent_coef", 0)
        self.vf_coef = train.get("vf_coef", 0)
        self.use_bc_loss = train.get("use_bc_loss", False)
        self.bc_loss_coeff = train.get("bc_loss_coeff", 0)
        self.reward_scale_const = train.get("reward_scale_const", 1)
        self.slice_size = train.get("logprob_batch_size", 10000)
        self._check_ppo()
        self.block_size = self._block_size()
        self.learners = self.make_learners()
        self.actor_learner = self.learners["actor"]
        self.critic_learner = self.learners["critic"]
        self.parallel = nn_DataParallel(
            shared_devices(self.cfg.get("device", "auto")),
            self.model.actor_ft,
            self.model.critic,
        )
        self.reward_scaler = None
        if train.reward_scale_running:
            old = compat("reward_scale_gamma_099")
            self.reward_scaler = RunningRewardScaler(
                self.venv.num_envs, gamma=0.99 if old else self.gamma
            )
        self.compile()

    def _check_ppo(self) -> None:
        if self.slice_size < 1:
            raise ValueError(
                f"train.logprob_batch_size must be >= 1, got {self.slice_size}."
            )
        if self.update_epochs < 1:
            raise ValueError(
                f"train.update_epochs must be >= 1, got {self.update_epochs}."
            )

    def _block_size(self) -> int | None:
        """Rows of a minibatch that are evaluated at once.

        All of them with a GPU, which many rows keep busy, and where the loss draws for
        the whole minibatch.
        """
        size = self.cfg.train.get("block_size")
        if size is not None and size < 1:
            raise ValueError(f"train.block_size must be >= 1 or null, got {size}.")
        if self.use_bc_loss or shared_devices(self.cfg.get("device", "auto")):
            return None
        on_cpu = "CPU" in self.model.critic.parameters()[0].value.device
        return self.cpu_block_size if size is None and on_cpu else size

    def make_learners(self) -> dict[str, Learner]:
        """Learners by name; only the actor's gradient is clipped."""
        return {
            "actor": self.make_learner(
                "actor", self.model.actor_ft, self.max_grad_norm
            ),
            "critic": self.make_learner("critic", self.model.critic, None),
        }

    def make_learner(
        self, group: str, module: Any, max_grad_norm: float | None
    ) -> Learner:
        """The learner of `train.<group>_*` on a module's parameters."""
        params = module.parameters()
        return learner_of(self.cfg.train, f"{group}_", params, max_grad_norm)

    def state(self) -> StateRegistry:
        """Adds learners and the reward scaler."""
        registry = super().state()
        for name, learner in self.learners.items():
            registry.add(f"{name} learner", learner)
        if self.reward_scaler is not None:
            registry.add("reward scaler", self.reward_scaler)
        return registry

    # -- what leaves define ---------------------------------------------------------

    # What `forward` of the model is given besides observations and noise.
    sampling: ClassVar[Mapping[str, Any]] = {}

    def policy_noise(self, rows: int) -> list | None:
        """Draws of one sampling call for `rows` observations, if they are recorded."""
        raise NotImplementedError

    def rows(self, data: Tensors) -> int:
        """Number of rows that minibatches are drawn from."""
        raise NotImplementedError

    def prepare(self, data: Tensors, rows: tf.Tensor) -> Tensors:
        """What the rows (B,) of a minibatch share, one entry for each row.

        At least "advantages", as the loss weighs them; "values" if they are at hand.
        """
        raise NotImplementedError

    def losses(
        self, data: Tensors, rows: tf.Tensor, prepared: Tensors, noise: list | None
    ) -> Any:
        """Terms of the loss and diagnostics, means over rows (B,) of a minibatch."""
        raise NotImplementedError

    # -- compiled ---------------------------------------------------------------------

    def compile(self) -> None:
        """Sampling runs under XLA; large minibatches gain nothing from it on CPU."""
        self._sample = make_samplers(self.model, **self.sampling)
        spec = {
            key: tf.TensorSpec([None, *space.shape], tensor_type(space.dtype))
            for key, space in self.venv.single_observation_space.items()
        }
        self.value = tf.function(self.evaluate, input_signature=[spec])
        self.learn_step = tf.function(self._learn_step)

    def evaluate(self, obs: Tensors) -> tf.Tensor:
        """Values (B, 1) of observations."""
        return self.model.critic(obs)

    def _learn_step(self, data: Tensors, rows: tf.Tensor, inputs: Tensors) -> Any:
        """Computes the losses of rows (B,) and takes one step."""
        params = {name: learner.params for name, learner in self.learners.items()}
        with self.parallel.on():
            losses, grads = self.gradients(data, rows, inputs, tf.nest.flatten(params))
        self.apply_gradients(tf.nest.pack_sequence_as(params, grads), inputs["train"])
        return losses

    def gradients(
        self, data: Tensors, rows: tf.Tensor, inputs: Tensors, params: list
    ) -> tuple[Any, list[tf.Tensor | None]]:
        """Losses of rows (B,) and the gradient of their total (compiled)."""

        def evaluate(rows: tf.Tensor, prepared: Tensors) -> tuple[tf.Tensor, Any]:
            losses = self.losses(data, rows, prepared, inputs.get("noise"))
            return self.total_loss(losses), losses

        return gradients_in_blocks(
            lambda rows: self.prepare(data, rows),
            evaluate,
            rows,
            params,
            self.block_size,
        )

    def total_loss(self, losses: Any) -> tf.Tensor:
        """pg + ent_coef entropy + vf_coef value + bc_loss_coeff bc."""
        return (
            losses.pg_loss
            + self.ent_coef * losses.entropy_loss
            + self.vf_coef * losses.v_loss
            + self.bc_loss_coeff * losses.bc_loss
        )

    # -- update ----------------------------------------------------------------------

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Scores the rollout, estimates advantages, runs the epochs."""
        data = self.score(rollout)
        rewards = self.scale_rewards(rollout)
        values, advantages, returns = self.estimate(rollout, data["obs"], rewards)
        self.trace(
            "gae",
            values=values,
            advantages=advantages,
            returns=returns,
            rewards=rewards,
            data=data,
            last_obs=rollout.last_obs,
        )
        named = {"returns": returns, "values": values, "advantages": advantages}
        flat = {k: v.reshape(-1).astype(np.float32) for k, v in named.items()}
        data |= {name: tf.constant(value) for name, value in flat.items()}
        losses, clipfracs = self.run_epochs(data)
        return {
            **self.summarise_losses(losses),
            "clipfrac": float(np.mean(np.asarray(tf.stack(clipfracs), np.float64))),
            "explained variance": float(
                explained_variance(flat["values"], flat["returns"])
            ),
        }

    def score(self, rollout: Rollout) -> Tensors:
        """Observations, samples and their log-probabilities by row (step, env)."""
        extras = {
            key: tf.constant(value.reshape(-1, *value.shape[2:]))
            for key, value in rollout.extras.items()
        }
        return {"obs": self.observations(rollout.obs), **extras}

    def observations(self, obs: Mapping[str, np.ndarray]) -> Tensors:
        """Observations (S, E, To, ...) by row (step, env), as minibatches see them."""
        return to_tensors({k: v.reshape(-1, *v.shape[2:]) for k, v in obs.items()})

    def summarise_losses(self, losses: Any) -> dict[str, float]:
        """Metrics of the last minibatch under the reference's names."""
        return {
            "loss": float(self.total_loss(losses)),
            "pg loss": float(losses.pg_loss),
            "value loss": float(losses.v_loss),
            "bc loss": float(losses.bc_loss),
            "approx kl": float(losses.approx_kl),
            "ratio": float(losses.ratio),
            "actor lr": self.actor_learner.lr,
            "critic lr": self.critic_learner.lr,
        }

    def scale_rewards(self, rollout: Rollout) -> np.ndarray:
        """Rewards (S, E), divided by the running scale if configured."""
        if self.reward_scaler is None:
            return rollout.rewards
        return self.reward_scaler(rollout.rewards.T, rollout.firsts[:-1].T).T

    def estimate(
        self, rollout: Rollout, obs: Tensors, rewards: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, advantages and returns, each (S, E) float64.

        A truncated episode is bootstrapped from its final observation.

        Args:
            rollout: One iteration.
            obs: Its observations by row (step, env), as minibatches see them.
            rewards: Scaled, (S, E).
        """
        values = self.values_of(obs).reshape(rewards.shape)
        last = self.values_of(to_tensors(rollout.last_obs))
        next_values = np.concatenate([values[1:], last[None]])
        cut = rollout.terminated
        if not compat("gae_ignores_truncation"):
            cut = rollout.done
            for (step, env), value in self._final_values(rollout).items():
                next_values[step, env] = value
        advantages, returns = gae(
            rewards * self.reward_scale_const,
            values,
            next_values,
            rollout.terminated,
            cut,
            self.gamma,
            self.gae_lambda,
        )
        return values, advantages, returns

    def _final_values(self, rollout: Rollout) -> dict[tuple[int, int], float]:
        if not rollout.final_obs:
            return {}
        places = list(rollout.final_obs)
        stacked = {
            key: np.stack([rollout.final_obs[place][key] for place in places])
            for key in rollout.obs
        }
        return dict(zip(places, self.values_of(to_tensors(stacked)), strict=True))

    def values_of(self, obs: Tensors) -> np.ndarray:
        """Values (N,) float64 of observations, each (N, To, ...)."""
        parts = [self.value(piece).numpy().reshape(-1) for piece in self.slices(obs)]
        return np.concatenate(parts).astype(np.float64)

    def slices(self, rows: Tensors) -> Iterator[Tensors]:
        """Pieces of `train.logprob_batch_size` rows of nested arrays."""
        for start in range(0, tf.nest.flatten(rows)[0].shape[0], self.slice_size):
            end = start + self.slice_size
            yield tf.nest.map_structure(lambda v, a=start, b=end: v[a:b], rows)

    def run_epochs(self, data: Tensors) -> tuple[Any, list[tf.Tensor]]:
        """Minibatch steps until the epochs are over or the KL limit is passed.

        The KL divergence is tested after the step that exceeds it, as in the
        reference. It is the one number that the host waits for in each minibatch. The
        remainder of an epoch that fills no batch is skipped.
        """
        losses, clipfracs = None, []
        for _ in range(self.update_epochs):
            order = self.draws.permutation(self.rows(data))
            for number, rows in self.minibatches(order):
                for losses, batch in self.take_step(data, rows, number):
                    self.trace("minibatch", losses=losses, rows=batch)
                    clipfracs.append(losses.clipfrac)
                if self.exceeds_target(losses):
                    return losses, clipfracs
        return losses, clipfracs

    def minibatches(self, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Index and rows (B,) of each minibatch of an epoch."""
        for number in range(max(1, len(order) // self.batch_size)):
            yield number, order[number * self.batch_size :][: self.batch_size]

    def take_step(
        self, data: Tensors, rows: np.ndarray, number: int
    ) -> list[tuple[Any, np.ndarray]]:
        """One step of the learners; losses and rows of the minibatches it saw."""
        inputs = self.step_inputs(number)
        return [(self.learn_step(data, tf.constant(rows, tf.int64), inputs), rows)]

    def exceeds_target(self, losses: Any) -> bool:
        """Whether the policy moved further than `train.target_kl`."""
        return self.target_kl is not None and float(losses.approx_kl) > self.target_kl

    def step_inputs(self, number: int) -> Tensors:
        """Inputs of a minibatch step besides the rows; `number` is its index.

        "train" says which learners take a step; those not named always do. "noise" are
        recorded draws of the BC term.
        """
        inputs: Tensors = {"train": {"actor": host_flag(self.itr >= self.warmup)}}
        if self.use_bc_loss:
            inputs["noise"] = self.policy_noise(self.batch_size)
        return inputs

    def apply_gradients(self, grads: Tensors, train: Tensors) -> None:
        """One step of each learner that is due (compiled)."""
        for name, learner in self.learners.items():
            if train.get(name, True):
                learner.apply(grads[name])

    def end_iteration(self, plan: RolloutPlan) -> None:
        """All schedules but the critic's wait for the end of its warm-up."""
        for name, learner in self.learners.items():
            if name == "critic" or self.itr >= self.warmup:
                learner.step_schedule()
