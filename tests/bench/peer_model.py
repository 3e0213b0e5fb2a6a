"""The same computations in plain PyTorch: eager modules, as the original has them.

Written for comparison only. As in the original, the frozen base network is evaluated
for all rows and the fine-tuned rows are then overwritten, the sampler is a Python loop,
and log-probabilities come from `torch.distributions`. Where the original is needlessly
slow, this is not: it gathers minibatches of the data set at once, and computes the
denoising discount of all rows at once, unless `by_row` asks for the original's way.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import nn
from torch.distributions import Normal

Cond = dict[str, torch.Tensor]


class SinusoidalPosEmb(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        half = self.dim // 2
        rate = math.log(10000) / (half - 1)
        frequencies = torch.exp(torch.arange(half, device=t.device) * -rate)
        angle = t[:, None] * frequencies[None, :]
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class ResidualBlock(nn.Module):
    def __init__(self, width: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(width, width), nn.Linear(width, width)
        self.act = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.l2(self.act(self.l1(self.act(x))))


class ResidualMLP(nn.Module):
    def __init__(self, widths: Sequence[int], activation: type[nn.Module]) -> None:
        super().__init__()
        hidden = widths[1]
        blocks = [ResidualBlock(hidden, activation) for _ in range(3, len(widths), 2)]
        self.layers = nn.ModuleList(
            [nn.Linear(widths[0], hidden), *blocks, nn.Linear(hidden, widths[-1])]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Network(nn.Module):
    """Noise prediction from chunk, denoising step and state."""

    def __init__(self, widths: Sequence[int], time_dim: int, activation: str) -> None:
        super().__init__()
        self.time_embedding = nn.Sequential(
            SinusoidalPosEmb(time_dim),
            nn.Linear(time_dim, time_dim * 2),
            nn.Mish(),
            nn.Linear(time_dim * 2, time_dim),
        )
        self.mlp_mean = ResidualMLP(widths, getattr(nn, activation))

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: Cond) -> torch.Tensor:
        rows, horizon, width = x.shape
        state = cond["state"].view(rows, -1)
        emb = self.time_embedding(t.view(rows)).view(rows, -1)
        out = self.mlp_mean(torch.cat([x.view(rows, -1), emb, state], dim=-1))
        return out.view(rows, horizon, width)


class Critic(nn.Module):
    def __init__(self, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.Q1 = ResidualMLP(widths, getattr(nn, activation))

    def forward(self, cond: Cond) -> torch.Tensor:
        return self.Q1(cond["state"].view(len(cond["state"]), -1))


def at(values: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """values[t] as (B, 1, 1)."""
    return values.gather(-1, t).reshape(-1, 1, 1)


class Diffusion(nn.Module):
    """Schedule and behaviour cloning.

    Args:
        cfg: Experiment.
        network: Predicts the noise.
    """

    def __init__(self, cfg: DictConfig, network: nn.Module) -> None:
        super().__init__()
        self.chunk = (cfg.horizon_steps, cfg.action_dim)
        self.steps = cfg.denoising_steps
        self.network = network
        self.clip = cfg.model.get("denoised_clip_value", 1.0)
        n = self.steps + 1
        x = torch.linspace(0, n, n, dtype=torch.float64)
        cosine = torch.cos((x / n + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - cosine[1:] / cosine[:-1]).clamp(0, 0.999).float()
        alpha = 1 - beta
        self.bar = bar = torch.cumprod(alpha, 0)
        before = torch.cat([torch.ones(1), bar[:-1]])
        self.signal, self.noise = bar.sqrt(), (1 - bar).sqrt()
        self.from_x, self.from_e = (1 / bar).sqrt(), (1 / bar - 1).sqrt()
        variance = beta * (1 - before) / (1 - bar)
        self.logvar = variance.clamp(min=1e-20).log()
        self.coef_x0 = beta * before.sqrt() / (1 - bar)
        self.coef_x = (1 - before) * alpha.sqrt() / (1 - bar)

    def posterior(
        self, x: torch.Tensor, t: torch.Tensor, e: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x0 = at(self.from_x, t) * x - at(self.from_e, t) * e
        x0 = x0.clamp(-self.clip, self.clip)
        return at(self.coef_x0, t) * x0 + at(self.coef_x, t) * x, at(self.logvar, t)

    def loss(self, x: torch.Tensor, cond: Cond, noise: Sequence | None = None):
        """Denoising loss; `noise` are steps (B,) and noise (B, Ta, Da)."""
        t = torch.randint(0, self.steps, (len(x),)).long()
        e = torch.randn_like(x)
        if noise is not None:
            t, e = noise
        noisy = at(self.signal, t) * x + at(self.noise, t) * e
        return nn.functional.mse_loss(self.network(noisy, t, cond), e)


class PPODiffusion(Diffusion):
    """Sampling with a frozen and a fine-tuned network, and the PPO loss.

    Attributes:
        stride: Steps of the schedule from one sampling step to the next.

    Args:
        cfg: Experiment.
        network: Predicts the noise.
        critic: State value.
        by_row: Compute the denoising discount row by row in Python.
    """

    stride = 1

    def __init__(
        self,
        cfg: DictConfig,
        network: nn.Module,
        critic: nn.Module,
        by_row: bool = False,
    ) -> None:
        super().__init__(cfg, network)
        self.cfg, self.ft_steps = cfg.model, cfg.ft_denoising_steps
        self.reward_horizon, self.by_row = cfg.act_steps, by_row
        self.actor_ft = copy.deepcopy(self.network)
        self.actor = self.network.requires_grad_(False)
        self.critic = critic

    @torch.no_grad()
    def encode(self, cond: Cond) -> None:
        """Keeps the features of observations, which calls with others then lack."""
        self.forget()
        for network in (self.actor, self.actor_ft):
            network.seen = network.see(cond)["state"]

    def forget(self) -> None:
        """Observations are encoded whenever a network is called."""
        for network in (self.actor, self.actor_ft):
            network.seen = None

    def p_mean_var(self, x: torch.Tensor, t: torch.Tensor, cond: Cond):
        e = self.actor(x, t, cond)
        rows = torch.where(t < self.ft_steps * self.stride)[0]
        if len(rows):
            part = {key: value[rows] for key, value in cond.items()}
            e[rows] = self.actor_ft(x[rows], t[rows], part)
        mu, logvar = self.posterior(x, t, e)
        return mu, logvar, torch.ones_like(mu)

    @torch.no_grad()
    def forward(self, cond: Cond, noise: Sequence | None = None):
        """Explores; returns chunks (B, Ta, Da) and chains (B, K + 1, Ta, Da)."""
        rows = len(cond["state"])
        shape = (rows, *self.chunk)
        draws = iter(noise) if noise is not None else None
        x = torch.randn(shape) if draws is None else next(draws)
        times = range(0, self.steps, self.stride)
        chain = [x] if self.ft_steps == len(times) else []
        for step in reversed(times):
            t = torch.full((rows,), step, dtype=torch.long)
            mu, logvar, _ = self.p_mean_var(x, t, cond)
            std = (0.5 * logvar).exp().clamp(min=self.cfg.min_sampling_denoising_std)
            z = torch.randn_like(x) if draws is None else next(draws)
            limit = self.cfg.randn_clip_value
            x = mu + std * z.clamp(-limit, limit)
            if step <= self.ft_steps * self.stride:
                chain.append(x)
        return x, torch.stack(chain, dim=1)

    def logprobs(self, cond: Cond, before, after, inner: torch.Tensor):
        """Elementwise, (B, Ta, Da), at the indices `inner` (B,) of the chain."""
        t = (self.ft_steps - 1 - inner) * self.stride
        mu, logvar, eta = self.p_mean_var(before, t, cond)
        std = (0.5 * logvar).exp().clamp(min=self.cfg.min_logprob_denoising_std)
        return Normal(mu, std).log_prob(after), eta

    def chain_logprobs(self, cond: Cond, chains: torch.Tensor) -> torch.Tensor:
        """Of whole chains (B, K + 1, Ta, Da), as (B * K, Ta, Da)."""
        steps = self.ft_steps
        repeated = {k: v.repeat_interleave(steps, dim=0) for k, v in cond.items()}
        before = chains[:, :-1].reshape(-1, *self.chunk)
        after = chains[:, 1:].reshape(-1, *self.chunk)
        inner = torch.arange(steps).repeat(len(chains))
        return self.logprobs(repeated, before, after, inner)[0]

    def discount(self, inner: torch.Tensor) -> torch.Tensor:
        """Of the advantages, by denoising step, (B,)."""
        gamma, last = self.cfg.gamma_denoising, self.ft_steps - 1
        if self.by_row:
            return torch.tensor([gamma ** (last - i) for i in inner])
        return gamma ** (last - inner).float()

    def ppo_loss(
        self, cond, before, after, inner, returns, advantages, oldlogprobs
    ) -> tuple:
        """Policy loss, entropy loss, value loss, then diagnostics as floats."""
        newlogprobs, eta = self.logprobs(cond, before, after, inner)
        new, old = (
            p.clamp(-5, 2)[:, : self.reward_horizon].mean(dim=(-1, -2)).view(-1)
            for p in (newlogprobs, oldlogprobs)
        )
        cfg, last = self.cfg, self.ft_steps - 1
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        low, high = torch.quantile(advantages, 0.0), torch.quantile(advantages, 1.0)
        advantages = advantages.clamp(min=low, max=high)
        advantages = advantages * self.discount(inner)
        logratio = new - old
        ratio = logratio.exp()
        rate, base = cfg.clip_ploss_coef_rate, cfg.clip_ploss_coef_base
        growth = (torch.exp(rate * inner.float() / last) - 1) / (math.exp(rate) - 1)
        clip = base + (cfg.clip_ploss_coef - base) * growth
        with torch.no_grad():
            kl = ((ratio - 1) - logratio).mean().item()
            clipfrac = ((ratio - 1).abs() > clip).float().mean().item()
        clipped = torch.clamp(ratio, 1 - clip, 1 + clip)
        pg_loss = torch.max(-advantages * ratio, -advantages * clipped).mean()
        values = self.critic(cond).view(-1)
        v_loss = 0.5 * ((values - returns) ** 2).mean()
        entropy_loss = -eta.mean()
        return (
            pg_loss,
            entropy_loss,
            v_loss,
            clipfrac,
            kl,
            ratio.mean().item(),
            eta.mean().item(),
        )
