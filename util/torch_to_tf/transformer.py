"""Transformers of `torch.nn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.attention import nn_MultiheadAttention
from util.torch_to_tf.containers import nn_ModuleList
from util.torch_to_tf.layers import Products, nn_Dropout, nn_Linear
from util.torch_to_tf.module import clone_network, nn_Module
from util.torch_to_tf.normalization import nn_LayerNorm

Activation = str | Callable[[tf.Tensor], tf.Tensor]


class _Layer(nn_Module):
    """What the layers of encoder and decoder share.

    Args:
        d_model: Size of each entry of a sequence.
        nhead: Heads of the attention.
        dim_feedforward: Size between the two linear layers.
        dropout: Probability of a zero in training mode.
        activation: "relu", "gelu" or a function, between the linear layers.
        layer_norm_eps: `eps` of the normalisations.
        batch_first: Whether the batch stands before the sequence.
        norm_first: Whether each part normalises its input, not its result.
        bias: Whether the layers have biases.
        device: Where the parameters are.
        dtype: Their type.
    """

    attentions: tuple[str, ...] = ("self_attn",)

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = tf.nn.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = {"device": device, "dtype": dtype}
        for name in self.attentions:
            attention = nn_MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, **where
            )
            setattr(self, name, attention)
        self.linear1 = nn_Linear(d_model, dim_feedforward, bias, **where)
        self.dropout = nn_Dropout(dropout)
        self.linear2 = nn_Linear(dim_feedforward, d_model, bias, **where)
        self.norm_first = norm_first
        parts = range(1, len(self.attentions) + 2)
        for part in parts:
            norm = nn_LayerNorm(d_model, layer_norm_eps, bias=bias, **where)
            setattr(self, f"norm{part}", norm)
        for part in parts:
            setattr(self, f"dropout{part}", nn_Dropout(dropout))
        self.activation = _activation(activation)

    def _attend(
        self,
        attention: nn_MultiheadAttention,
        query: tf.Tensor,
        memory: tf.Tensor,
        masks: tuple[Any, Any, bool],
    ) -> tf.Tensor:
        mask, padding, is_causal = masks
        return attention(
            query, memory, memory, padding, False, mask, is_causal=is_causal
        )[0]

    def _feed_forward(self, x: tf.Tensor) -> tf.Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _add(
        self, part: int, x: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]
    ) -> tf.Tensor:
        """x and what one part makes of it."""
        norm, dropout = getattr(self, f"norm{part}"), getattr(self, f"dropout{part}")
        if self.norm_first:
            return x + dropout(function(norm(x)))
        return norm(x + dropout(function(x)))


class nn_TransformerEncoderLayer(_Layer):
    """Self-attention and two linear layers (`torch.nn.TransformerEncoderLayer`).

    Each adds to its input, and the sum is normalised; or x + f(norm(x)) with
    `norm_first`. The arguments are PyTorch's: sizes, the probability of dropout, and
    "relu", "gelu" or a function as activation.

    Example: `nn_TransformerEncoderLayer(4, 2, 8)(tf.zeros([5, 3, 4])).shape` gives
    `(5, 3, 4)`.
    """

    def call(
        self,
        src: tf.Tensor,
        src_mask: tf.Tensor | None = None,
        src_key_padding_mask: tf.Tensor | None = None,
        is_causal: bool = False,
    ) -> tf.Tensor:
        """Maps a sequence to one of its shape; masks as for `nn_MultiheadAttention`."""
        masks = (src_mask, src_key_padding_mask, is_causal)
        x = as_tensor(src, "src")
        x = self._add(1, x, lambda x: self._attend(self.self_attn, x, x, masks))
        return self._add(2, x, self._feed_forward)


class nn_TransformerDecoderLayer(_Layer):
    """Attention to itself and to a memory (`torch.nn.TransformerDecoderLayer`).

    Two linear layers follow. Arguments are those of `nn_TransformerEncoderLayer`.

    Example: `nn_TransformerDecoderLayer(4, 2, 8)(*[tf.zeros([5, 3, 4])] * 2).shape`
    gives `(5, 3, 4)`.
    """

    attentions = ("self_attn", "multihead_attn")

    def call(
        self,
        tgt: tf.Tensor,
        memory: tf.Tensor,
        tgt_mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        tgt_key_padding_mask: tf.Tensor | None = None,
        memory_key_padding_mask: tf.Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> tf.Tensor:
        """Maps a sequence to one of its shape; masks as for `nn_MultiheadAttention`."""
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        x, memory = as_tensor(tgt, "tgt"), as_tensor(memory, "memory")
        x = self._add(1, x, lambda x: self._attend(self.self_attn, x, x, own))
        x = self._add(
            2, x, lambda x: self._attend(self.multihead_attn, x, memory, other)
        )
        return self._add(3, x, self._feed_forward)


class nn_TransformerEncoder(nn_Module):
    """A stack of encoder layers (`torch.nn.TransformerEncoder`).

    PyTorch can skip entries that `src_key_padding_mask` hides and return zeros for
    them, without gradients and in evaluation mode only; here they are always computed.

    Args:
        encoder_layer: Its copies, with equal values, are the layers.
        num_layers: How many, at least 1.
        norm: Applied to the result.
        enable_nested_tensor: Accepted for PyTorch's signature; see above.
        mask_check: Accepted for PyTorch's signature.

    Example: `len(nn_TransformerEncoder(nn_TransformerEncoderLayer(4, 2, 8), 6).layers)`
    gives `6`.
    """

    def __init__(
        self,
        encoder_layer: nn_Module,
        num_layers: int,
        norm: nn_Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def call(
        self,
        src: tf.Tensor,
        mask: tf.Tensor | None = None,
        src_key_padding_mask: tf.Tensor | None = None,
        is_causal: bool | None = None,
    ) -> tf.Tensor:
        """Maps a sequence to one of its shape; masks as for `nn_MultiheadAttention`."""
        for layer in self.layers:
            src = layer(
                src,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
            )
        return src if self.norm is None else self.norm(src)


class nn_TransformerDecoder(nn_Module):
    """A stack of decoder layers (`torch.nn.TransformerDecoder`).

    `torch_nn_TransformerDecoder` is the same class under a second name.

    Args:
        decoder_layer: Its copies, with equal values, are the layers.
        num_layers: How many, at least 1.
        norm: Applied to the result.

    Example: `len(torch_nn_TransformerDecoder(nn_TransformerDecoderLayer(4, 2, 8),
    6).layers)` gives `6`.
    """

    def __init__(
        self,
        decoder_layer: nn_Module,
        num_layers: int,
        norm: nn_Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def call(
        self,
        tgt: tf.Tensor,
        memory: tf.Tensor,
        tgt_mask: tf.Tensor | None = None,
        memory_mask: tf.Tensor | None = None,
        tgt_key_padding_mask: tf.Tensor | None = None,
        memory_key_padding_mask: tf.Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> tf.Tensor:
        """Maps a sequence to one of its shape; masks as for `nn_MultiheadAttention`."""
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)


def _activation(given: Activation) -> Callable[[tf.Tensor], tf.Tensor]:
    if not isinstance(given, str):
        return given
    known = {"relu": tf.nn.relu, "gelu": _gelu}
    if given not in known:
        raise ValueError(f"activation must be 'relu' or 'gelu', got {given!r}.")
    return known[given]


def _gelu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.gelu(x, approximate=False)


def _copies(layer: nn_Module, count: int) -> nn_ModuleList:
    """Modules like `layer` in values, mode, types of products and what is trained."""
    if count < 1:
        raise ValueError(f"num_layers must be >= 1, got {count}.")
    copies = nn_ModuleList()
    for _ in range(count):
        copy = clone_network(layer)
        for own, given in zip(copy.modules(), layer.modules(), strict=True):
            own.training = given.training
            if isinstance(own, Products):
                own._product_dtype = given._product_dtype
        pairs = zip(copy.parameters(), layer.parameters(), strict=True)
        for parameter, given in pairs:
            parameter.requires_grad = given.requires_grad
        copies.append(copy)
    return copies
