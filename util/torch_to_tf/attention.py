"""Attention of `torch.nn`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf import init
from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.layers import (
    Products,
    add_bias,
    as_input,
    kept_sizes,
    make_parameter,
    nn_Dropout,
    nn_Linear,
    times_transposed,
)
from util.torch_to_tf.sizes import size_of, sizes_of


class nn_MultiheadAttention(Products):
    """Attention of several heads (`torch.nn.MultiheadAttention`).

    softmax(Q K^T / sqrt(D) + mask) V for each head of D = embed_dim / num_heads
    entries, where Q, K and V are linear in query, key and value; the heads' results
    side by side go through `out_proj` (Vaswani et al., 2017).

    The parameters are `in_proj_weight` (3 embed_dim, embed_dim), or `q_proj_weight`,
    `k_proj_weight` and `v_proj_weight` if `kdim` or `vdim` differ; `in_proj_bias`;
    `bias_k` and `bias_v` (1, 1, embed_dim); and those of `out_proj`.

    Args:
        embed_dim: Size of the query and of the result.
        num_heads: Number of heads.
        dropout: Probability with which a weight is dropped in training mode.
        bias: Whether `in_proj_bias` and the bias of `out_proj` exist.
        add_bias_kv: Whether `bias_k` and `bias_v` are one more key and value.
        add_zero_attn: Whether zeros are one more key and value.
        kdim: Size of the key, embed_dim by default.
        vdim: Size of the value, embed_dim by default.
        batch_first: Whether the batch stands before the sequence, (N, L, E).
        device: Where the parameters are.
        dtype: Their type, and that of inputs and outputs.

    Raises:
        ValueError: The heads do not divide embed_dim.

    Example: `nn_MultiheadAttention(4, 2)(*[tf.zeros([5, 3, 4])] * 3)[0].shape` gives
    `(5, 3, 4)`.
    """

    in_proj_weight: Any = None
    q_proj_weight: Any = None
    k_proj_weight: Any = None
    v_proj_weight: Any = None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ValueError(
                "num_heads must be positive and divide embed_dim, "
                f"got {num_heads} and {embed_dim}."
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.head_dim = embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first
        self.dropout = dropout
        self._make_parameters(bias, add_bias_kv, {"device": device, "dtype": dtype})
        self._dropout = nn_Dropout(dropout)

    def _make_parameters(
        self, bias: bool, add_bias_kv: bool, factory: dict[str, Any]
    ) -> None:
        size = self.embed_dim

        def weight(*shape: int) -> Any:
            bound = math.sqrt(6.0 / sum(shape))
            return make_parameter(init.uniform(shape, bound), **factory)

        if self.kdim == self.vdim == size:
            self.in_proj_weight = weight(3 * size, size)
        else:
            self.q_proj_weight = weight(size, size)
            self.k_proj_weight = weight(size, self.kdim)
            self.v_proj_weight = weight(size, self.vdim)
        self.in_proj_bias = (
            make_parameter(np.zeros(3 * size), **factory) if bias else None
        )
        self.out_proj = nn_Linear(size, size, bias, **factory)
        if self.out_proj.bias is not None:
            self.out_proj.bias.assign(tf.zeros_like(self.out_proj.bias))

        def row() -> Any:
            value = init.normal((1, 1, size), std=1.0 / math.sqrt(size))
            return make_parameter(value, **factory)

        self.bias_k: Any = row() if add_bias_kv else None
        self.bias_v: Any = row() if add_bias_kv else None

    def call(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        key_padding_mask: tf.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: tf.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Results for each query, and the weights that they were made with.

        Masks are true where a key is not seen, or floats that are added to the scores.
        Where no key is seen the result is NaN before `out_proj`, but 0 without
        `need_weights`; that is so in PyTorch, too.

        Args:
            query: (L, N, embed_dim), (N, L, embed_dim) if `batch_first`, or
                (L, embed_dim).
            key: (S, N, kdim), with N in the same place.
            value: (S, N, vdim), with N in the same place.
            key_padding_mask: (N, S), or (S,) without a batch.
            need_weights: Whether to return the weights.
            attn_mask: (L, S), or (N * num_heads, L, S).
            average_attn_weights: Whether the weights are the mean over the heads.
            is_causal: Says that `attn_mask`, which must be given, hides later keys. As
                in PyTorch it is then not looked at, unless there is another mask or
                `need_weights`.

        Returns:
            The shape of the query, and (N, L, S), or (N, num_heads, L, S) if not
            averaged, or None. Without a batch there is no N.
        """
        if is_causal and attn_mask is None:
            raise ValueError("attn_mask must be given for is_causal=True, got None.")
        q, k, v = self._project(query, key, value)
        is_hint = is_causal and key_padding_mask is None and not need_weights
        mask = None if is_hint else self._mask(q, k, attn_mask, key_padding_mask)
        k, v = self._with_extra(k, self.bias_k), self._with_extra(v, self.bias_v)
        if is_hint:
            mask = _causal(size_of(q, -2), size_of(k, -2), q.dtype)
        may_be_blind = not (need_weights or is_hint or self._extra() or mask is None)
        if may_be_blind:
            is_blind = tf.reduce_all(mask == -math.inf, axis=-1, keepdims=True)
            mask = tf.where(is_blind, tf.zeros([], q.dtype), mask)
        scores = tf.matmul(q * (1.0 / math.sqrt(self.head_dim)), k, transpose_b=True)
        weights = tf.nn.softmax(scores if mask is None else scores + mask)
        weights = self._dropout(weights)
        result = tf.matmul(weights, v)
        if may_be_blind:
            result = tf.where(is_blind, tf.zeros([], q.dtype), result)
        output = self.out_proj(self._joined(result))
        if not need_weights:
            return output, None
        return output, tf.reduce_mean(weights, -3) if average_attn_weights else weights

    # -- projections ------------------------------------------------------------------

    def _project(self, query: Any, key: Any, value: Any) -> list[tf.Tensor]:
        """Q, K and V, (N, num_heads, L, D) each; in as few products as there can be."""
        is_one, is_pair = query is key is value, key is value
        own = self.q_proj_weight if self.in_proj_weight is None else self.in_proj_weight
        query = as_input(query, own, "query")
        key = as_input(key, own, "key")
        value = as_input(value, own, "value")
        self._check_shapes(query, key, value)
        if self.in_proj_weight is None:
            given = [(query, 1), (key, 1), (value, 1)]
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        else:
            pair = [(key, 2)] if is_pair else [(key, 1), (value, 1)]
            given = [(query, 3)] if is_one else [(query, 1), *pair]
            weights = self._parts(self.in_proj_weight, given)
        biases = self._parts(self.in_proj_bias, given)
        found = []
        for (tensor, count), weight, bias in zip(given, weights, biases, strict=True):
            y = add_bias(self.rounded(times_transposed, tensor, weight), bias)
            found += self._heads(y, count)
        return found

    def _parts(self, packed: Any, given: list[tuple[Any, int]]) -> list[Any]:
        """What of a packed parameter belongs to each product."""
        if packed is None or len(given) == 1:
            return [packed] * len(given)
        return tf.split(
            tf.convert_to_tensor(packed), [n * self.embed_dim for _, n in given]
        )

    def _heads(self, y: tf.Tensor, count: int) -> list[tf.Tensor]:
        """(N, num_heads, L, D) of each of `count` projections side by side."""
        sizes = [*kept_sizes(y)[:-1], count, self.num_heads, self.head_dim]
        if len(sizes) == 4:
            order = [1, 2, 0, 3]
        else:
            order = [2, 0, 3, 1, 4] if self.batch_first else [2, 1, 3, 0, 4]
        return tf.unstack(tf.transpose(tf.reshape(y, sizes), order), count)

    def _joined(self, result: tf.Tensor) -> tf.Tensor:
        """The heads' results side by side, laid out as the query."""
        if result.shape.rank == 3:
            order = [1, 0, 2]
        else:
            order = [0, 2, 1, 3] if self.batch_first else [2, 0, 1, 3]
        result = tf.transpose(result, order)
        return tf.reshape(result, [*kept_sizes(result)[:-2], self.embed_dim])

    def _extra(self) -> int:
        """How many keys are added to those given."""
        return (self.bias_k is not None) + bool(self.add_zero_attn)

    def _with_extra(self, x: tf.Tensor, bias: Any) -> tf.Tensor:
        """Keys or values and those that are added."""
        if bias is not None:
            row = tf.reshape(bias, [self.num_heads, 1, self.head_dim])
            row = tf.broadcast_to(row, [*sizes_of(x)[:-2], 1, self.head_dim])
            x = tf.concat([x, row], -2)
        if self.add_zero_attn:
            x = tf.pad(x, [[0, 0]] * (x.shape.rank - 2) + [[0, 1], [0, 0]])
        return x

    def _check_shapes(self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> None:
        ranks = [x.shape.rank for x in (query, key, value)]
        if ranks not in ([2] * 3, [3] * 3):
            raise ValueError(
                f"query, key and value must all have 3 axes, or 2, got {ranks}."
            )
        expected = [self.embed_dim, self.kdim, self.vdim]
        sizes = [x.shape[-1] for x in (query, key, value)]
        if _differ(sizes, expected):
            raise ValueError(
                f"query, key and value must have last sizes {expected}, got {sizes}."
            )
        if _differ(key.shape[:-1].as_list(), value.shape[:-1].as_list()):
            raise ValueError(
                f"value must have as many entries as key {key.shape}, "
                f"got {value.shape}."
            )
        axis = 0 if self.batch_first else 1
        if ranks[0] == 3 and _differ([query.shape[axis]], [key.shape[axis]]):
            raise ValueError(
                f"key must have the batch of query {query.shape}, got {key.shape}."
            )

    # -- masks ------------------------------------------------------------------------

    def _mask(
        self, q: tf.Tensor, k: tf.Tensor, attn: Any, padding: Any
    ) -> tf.Tensor | None:
        """What is added to the scores; None for nothing."""
        batch = q.shape[0] if q.shape.rank == 4 else 1
        length, keys = q.shape[-2], k.shape[-2]
        masks = []
        if attn is not None:
            rows = None if batch is None else batch * self.num_heads
            attn = _additive(attn, q.dtype, "attn_mask")
            _check_mask(attn, [[length, keys], [rows, length, keys]], "attn_mask")
            if attn.shape.rank == 3 and q.shape.rank == 4:
                sizes = sizes_of(attn)[1:]
                attn = tf.reshape(attn, [size_of(q, 0), self.num_heads, *sizes])
            masks.append(attn)
        if padding is not None:
            padding = _additive(padding, q.dtype, "key_padding_mask")
            shape = [batch, keys] if q.shape.rank == 4 else [keys]
            _check_mask(padding, [shape], "key_padding_mask")
            masks.append(padding[..., None, None, :] if len(shape) == 2 else padding)
        if not masks:
            return None
        mask = masks[0] if len(masks) == 1 else masks[0] + masks[1]
        if not self._extra():
            return mask
        return tf.pad(mask, [[0, 0]] * (mask.shape.rank - 1) + [[0, self._extra()]])


def _additive(mask: Any, dtype: tf.DType, name: str) -> tf.Tensor:
    """A mask as what is added to the scores."""
    mask = as_tensor(mask, name)
    if mask.dtype.is_bool:
        return tf.where(mask, tf.constant(-math.inf, dtype), tf.zeros([], dtype))
    if mask.dtype != dtype:
        raise TypeError(f"{name} must be bool or {dtype.name}, got {mask.dtype.name}.")
    return mask


def _check_mask(mask: tf.Tensor, shapes: list[list[int | None]], name: str) -> None:
    """Refuses a mask whose shape is none of `shapes`."""
    found = mask.shape.as_list()
    if all(_differ(found, shape) for shape in shapes):
        expected = " or ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"{name} must have shape {expected}, got {tuple(found)}.")


def _differ(first: Sequence[int | None], second: Sequence[int | None]) -> bool:
    """Whether sizes differ as far as they are known."""
    return len(first) != len(second) or any(
        a != b and a is not None and b is not None
        for a, b in zip(first, second, strict=True)
    )


def _causal(length: Any, keys: Any, dtype: tf.DType) -> tf.Tensor:
    """The mask that hides later keys, (length, keys)."""
    later = tf.range(length)[:, None] < tf.range(keys)[None, :]
    return _additive(later, dtype, "attn_mask")
