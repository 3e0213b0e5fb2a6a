"""RLPD in plain PyTorch: an ensemble of stacked critics, evaluated by `vmap`.

As in the original, the weights of the critics are stacked once and trained as such, and
targets are networks of their own, of which two are evaluated.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.distributions import Normal
from torch.func import functional_call, stack_module_state, vmap

from tests.bench.leaves import layer_widths
from tests.bench.peer_critics import ActionCritic, Gaussian
from tests.bench.peer_model import Cond
from tests.bench.peer_rounds import Batch, Draws, Rounds, bellman_error, normal


class RLPD(nn.Module):
    def __init__(self, cfg: DictConfig) -> None:
        super().__init__()
        self.cfg, widths, actor = cfg.model, layer_widths(cfg), cfg.model.actor
        self.chunk = (cfg.horizon_steps, cfg.action_dim)
        *features, out = widths["actor"]
        bounds = (2 * math.log(actor.std_min), 2 * math.log(actor.std_max))
        self.network = Gaussian(features, out, actor.activation_type, bounds)
        options = (cfg.model.critic.activation_type, cfg.model.critic.use_layernorm)
        self.critic_networks = nn.ModuleList(
            ActionCritic(widths["critic"], *options) for _ in range(cfg.model.n_critics)
        )
        self.target_networks = copy.deepcopy(self.critic_networks)
        # In a tuple, so that it is no part of the model.
        self.base = (copy.deepcopy(self.critic_networks[0]).to("meta"),)
        self.stack()

    def stack(self) -> None:
        """Makes the trained weights from those of the networks."""
        self.stacked, self.buffers_ = stack_module_state(list(self.critic_networks))

    def q_values(self, obs: Cond, actions: torch.Tensor) -> torch.Tensor:
        """Of all critics, (N, B)."""

        def call(params: Any, buffers: Any, data: tuple) -> torch.Tensor:
            return functional_call(self.base[0], (params, buffers), data)

        mapped = vmap(call, in_dims=(0, 0, None))
        return mapped(self.stacked, self.buffers_, (obs, actions))

    def sample(
        self, cond: Cond, draws: Draws = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Chunks (B, Ta, Da) and their log-probabilities (B,)."""
        policy = Normal(*self.network(cond))
        reach = self.cfg.randn_clip_value * policy.scale
        sample = policy.loc + policy.scale * normal(policy.loc, draws)
        sample = sample.clamp(policy.loc - reach, policy.loc + reach)
        actions = torch.tanh(sample)
        logprob = policy.log_prob(sample) - torch.log(1 - actions**2 + 1e-6)
        return actions.view(-1, *self.chunk), logprob.sum(-1)

    def loss_critic(
        self, batch: Batch, gamma: float, alpha: float, draws: Draws
    ) -> torch.Tensor:
        count = len(self.target_networks)
        order = torch.randperm(count) if draws is None else next(draws)
        with torch.no_grad():
            actions, logprob = self.sample(batch["next_obs"], draws)
            pair = (self.target_networks[i] for i in order[:2].tolist())
            value = torch.min(*(q(batch["next_obs"], actions) for q in pair))
            if self.cfg.backup_entropy:
                value = value - alpha * logprob
        qs = self.q_values(batch["obs"], batch["actions"])
        return bellman_error([qs], batch, value, gamma)

    def loss_actor(self, obs: Cond, alpha: float, draws: Draws) -> torch.Tensor:
        actions, logprob = self.sample(obs, draws)
        return (alpha * logprob - self.q_values(obs, actions).mean(0)).mean()

    def loss_temperature(
        self, obs: Cond, alpha: torch.Tensor, target_entropy: float, draws: Draws
    ) -> torch.Tensor:
        with torch.no_grad():
            _, logprob = self.sample(obs, draws)
        return -(alpha * (logprob + target_entropy)).mean()

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        for member, target in enumerate(self.target_networks):
            for name, slow in target.named_parameters():
                slow.lerp_(self.stacked[name][member], tau)


class RLPDRounds(Rounds):
    """Critic steps, the last of them with a step of actor and temperature."""

    kind = RLPD

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        start = math.log(self.train.init_temperature)
        self.log_alpha = torch.tensor(start, requires_grad=True)
        actor = (p for p in self.model.network.parameters() if p.requires_grad)
        return {
            "actor": self.optimizer("actor", actor),
            "critic": self.optimizer("critic", self.model.stacked.values()),
            "alpha": torch.optim.Adam([self.log_alpha], lr=self.train.critic_lr),
        }

    def take_rounds(self, count: int) -> dict[str, float]:
        losses: dict[str, torch.Tensor] = {}
        for number in range(count):
            losses = self.round(self.batch(), acts=number == count - 1)
        return {name: loss.item() for name, loss in losses.items()}

    def round(
        self, batch: Batch, draws: Draws = None, acts: bool = True
    ) -> dict[str, torch.Tensor]:
        model, train = self.model, self.train
        alpha = self.log_alpha.exp().item()
        loss = model.loss_critic(batch, train.gamma, alpha, draws)
        found = {"loss - critic": self.step("critic", loss)}
        model.update_target(train.target_ema_rate)
        if acts:
            obs = batch["obs"]
            loss = model.loss_actor(obs, alpha, draws)
            found["loss - actor"] = self.step("actor", loss)
            temperature, entropy = self.log_alpha.exp(), train.target_entropy
            loss = model.loss_temperature(obs, temperature, entropy, draws)
            found["loss - alpha"] = self.step("alpha", loss)
        return found
