"""The convolutional and the seeing networks in plain PyTorch, eager modules.

As the original computes them: chunks change to (B, Da, Ta) for `Conv1d`, group norms
take the shape (B, C, 1, L), the condition is encoded in every block at every call, and
images are encoded whenever a network is called.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import nn

from tests.bench.peer_model import Cond, Critic, Network, SinusoidalPosEmb


def flat_state(cond: Cond) -> torch.Tensor:
    return cond["state"].view(len(cond["state"]), -1)


# -- U-Net -----------------------------------------------------------------------------


class Unsqueeze(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unsqueeze(2)


class Squeeze(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(2)


class ConvBlock(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(before, after, kernel, padding=kernel // 2),
            Unsqueeze(),
            nn.GroupNorm(groups, after),
            Squeeze(),
            nn.Mish(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class ResidualConvBlock(nn.Module):
    """Two convolutions with a factor and a summand from the condition in between."""

    def __init__(
        self, before: int, after: int, cond_dim: int, kernel: int, groups: int
    ) -> None:
        super().__init__()
        pairs = ((before, after), (after, after))
        self.blocks = nn.ModuleList(ConvBlock(*p, kernel, groups) for p in pairs)
        width = 2 * after
        self.cond_encoder = nn.Sequential(
            nn.Linear(cond_dim, width),
            nn.Mish(),
            nn.Linear(width, width),
            nn.Mish(),
            nn.Linear(width, width),
        )
        self.residual_conv = (
            nn.Identity() if before == after else nn.Conv1d(before, after, 1)
        )

    def forward(self, x: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        out = self.blocks[0](x)
        encoded = self.cond_encoder(cond).view(len(x), 2, -1, 1)
        out = self.blocks[1](encoded[:, 0] * out + encoded[:, 1])
        return out + self.residual_conv(x)


class Resample(nn.Module):
    """Halves or doubles the length."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class Unet(nn.Module):
    """Noise prediction by convolutions along the chunk.

    Args:
        action_dim: Da.
        cond_dim: Width of the flat state.
        dim: Channels of the first level.
        dim_mults: Channels of each level in units of `dim`.
        diffusion_step_embed_dim: Width of the embedding of the denoising step.
        kernel_size: Of the convolutions.
        n_groups: Of the group norms.
    """

    def __init__(
        self,
        action_dim: int,
        cond_dim: int,
        dim: int,
        dim_mults: Sequence[int],
        diffusion_step_embed_dim: int,
        kernel_size: int,
        n_groups: int,
    ) -> None:
        super().__init__()
        step = diffusion_step_embed_dim
        self.time_mlp = nn.Sequential(
            SinusoidalPosEmb(step),
            nn.Linear(step, step * 4),
            nn.Mish(),
            nn.Linear(step * 4, step),
        )

        def block(before: int, after: int) -> ResidualConvBlock:
            return ResidualConvBlock(
                before, after, step + cond_dim, kernel_size, n_groups
            )

        widths = [action_dim, *(dim * mult for mult in dim_mults)]
        self.mid_modules = nn.ModuleList(
            block(widths[-1], widths[-1]) for _ in range(2)
        )
        levels = list(zip(widths, widths[1:], strict=False))
        self.down_modules = nn.ModuleList()
        for number, (before, after) in enumerate(levels, start=1):
            down = Resample(nn.Conv1d(after, after, 3, 2, 1))
            last = nn.Identity() if number == len(levels) else down
            blocks = [block(before, after), block(after, after), last]
            self.down_modules.append(nn.ModuleList(blocks))
        self.up_modules = nn.ModuleList()
        for before, after in reversed(levels[1:]):
            up = Resample(nn.ConvTranspose1d(before, before, 4, 2, 1))
            blocks = [block(after * 2, before), block(before, before), up]
            self.up_modules.append(nn.ModuleList(blocks))
        self.final_conv = nn.Sequential(
            ConvBlock(dim, dim, kernel_size, n_groups), nn.Conv1d(dim, action_dim, 1)
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: Cond) -> torch.Tensor:
        x = x.transpose(1, 2)
        feature = torch.cat([self.time_mlp(t.view(len(x))), flat_state(cond)], dim=-1)
        skips = []
        for first, second, down in self.down_modules:
            x = second(first(x, feature), feature)
            skips.append(x)
            x = down(x)
        for middle in self.mid_modules:
            x = middle(x, feature)
        for first, second, up in self.up_modules:
            x = torch.cat([x, skips.pop()], dim=1)
            x = up(second(first(x, feature), feature))
        return self.final_conv(x).transpose(1, 2)


# -- images ----------------------------------------------------------------------------


