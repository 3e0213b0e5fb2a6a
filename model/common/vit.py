"""A small vision transformer (Dosovitskiy et al., 2021) that encodes images.

As in Hu et al. (2023), Imitation bootstrapped reinforcement learning: two convolutions
make the patches, and the image goes through a single transformer layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import tensorflow as tf

from util.torch_to_tf import (
    nn_Conv2d,
    nn_Dropout,
    nn_GELU,
    nn_GroupNorm,
    nn_Identity,
    nn_LayerNorm,
    nn_Linear,
    nn_Module,
    nn_Parameter,
    nn_ReLU,
    nn_Sequential,
)
from util.torch_to_tf.init import normal

INIT_STD = 0.02


@dataclass
class VitEncoderConfig:
    """Sizes of a `VitEncoder`.

    Attributes:
        patch_size: Not used: the embeddings have sizes of their own.
        depth: Transformer layers.
        embed_dim: Features of a patch.
        num_heads: Attention heads.
        stride: Not used.
        embed_style: "embed1" or "embed2", see `PatchEmbed1` and `PatchEmbed2`.
        embed_norm: Whether `PatchEmbed2` normalises, 0 or 1.
    """

    patch_size: int = 8
    depth: int = 1
    embed_dim: int = 128
    num_heads: int = 4
    act_layer: ClassVar[type[nn_Module]] = nn_GELU
    stride: int = -1
    embed_style: str = "embed2"
    embed_norm: int = 0


def as_config(cfg: VitEncoderConfig | Mapping[str, Any]) -> VitEncoderConfig:
    """The sizes that a config, or a mapping such as a YAML has, gives.

    Raises:
        ValueError: A key is unknown.
    """
    if isinstance(cfg, VitEncoderConfig):
        return cfg
    known = [field.name for field in fields(VitEncoderConfig)]
    unknown = sorted(set(cfg) - set(known))
    if unknown:
        raise ValueError(f"cfg has the unknown keys {unknown}; known are {known}.")
    return VitEncoderConfig(**cfg)


class VitEncoder(nn_Module):
    """Features of the patches of an image.

    Attributes:
        num_patch: Patches P.
        patch_repr_dim: Features of a patch.
        repr_dim: All features of an image.

    Args:
        obs_shape: Shape of what the environment shows, not used.
        cfg: Sizes, `VitEncoderConfig` or a mapping.
        num_channel: Channels C of the image.
        img_h: Its height H.
        img_w: Its width W.
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
        cfg: VitEncoderConfig | Mapping[str, Any],
        num_channel: int = 3,
        img_h: int = 96,
        img_w: int = 96,
    ) -> None:
        super().__init__()
        self.obs_shape, self.cfg = tuple(obs_shape), as_config(cfg)
        # What a checkpoint says about its network is plain.
        self._arguments |= {"obs_shape": list(obs_shape), "cfg": asdict(self.cfg)}
        self.image_shape = (num_channel, img_h, img_w)
        self.vit = MinVit(
            embed_style=self.cfg.embed_style,
            embed_dim=self.cfg.embed_dim,
            embed_norm=self.cfg.embed_norm,
            num_head=self.cfg.num_heads,
            depth=self.cfg.depth,
            num_channel=num_channel,
            img_h=img_h,
            img_w=img_w,
        )
        self.num_patch = self.vit.num_patches
        self.patch_repr_dim = self.cfg.embed_dim
        self.repr_dim = self.cfg.embed_dim * self.num_patch

    def call(self, obs: tf.Tensor, flatten: bool = False) -> tf.Tensor:
        """Features (B, P, patch_repr_dim), or (B, repr_dim) if `flatten`.

        Args:
            obs: Images (B, C, H, W) in 0..255, bytes or floats.
            flatten: Join the features of all patches.

        Raises:
            ValueError: Images of another size.
        """
        obs = tf.convert_to_tensor(obs)
        if tuple(obs.shape[1:]) != self.image_shape:
            raise ValueError(
                "images must have num_channel, img_h and img_w = "
                f"{self.image_shape}, got {tuple(obs.shape[1:])}."
            )
        features = self.vit(tf.cast(obs, tf.float32) / 255.0 - 0.5)
        return tf.reshape(features, [-1, self.repr_dim]) if flatten else features


