"""The PyTorch peer's training: cloning steps, PPO minibatches, a whole iteration."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from tests.bench import peer_build
from util.reward_scaling import RunningRewardScaler

Data = dict[str, Any]


def tensors(obs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Observations as the networks want them, images too."""
    return {key: torch.from_numpy(value).float() for key, value in obs.items()}


def rows_of(
    tree: Mapping[str, torch.Tensor], rows: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Rows of each tensor."""
    return {key: value[rows] for key, value in tree.items()}


class Cloning:
    """Behaviour cloning with averaged weights.

    Args:
        cfg: Pre-training leaf.
        obs: Of each item, "state" (N, To, Do) and, if it sees, "rgb".
        actions: Of each item, (N, Ta, Da).
    """

    def __init__(
        self, cfg: DictConfig, obs: Mapping[str, np.ndarray], actions: np.ndarray
    ) -> None:
        self.obs, self.actions = tensors(obs), torch.tensor(actions)
        self.model = peer_build.cloning_model(cfg)
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=cfg.train.learning_rate,
            weight_decay=cfg.train.weight_decay,
        )
        self.decay, self.batch_size = cfg.ema.decay, cfg.train.batch_size
        self.frequency = cfg.train.get("update_ema_freq", 10)
        self.count = 0

    def epoch(self) -> float:
        """One pass in random order; returns the mean loss."""
        self.model.train()
        order = torch.randperm(len(self.actions))
        losses = [self.step(rows) for rows in order.split(self.batch_size)]
        return float(np.mean(losses))

    def step(self, rows: torch.Tensor, noise: list | None = None) -> float:
        """One gradient step on the items at `rows`."""
        loss = self.model.loss(self.actions[rows], rows_of(self.obs, rows), noise)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.count % self.frequency == 0:
            self.step_ema()
        self.count += 1
        return loss.item()

    @torch.no_grad()
    def step_ema(self) -> None:
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for mean, new in pairs:
            mean.copy_(self.decay * mean + (1 - self.decay) * new)


class Finetuning:
    """DPPO on an environment.

    Args:
        cfg: Fine-tuning leaf.
        venv: Vector environment; None if `iterate` is not called.
        by_row: See `PPODiffusion`.
    """

    def __init__(self, cfg: DictConfig, venv: Any = None, by_row: bool = False) -> None:
        self.cfg, self.train, self.venv = cfg, cfg.train, venv
        self.model = peer_build.policy(cfg, by_row)
        self.actor_optimizer = self._optimizer("actor", self.model.actor_ft)
        self.critic_optimizer = self._optimizer("critic", self.model.critic)
        self.max_grad_norm = self.train.get("max_grad_norm")
        self.slice_size = self.train.get("logprob_batch_size", 10000)
        self.accumulate = self.train.get("grad_accumulate", 1)
        self.scaler = RunningRewardScaler(cfg.env.n_envs, gamma=self.train.gamma)
        self.obs: np.ndarray | None = None
        self.done = np.zeros(cfg.env.n_envs)

    def _optimizer(self, group: str, module: torch.nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            module.parameters(),
            lr=self.train[f"{group}_lr"],
            weight_decay=self.train[f"{group}_weight_decay"],
        )

    def act(self, obs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Chunks and chains for observations (E, To, ...)."""
        actions, chains = self.model(tensors(obs))
        return actions.numpy(), chains.numpy()

    def iterate(self) -> dict[str, float]:
        """One training iteration."""
        return self.update(self.collect())

    def collect(self) -> Data:
        """One rollout, (S, E, ...)."""
        cfg, steps = self.cfg, self.train.n_steps
        envs, inner = cfg.env.n_envs, cfg.ft_denoising_steps
        if self.obs is None:
            self.obs = self.venv.reset()
            self.done = np.ones(envs)
        obs = np.zeros((steps, envs, cfg.cond_steps, cfg.obs_dim))
        chains = np.zeros((steps, envs, inner + 1, *self.model.chunk))
        rewards, terminated = np.zeros((2, steps, envs))
        firsts = np.zeros((steps + 1, envs))
        firsts[0] = self.done
        for step in range(steps):
            actions, chain = self.act({"state": self.obs})
            obs[step], chains[step] = self.obs, chain
            result = self.venv.step(actions[:, : cfg.act_steps])
            self.obs, rewards[step], terminated[step], truncated = result
            self.done = terminated[step].astype(bool) | truncated
            firsts[step + 1] = self.done
        return {
            "obs": {"state": obs},
            "last_obs": {"state": self.obs},
            "chains": chains,
            "rewards": rewards,
            "terminated": terminated,
            "firsts": firsts,
        }

    def update(self, rollout: Data) -> dict[str, float]:
        """Values, advantages, epochs."""
        data = self.score(rollout)
        rewards = rollout["rewards"]
        if self.train.reward_scale_running:
            rewards = self.scaler(rewards.T, rollout["firsts"][:-1].T).T
        values = data.pop("values").numpy().reshape(rewards.shape)
        with torch.no_grad():
            last = self.model.critic(tensors(rollout["last_obs"]))
        last_value = last.numpy().reshape(1, -1)
        following = np.concatenate([values[1:], last_value])
        going_on = 1.0 - rollout["terminated"]
        gamma, decay = self.train.gamma, self.train.gae_lambda
        deltas = rewards + gamma * following * going_on - values
        advantages, running = np.zeros_like(deltas), np.zeros(deltas.shape[1])
        for step in reversed(range(len(deltas))):
            running = deltas[step] + gamma * decay * going_on[step] * running
            advantages[step] = running
        data["advantages"] = torch.tensor(advantages.reshape(-1)).float()
        data["returns"] = torch.tensor((advantages + values).reshape(-1)).float()
        return self.run_epochs(data)

    @torch.no_grad()
    def score(self, rollout: Data) -> Data:
        """Tensors by row (step, env), with values and log-probabilities."""
        obs = {key: o.flatten(0, 1) for key, o in tensors(rollout["obs"]).items()}
        chains = torch.from_numpy(rollout["chains"]).float().flatten(0, 1)
        values, logprobs = [], []
        for rows in torch.arange(len(chains)).split(self.slice_size):
            piece = rows_of(obs, rows)
            values.append(self.model.critic(piece))
            logprobs.append(self.model.chain_logprobs(piece, chains[rows]))
        shape = (-1, self.model.ft_steps, *self.model.chunk)
        return {
            "obs": obs,
            "chains": chains,
            "values": torch.cat(values),
            "logprobs": torch.cat(logprobs).view(shape),
        }

    def run_epochs(self, data: Data, pairs: int | None = None) -> dict[str, float]:
        """Minibatches of (environment step, denoising step) pairs.

        Args:
            data: What `score` returned, with advantages and returns.
            pairs: How many of them are drawn from; None for all.
        """
        rows = pairs or len(data["chains"]) * self.model.ft_steps
        size = self.train.batch_size
        metrics: dict[str, float] = {}
        for _ in range(self.train.update_epochs):
            order = torch.randperm(rows)
            for number in range(max(1, rows // size)):
                metrics = self.learn(data, order[number * size :][:size])
                if (number + 1) % self.accumulate == 0:
                    self.step()
                if self.train.target_kl and metrics["kl"] > self.train.target_kl:
                    return metrics
        return metrics

    def learn(self, data: Data, rows: torch.Tensor) -> dict[str, float]:
        """Adds the gradients of a minibatch."""
        steps = self.model.ft_steps
        row, inner = rows // steps, rows % steps
        pg_loss, entropy_loss, v_loss, clipfrac, kl, ratio, _ = self.model.ppo_loss(
            rows_of(data["obs"], row),
            data["chains"][row, inner],
            data["chains"][row, inner + 1],
            inner,
            data["returns"][row],
            data["advantages"][row],
            data["logprobs"][row, inner],
        )
        entropy = self.train.get("ent_coef", 0) * entropy_loss
        loss = pg_loss + entropy + self.train.vf_coef * v_loss
        loss.backward()
        return {
            "loss": loss.item(),
            "pg_loss": pg_loss.item(),
            "v_loss": v_loss.item(),
            "clipfrac": clipfrac,
            "kl": kl,
            "ratio": ratio,
        }

    def step(self) -> None:
        """One step of both optimizers."""
        if self.max_grad_norm is not None:
            parameters = self.model.actor_ft.parameters()
            torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        for optimizer in (self.actor_optimizer, self.critic_optimizer):
            optimizer.step()
            optimizer.zero_grad()
