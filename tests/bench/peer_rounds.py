"""Q-learning with diffusion policies in plain PyTorch, eager modules and loops.

As in the original, the sampler is a Python loop, DQL's actor loss is differentiated
through it, batches are rows of NumPy arrays, and slow copies are moved parameter by
parameter. Where the original is needlessly slow, this is not: the backward pass of an
actor stops at the critics' inputs, and does not collect gradients of their weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from tests.bench.leaves import layer_widths
from tests.bench.peer_critics import TwinCritic
from tests.bench.peer_model import Cond, Critic, Diffusion, Network

Batch = dict[str, Any]
Draws = Iterator[torch.Tensor] | None


def normal(like: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Standard normal numbers, drawn or recorded."""
    return torch.randn_like(like) if draws is None else next(draws)


def soft_update(target: nn.Module, source: nn.Module, tau: float) -> None:
    """target <- (1 - tau) target + tau source."""
    for slow, new in zip(target.parameters(), source.parameters(), strict=True):
        slow.data.lerp_(new.data, tau)


def bellman_error(
    qs: Sequence[torch.Tensor], batch: Batch, value: torch.Tensor, gamma: float
) -> torch.Tensor:
    """Sum over critics of mean (Q - r - gamma (1 - terminated) V(s'))^2."""
    target = batch["rewards"] + gamma * (1.0 - batch["terminated"]) * value
    return sum(((q - target) ** 2).mean() for q in qs)


class QDiffusion(Diffusion):
    """A policy that explores, and twin critics.

    Args:
        cfg: Experiment.
        critic: Names of the critics and of their slow copies.
    """

    def __init__(self, cfg: DictConfig, critic: tuple[str, str]) -> None:
        node, widths = cfg.model.actor, layer_widths(cfg)
        network = Network(widths["actor"], node.time_dim, node.activation_type)
        super().__init__(cfg, network)
        self.cfg, self.names = cfg.model, critic
        self.actor = self.network
        twins = TwinCritic(widths[critic[0]], cfg.model[critic[0]].activation_type)
        self.add_module(critic[0], twins)
        self.add_module(critic[1], copy.deepcopy(twins))

    def sample(self, cond: Cond, draws: Draws = None) -> torch.Tensor:
        """Chunks (B, Ta, Da) with exploration noise in each step."""
        rows, limit = len(cond["state"]), self.cfg.randn_clip_value
        x = normal(torch.empty(rows, *self.chunk), draws)
        for step in reversed(range(self.steps)):
            t = torch.full((rows,), step, dtype=torch.long)
            mu, logvar = self.posterior(x, t, self.network(x, t, cond))
            std = (0.5 * logvar).exp().clamp(min=self.cfg.min_sampling_denoising_std)
            x = mu + std * normal(x, draws).clamp(-limit, limit)
        return x

    def slow_value(self, obs: Cond, actions: torch.Tensor) -> torch.Tensor:
        return torch.min(*getattr(self, self.names[1])(obs, actions))

    def update_target(self, tau: float) -> None:
        slow, new = (getattr(self, name) for name in reversed(self.names))
        soft_update(slow, new, tau)


class DQL(QDiffusion):
    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg, ("critic", "critic_target"))

    def loss_critic(self, batch: Batch, gamma: float, draws: Draws) -> torch.Tensor:
        with torch.no_grad():
            actions = self.sample(batch["next_obs"], draws)
            value = self.slow_value(batch["next_obs"], actions)
        qs = self.critic(batch["obs"], batch["actions"])
        return bellman_error(qs, batch, value, gamma)

    def loss_actor(self, batch: Batch, eta: float, draws: Draws) -> torch.Tensor:
        sampled = self.sample(batch["obs"], draws)
        noise = None if draws is None else [next(draws), next(draws)]
        bc_loss = self.loss(batch["actions"], batch["obs"], noise)
        q1, q2 = self.critic(batch["obs"], sampled)
        if (torch.rand(()) if draws is None else next(draws)) <= 0.5:
            q1, q2 = q2, q1
        return bc_loss - eta * q1.mean() / q2.abs().mean().detach()