class PatchEmbed(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(channels, width, 8, 4),
            nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, count, width = x.shape
        parts = self.qkv_proj(x).view(rows, count, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        joined = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(joined.transpose(1, 2).reshape(rows, count, width))


class TransformerLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mha = Attention(width, heads)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.mha(self.layer_norm1(x))
        hidden = nn.functional.gelu(self.linear1(self.layer_norm2(x)))
        return x + self.linear2(hidden)


class Vit(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, image: Sequence[int]):
        super().__init__()
        channels, height, _ = image
        side = ((height - 8) // 4 + 1 - 3) // 2 + 1
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, side * side, width))
        self.patch_embed = PatchEmbed(width, channels)
        layers = (TransformerLayer(width, heads) for _ in range(depth))
        self.net = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.net(self.patch_embed(x) + self.pos_embed))


class Backbone(nn.Module):
    """Features of the patches of images (B, C, H, W) in 0..255."""

    def __init__(self, width: int, heads: int, depth: int, image: Sequence[int]):
        super().__init__()
        self.vit = Vit(width, heads, depth, image)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.vit(x / 255.0 - 0.5)


class SpatialEmb(nn.Module):
    def __init__(self, patches: int, width: int, prop_dim: int, proj_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, width, proj_dim))
        self.input_proj = nn.Sequential(
            nn.Linear(patches + prop_dim, proj_dim), nn.LayerNorm(proj_dim), nn.ReLU()
        )

    def forward(self, patches: torch.Tensor, prop: torch.Tensor) -> torch.Tensor:
        rows = patches.transpose(1, 2)
        known = prop.unsqueeze(1).repeat(1, rows.shape[1], 1)
        projected = self.input_proj(torch.cat([rows, known], dim=-1))
        return (self.weight * projected).sum(1)


def random_shifts(x: torch.Tensor, pad: int = 4) -> torch.Tensor:
    """Shifted images (B, C, H, W): bilinear sampling of the padded ones."""
    rows, _, size, _ = x.shape
    padded = nn.functional.pad(x, (pad,) * 4, "replicate")
    side = size + 2 * pad
    eps = 1.0 / side
    line = torch.linspace(-1.0 + eps, 1.0 - eps, side)[:size]
    line = line.unsqueeze(0).repeat(size, 1).unsqueeze(2)
    grid = torch.cat([line, line.transpose(1, 0)], dim=2)
    grid = grid.unsqueeze(0).repeat(rows, 1, 1, 1)
    shift = torch.randint(0, 2 * pad + 1, (rows, 1, 1, 2)).float() * 2.0 / side
    return nn.functional.grid_sample(
        padded, grid + shift, padding_mode="zeros", align_corners=False
    )


class Eyes(nn.Module):
    """From images and state to the features of both.

    Attributes:
        seen: These features, if they are known already; None to compute them.
    """

    seen: torch.Tensor | None = None

    def add_eyes(self, node: DictConfig, image: Sequence[int]) -> None:
        """Makes the modules of a configured network for images (C, H, W)."""
        cfg = node.backbone.cfg
        self.augment = node.get("augment", False)
        self.backbone = Backbone(cfg.embed_dim, cfg.num_heads, cfg.depth, image)
        patches = self.backbone.vit.pos_embed.shape[1]
        self.compress = SpatialEmb(
            patches, cfg.embed_dim, node.cond_dim, node.spatial_emb
        )

    def see(self, cond: Cond) -> Cond:
        """Features in the place of the state, (B, 1, F)."""
        if self.seen is not None:
            return {"state": self.seen}
        images = cond["rgb"].flatten(1, 2)
        if self.augment:
            images = random_shifts(images)
        state = flat_state(cond)
        features = self.compress(self.backbone(images), state)
        return {"state": torch.cat([features, state], dim=-1)}


class VisionNetwork(Network, Eyes):
    """Noise prediction from chunk, denoising step, images and state."""

    def __init__(
        self,
        widths: Sequence[int],
        time_dim: int,
        activation: str,
        node: DictConfig,
        image: Sequence[int],
    ) -> None:
        super().__init__(widths, time_dim, activation)
        self.add_eyes(node, image)

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: Cond) -> torch.Tensor:
        return super().forward(x, t, self.see(cond))


class VisionCritic(Critic, Eyes):
    """State value from images and state."""

    def __init__(
        self,
        widths: Sequence[int],
        activation: str,
        node: DictConfig,
        image: Sequence[int],
    ) -> None:
        super().__init__(widths, activation)
        self.add_eyes(node, image)

    def forward(self, cond: Cond) -> torch.Tensor:
        return super().forward(self.see(cond))