class PatchEmbed1(nn_Module):
    """Patches of 8 x 8 pixels, side by side.

    Args:
        embed_dim: Features E of a patch.
        num_channel: Channels C of the image.
        img_h: Its height H.
        img_w: Its width W.
    """

    def __init__(
        self, embed_dim: int, num_channel: int = 3, img_h: int = 96, img_w: int = 96
    ) -> None:
        super().__init__()
        self.conv = nn_Conv2d(num_channel, embed_dim, 8, 8)
        self.num_patch = _count_patches(img_h, img_w, self.conv)
        self.patch_dim = embed_dim

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (B, C, H, W) to patches (B, P, E), row by row."""
        return _as_patches(self.conv(x))


class PatchEmbed2(nn_Module):
    """Overlapping patches: convolution 8 x 8 by 4, ReLU, convolution 3 x 3 by 2.

    Args:
        embed_dim: Features E of a patch.
        use_norm: Whether each feature is normalised over the image before the ReLU.
        num_channel: Channels C of the image.
        img_h: Its height H.
        img_w: Its width W.
    """

    def __init__(
        self,
        embed_dim: int,
        use_norm: bool,
        num_channel: int = 3,
        img_h: int = 96,
        img_w: int = 96,
    ) -> None:
        super().__init__()
        first = nn_Conv2d(num_channel, embed_dim, 8, 4)
        second = nn_Conv2d(embed_dim, embed_dim, 3, 2)
        norm = nn_GroupNorm(embed_dim, embed_dim) if use_norm else nn_Identity()
        self.embed = nn_Sequential(first, norm, nn_ReLU(), second)
        self.num_patch = _count_patches(img_h, img_w, first, second)
        self.patch_dim = embed_dim

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (B, C, H, W) to patches (B, P, E), row by row."""
        return _as_patches(self.embed(x))


def _as_patches(x: tf.Tensor) -> tf.Tensor:
    """Maps (B, E, h, w) to (B, h w, E)."""
    _, width, rows, columns = x.shape
    return tf.reshape(tf.transpose(x, [0, 2, 3, 1]), [-1, rows * columns, width])


def _count_patches(height: int, width: int, *layers: nn_Conv2d) -> int:
    """Outputs of convolutions without padding.

    Raises:
        ValueError: The image is too small for one.
    """
    count = 1
    for size in (height, width):
        left = size
        for layer in layers:
            left = (left - layer.kernel_size[0]) // layer.stride[0] + 1
        if left < 1:
            raise ValueError(
                "img_h and img_w must leave at least one patch, "
                f"got {height} and {width}."
            )
        count *= left
    return count


class MultiHeadAttention(nn_Module):
    """Self-attention, softmax(Q K^T / sqrt(d)) V for each head of d features.

    Args:
        embed_dim: Features E of an entry.
        num_head: Heads; they divide E.
    """

    def __init__(self, embed_dim: int, num_head: int) -> None:
        super().__init__()
        if num_head < 1 or embed_dim % num_head:
            raise ValueError(
                f"num_head must divide embed_dim={embed_dim}, got {num_head}."
            )
        self.num_head, self.head_dim = num_head, embed_dim // num_head
        self.qkv_proj = nn_Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn_Linear(embed_dim, embed_dim)

    def call(self, x: tf.Tensor, attn_mask: tf.Tensor | None = None) -> tf.Tensor:
        """Maps (B, P, E) to (B, P, E).

        Args:
            x: Entries.
            attn_mask: Added to the scores of query and key, (P, P) or broadcastable;
                None for nothing.
        """
        count, width = x.shape[1:]
        heads = [-1, count, 3, self.num_head, self.head_dim]
        q, k, v = tf.unstack(
            tf.transpose(tf.reshape(self.qkv_proj(x), heads), [2, 0, 3, 1, 4])
        )
        scores = tf.matmul(q * self.head_dim**-0.5, k, transpose_b=True)
        if attn_mask is not None:
            scores += attn_mask
        joined = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
        return self.out_proj(tf.reshape(joined, [-1, count, width]))