class IDQL(QDiffusion):
    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg, ("critic_q", "target_q"))
        value = layer_widths(cfg)["critic_v"]
        self.critic_v = Critic(value, cfg.model.critic_v.activation_type)

    def loss_v(self, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            q = self.slow_value(batch["obs"], batch["actions"])
        gap = q - self.critic_v(batch["obs"]).view(-1)
        return (torch.where(gap > 0, 0.8, 1 - 0.8) * gap**2).mean()

    def loss_q(self, batch: Batch, gamma: float) -> torch.Tensor:
        with torch.no_grad():
            value = self.critic_v(batch["next_obs"]).view(-1)
        qs = self.critic_q(batch["obs"], batch["actions"])
        return bellman_error(qs, batch, value, gamma)


class Rounds:
    """Rounds of gradient steps on random rows.

    Args:
        cfg: Experiment.
        stored: Transitions by column, of each source; all give an equal share.
    """

    kind: type[nn.Module]
    critics: tuple[str, ...] = ("critic",)

    def __init__(
        self, cfg: DictConfig, stored: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        self.train, self.stored = cfg.train, stored
        self.rng = np.random.default_rng(cfg.seed)
        self.model: Any = self.kind(cfg)
        self.optimizers = self.make_optimizers()

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By what they train."""
        return {
            name: self.optimizer(
                "actor" if name == "actor" else "critic",
                getattr(self.model, name).parameters(),
            )
            for name in ("actor", *self.critics)
        }

    def optimizer(self, group: str, params: Iterable[Any]) -> torch.optim.AdamW:
        """With the rate of a group of the config."""
        rate, decay = (self.train[f"{group}_{key}"] for key in ("lr", "weight_decay"))
        return torch.optim.AdamW(params, lr=rate, weight_decay=decay)

    def take_rounds(self, count: int) -> dict[str, float]:
        """Losses of the last one."""
        losses: dict[str, torch.Tensor] = {}
        for _ in range(count):
            losses = self.round(self.batch())
        return {name: loss.item() for name, loss in losses.items()}

    def batch(self) -> Batch:
        """Random rows of each source."""
        share = self.train.batch_size // len(self.stored)
        parts = []
        for stored in self.stored:
            rows = self.rng.choice(len(stored["rewards"]), share)
            parts.append({key: value[rows] for key, value in stored.items()})
        if len(parts) == 1:
            return as_batch(parts[0])
        return as_batch({k: np.concatenate([p[k] for p in parts]) for k in parts[0]})

    def round(self, batch: Batch, draws: Draws = None) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def step(self, name: str, loss: torch.Tensor) -> torch.Tensor:
        """One step of an optimizer; no other parameters get a gradient."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward(inputs=optimizer.param_groups[0]["params"])
        optimizer.step()
        return loss


def as_batch(rows: Mapping[str, np.ndarray]) -> Batch:
    """Columns as tensors, observations as the networks take them."""
    batch: Batch = {key: torch.from_numpy(value).float() for key, value in rows.items()}
    return {**batch, **{key: {"state": batch[key]} for key in ("obs", "next_obs")}}


class DQLRounds(Rounds):
    kind = DQL

    def round(self, batch: Batch, draws: Draws = None) -> dict[str, torch.Tensor]:
        model, train = self.model, self.train
        critic = self.step("critic", model.loss_critic(batch, train.gamma, draws))
        actor = self.step("actor", model.loss_actor(batch, train.eta, draws))
        model.update_target(train.target_ema_rate)
        return {"loss - critic": critic, "loss - actor": actor}


class IDQLRounds(Rounds):
    kind = IDQL
    critics = ("critic_q", "critic_v")

    def round(self, batch: Batch, draws: Draws = None) -> dict[str, torch.Tensor]:
        model, train = self.model, self.train
        value = self.step("critic_v", model.loss_v(batch))
        q = self.step("critic_q", model.loss_q(batch, train.gamma))
        model.update_target(train.critic_tau)
        noise = None if draws is None else [next(draws), next(draws)]
        actor = self.step("actor", model.loss(batch["actions"], batch["obs"], noise))
        both = {"loss - critic q": q, "loss - critic v": value}
        return {"loss - critic": q + value, "loss - actor": actor, **both}
