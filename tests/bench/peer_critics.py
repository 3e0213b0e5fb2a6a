"""Networks of the algorithms with a buffer in plain PyTorch: critics of actions, and a
Gaussian policy."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from tests.bench.peer_model import Cond


class MLP(nn.Module):
    """Linear layers, each but the last with [LayerNorm and] activation.

    Args:
        widths: First to last.
        activation: Name in `torch.nn`.
        layernorm: With norms.
        activate_last: The last layer is as the others.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str,
        layernorm: bool = False,
        activate_last: bool = False,
    ) -> None:
        super().__init__()
        self.moduleList = nn.ModuleList()
        last = len(widths) - 2
        for i, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            parts = OrderedDict[str, nn.Module](linear_1=nn.Linear(before, after))
            if i < last or activate_last:
                if layernorm:
                    parts["norm_1"] = nn.LayerNorm(after)
                parts["act_1"] = getattr(nn, activation)()
            self.moduleList.append(nn.Sequential(parts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.moduleList:
            x = layer(x)
        return x


def joined(cond: Cond, actions: torch.Tensor) -> torch.Tensor:
    """Flat states and chunks side by side."""
    rows = len(actions)
    return torch.cat([cond["state"].view(rows, -1), actions.view(rows, -1)], dim=-1)


class ActionCritic(nn.Module):
    def __init__(
        self, widths: Sequence[int], activation: str, layernorm: bool = False
    ) -> None:
        super().__init__()
        self.Q1 = MLP(widths, activation, layernorm)

    def forward(self, cond: Cond, actions: torch.Tensor) -> torch.Tensor:
        return self.Q1(joined(cond, actions)).squeeze(-1)


class TwinCritic(nn.Module):
    def __init__(self, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.Q1, self.Q2 = (MLP(widths, activation) for _ in range(2))

    def forward(
        self, cond: Cond, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = joined(cond, actions)
        return self.Q1(x).squeeze(-1), self.Q2(x).squeeze(-1)


class Gaussian(nn.Module):
    """Mean and standard deviation from a state.

    Args:
        widths: Of the features, first to last.
        out: Width of the chunk.
        activation: Name in `torch.nn`.
        bounds: Least and largest logarithm of the variance.
    """

    def __init__(
        self,
        widths: Sequence[int],
        out: int,
        activation: str,
        bounds: tuple[float, float],
    ) -> None:
        super().__init__()
        self.mlp_base = MLP(widths, activation, activate_last=True)
        self.mlp_mean = MLP([widths[-1], out], activation)
        self.mlp_logvar = MLP([widths[-1], out], activation)
        self.logvar_min, self.logvar_max = (
            nn.Parameter(torch.tensor(bound), requires_grad=False) for bound in bounds
        )

    def forward(self, cond: Cond) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.mlp_base(cond["state"].view(len(cond["state"]), -1))
        share = 0.5 * (torch.tanh(self.mlp_logvar(features)) + 1.0)
        logvar = self.logvar_min + share * (self.logvar_max - self.logvar_min)
        return self.mlp_mean(features), torch.exp(0.5 * logvar)
