"""Transformers over the action chunk, and Gaussian and mixture policies made of them.

Each step of the chunk is a token that starts as a learned embedding of its position
and attends to the observations (after Vaswani et al., 2017, pre-norm).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp_gaussian import StdBounds
from model.common.mlp_gmm import check_modes
from util.torch_to_tf import (
    nn_Dropout,
    nn_LayerNorm,
    nn_Linear,
    nn_Mish,
    nn_Module,
    nn_MultiheadAttention,
    nn_Parameter,
    nn_Sequential,
    nn_TransformerDecoder,
    nn_TransformerDecoderLayer,
    nn_TransformerEncoder,
    nn_TransformerEncoderLayer,
)
from util.torch_to_tf.init import normal
from util.torch_to_tf.sizes import size_of

INITIAL_STD = 0.02


class Transformer(nn_Module):
    """A decoder of `horizon` positions that attends to encoded observations.

    Args:
        output_dim: Width of the output of each position.
        horizon: Ta.
        cond_dim: Width of one observation token.
        T_cond: Most observation tokens.
        n_layer: Layers of the decoder.
        n_head: Heads of each attention.
        n_emb: Width of a token, E.
        p_drop_emb: Dropout of embeddings.
        p_drop_attn: Dropout inside the layers.
        causal_attn: A position attends to earlier ones, and to observations up to its
            own, only.
        n_cond_layers: Layers of the encoder; 0 for an MLP.
        activation: "gelu" or "relu", inside the layers.
    """

    def __init__(
        self,
        output_dim: int,
        horizon: int,
        cond_dim: int,
        T_cond: int = 1,
        n_layer: int = 12,
        n_head: int = 12,
        n_emb: int = 768,
        p_drop_emb: float = 0.0,
        p_drop_attn: float = 0.0,
        causal_attn: bool = False,
        n_cond_layers: int = 0,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.cond_pos_emb = nn_Parameter(normal((1, T_cond, n_emb), std=INITIAL_STD))
        self.pos_emb = nn_Parameter(normal((1, horizon, n_emb), std=INITIAL_STD))
        self.register_buffer("mask", _later(horizon, horizon, 0, causal_attn))
        self.register_buffer("memory_mask", _later(horizon, T_cond, 1, causal_attn))
        self.drop = nn_Dropout(p_drop_emb)
        options: dict[str, Any] = {
            "d_model": n_emb,
            "nhead": n_head,
            "dim_feedforward": 4 * n_emb,
            "dropout": p_drop_attn,
            "activation": activation,
            "batch_first": True,
            "norm_first": True,
        }
        self.cond_obs_emb = nn_Linear(cond_dim, n_emb)
        self.encoder = _encoder(n_cond_layers, n_emb, options)
        layer = nn_TransformerDecoderLayer(**options)
        self.decoder = nn_TransformerDecoder(layer, n_layer)
        self.ln_f = nn_LayerNorm(n_emb)
        self.head = nn_Linear(n_emb, output_dim)
        _initialise(self)

    def call(self, cond: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Outputs (B, Ta, output_dim) and the features (B, Ta, E) they are linear in.

        Args:
            cond: Observation tokens (B, T, cond_dim), T <= T_cond.
        """
        tokens, start = cond.shape[1], tf.convert_to_tensor(self.pos_emb)
        place = tf.convert_to_tensor(self.cond_pos_emb)[:, :tokens]
        memory = self.encoder(self.drop(self.cond_obs_emb(cond) + place))
        decoded = self.decoder(
            self.drop(tf.broadcast_to(start, [size_of(cond, 0), *start.shape[1:]])),
            memory,
            tgt_mask=_columns(self.mask, start.shape[1]),
            memory_mask=_columns(self.memory_mask, tokens),
        )
        features = self.ln_f(decoded)
        return self.head(features), features


def _later(length: int, keys: int, ahead: int, exists: bool) -> np.ndarray | None:
    """A mask of -inf where key s comes more than `ahead` after position t, else 0."""
    if not exists:
        return None
    is_later = np.arange(keys) > np.arange(length)[:, None] + ahead
    return np.where(is_later, -math.inf, 0.0).astype(np.float32)


def _columns(mask: Any, keys: int) -> tf.Tensor | None:
    """The part of a mask that is about the first keys, if there is one."""
    return None if mask is None else tf.convert_to_tensor(mask)[:, :keys]


def _encoder(layers: int, width: int, options: dict[str, Any]) -> nn_Module:
    """Attention among observations, or an MLP on each."""
    if layers:
        return nn_TransformerEncoder(nn_TransformerEncoderLayer(**options), layers)
    return nn_Sequential(
        nn_Linear(width, 4 * width), nn_Mish(), nn_Linear(4 * width, width)
    )