class TransformerLayer(nn_Module):
    """Attention and a perceptron, each normalised before and added to its input.

    Args:
        embed_dim: Features E of an entry.
        num_head: Attention heads.
        dropout: Probability with which an entry of either is dropped.
    """

    def __init__(self, embed_dim: int, num_head: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm1 = nn_LayerNorm(embed_dim)
        self.mha = MultiHeadAttention(embed_dim, num_head)
        self.layer_norm2 = nn_LayerNorm(embed_dim)
        self.linear1 = nn_Linear(embed_dim, 4 * embed_dim)
        self.linear2 = nn_Linear(4 * embed_dim, embed_dim)
        self.activation = VitEncoderConfig.act_layer()
        self.dropout = nn_Dropout(dropout)

    def call(self, x: tf.Tensor, attn_mask: tf.Tensor | None = None) -> tf.Tensor:
        """Maps (B, P, E) to (B, P, E)."""
        x += self.dropout(self.mha(self.layer_norm1(x), attn_mask))
        hidden = self.activation(self.linear1(self.layer_norm2(x)))
        return x + self.dropout(self.linear2(hidden))


class MinVit(nn_Module):
    """Patches, a learned position of each, transformer layers, and a norm.

    Args:
        embed_style: "embed1" or "embed2".
        embed_dim: Features E of a patch.
        embed_norm: Whether `PatchEmbed2` normalises.
        num_head: Attention heads.
        depth: Transformer layers.
        num_channel: Channels C of the image.
        img_h: Its height H.
        img_w: Its width W.
    """

    def __init__(
        self,
        embed_style: str,
        embed_dim: int,
        embed_norm: int | bool,
        num_head: int,
        depth: int,
        num_channel: int = 3,
        img_h: int = 96,
        img_w: int = 96,
    ) -> None:
        super().__init__()
        image = {"num_channel": num_channel, "img_h": img_h, "img_w": img_w}
        if embed_style == "embed1":
            self.patch_embed: nn_Module = PatchEmbed1(embed_dim, **image)
        elif embed_style == "embed2":
            self.patch_embed = PatchEmbed2(embed_dim, bool(embed_norm), **image)
        else:
            raise ValueError(
                f"embed_style must be 'embed1' or 'embed2', got {embed_style!r}."
            )
        self.num_patches = self.patch_embed.num_patch
        self.pos_embed = nn_Parameter(
            normal((1, self.num_patches, embed_dim), std=INIT_STD)
        )
        layers = (TransformerLayer(embed_dim, num_head, 0.0) for _ in range(depth))
        self.net = nn_Sequential(*layers)
        self.norm = nn_LayerNorm(embed_dim)
        named_apply(init_weights_vit_timm, self)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps images (B, C, H, W) to features (B, P, E)."""
        patches = self.patch_embed(x) + tf.convert_to_tensor(self.pos_embed)
        return self.norm(self.net(patches))


def init_weights_vit_timm(module: nn_Module, name: str = "") -> None:
    """Draws the weight of a linear layer from N(0, 0.02^2) and sets its bias to 0.

    The reference cuts the normal distribution at 100 standard deviations.
    """
    if isinstance(module, nn_Linear):
        module.weight.assign(normal(tuple(module.weight.shape), std=INIT_STD))
        if module.bias is not None:
            module.bias.assign(tf.zeros_like(module.bias))


def named_apply(
    fn: Callable[..., None],
    module: nn_Module,
    name: str = "",
    depth_first: bool = True,
    include_root: bool = False,
) -> nn_Module:
    """Calls `fn(module=..., name=...)` for all modules below one, and returns it.

    Args:
        fn: What to do.
        module: Root.
        name: Its name, put before those below.
        depth_first: A module after those below it, not before.
        include_root: Also for the root itself.
    """
    if include_root and not depth_first:
        fn(module=module, name=name)
    for child, below in module.named_children():
        path = f"{name}.{child}" if name else child
        named_apply(fn, below, path, depth_first, include_root=True)
    if include_root and depth_first:
        fn(module=module, name=name)
    return module