def _initialise(module: nn_Module) -> None:
    """Draws all weights of linear maps from N(0, 0.02) and sets their biases to 0."""
    for part in module.modules():
        if isinstance(part, nn_Linear):
            weight, bias = part.weight, part.bias
        elif isinstance(part, nn_MultiheadAttention):
            weight, bias = part.in_proj_weight, part.in_proj_bias
        else:
            continue
        weight.assign(normal(weight.shape, std=INITIAL_STD))
        if bias is not None:
            bias.assign(tf.zeros_like(bias))


class _TransformerPolicy(StdBounds):
    """Moments of M modes over the chunk from one `Transformer`.

    The flat state is its one observation token.

    Args:
        modes: M.
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        transformer_embed_dim: Width of a token, E.
        transformer_num_heads: Heads of each attention.
        transformer_num_layers: Layers.
        transformer_activation: "gelu" or "relu".
        p_drop_emb: Dropout of embeddings.
        p_drop_attn: Dropout inside the layers.
        fixed_std: Standard deviation; None to predict it from the state.
        learn_fixed_std: Train one standard deviation per mode and action dimension.
        std_min: Lower bound of a learned or predicted standard deviation.
        std_max: Upper bound.
    """

    def __init__(
        self,
        modes: int,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        transformer_embed_dim: int = 256,
        transformer_num_heads: int = 8,
        transformer_num_layers: int = 6,
        transformer_activation: str = "gelu",
        p_drop_emb: float = 0.0,
        p_drop_attn: float = 0.0,
        fixed_std: float | None = None,
        learn_fixed_std: bool = False,
        std_min: float = 0.01,
        std_max: float = 1.0,
    ) -> None:
        size = modes * action_dim
        super().__init__(std_min, std_max, fixed_std, learn_fixed_std, size)
        check_modes(modes)
        self.modes, self.action_dim = modes, action_dim
        self.horizon_steps, self.embed_dim = horizon_steps, transformer_embed_dim
        self.parts = 1 if fixed_std is not None else 2
        self.transformer = Transformer(
            self.parts * size,
            horizon_steps,
            cond_dim,
            n_layer=transformer_num_layers,
            n_head=transformer_num_heads,
            n_emb=transformer_embed_dim,
            p_drop_emb=p_drop_emb,
            p_drop_attn=p_drop_attn,
            activation=transformer_activation,
        )

    def moments(self, cond: Cond) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Means and standard deviations (B, M, Ta * Da), features (B, Ta, E)."""
        out, features = self.transformer(flat_state(cond)[:, None])
        steps, modes, width = self.horizon_steps, self.modes, self.action_dim
        out = tf.reshape(out, [-1, steps, self.parts, modes, width])
        mean, *logvar = (
            tf.reshape(tf.transpose(part, [0, 2, 1, 3]), [-1, modes, steps * width])
            for part in tf.unstack(out, axis=2)
        )
        mean = tf.tanh(mean)
        std = self.clamped_std(*logvar) if logvar else self.constant_std(mean)
        return mean, std, features


class Gaussian_Transformer(_TransformerPolicy):
    """Gaussian over the action chunk from a transformer on the state.

    Args:
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        **kwargs: Arguments of `_TransformerPolicy`.
    """

    def __init__(
        self, action_dim: int, horizon_steps: int, cond_dim: int, **kwargs: Any
    ) -> None:
        super().__init__(1, action_dim, horizon_steps, cond_dim, **kwargs)

    def call(self, cond: Cond) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation, each (B, Ta * Da).

        Args:
            cond: {"state": (B, To, Do)}.
        """
        mean, std, _ = self.moments(cond)
        return mean[:, 0], std[:, 0]


class GMM_Transformer(_TransformerPolicy):
    """Mixture of Gaussians over the action chunk from a transformer on the state.

    Args:
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        num_modes: M.
        **kwargs: Arguments of `_TransformerPolicy`.
    """

    def __init__(
        self,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        num_modes: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_modes, action_dim, horizon_steps, cond_dim, **kwargs)
        self.modes_head = nn_Linear(horizon_steps * self.embed_dim, num_modes)

    def call(self, cond: Cond) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Means and standard deviations (B, M, Ta * Da) and logits of modes (B, M).

        Args:
            cond: {"state": (B, To, Do)}.
        """
        mean, std, features = self.moments(cond)
        flat = tf.reshape(features, [-1, self.horizon_steps * self.embed_dim])
        return mean, std, self.modes_head(flat)
