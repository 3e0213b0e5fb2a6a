"""The table of vectors of `torch.nn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf import init
from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.layers import make_parameter
from util.torch_to_tf.module import nn_Module
from util.torch_to_tf.sizes import size_of


class nn_Embedding(nn_Module):
    """Looks up rows of a table (`torch.nn.Embedding`).

    The gradient of the table is dense, or `tf.IndexedSlices` if `sparse`.

    Args:
        num_embeddings: Rows of the table.
        embedding_dim: Columns.
        padding_idx: A row whose gradient is zero and which starts as zeros; counted
            from the end if negative.
        max_norm: Rows that are looked up and have a larger norm are scaled down to it,
            in the table itself.
        norm_type: Order of that norm, at least 0.
        scale_grad_by_freq: Divide the gradient of a row by how often it is looked up.
        sparse: See above.
        _weight: The table, instead of one drawn from N(0, 1).
        _freeze: Whether the table is not trained.
        device: Where it is.
        dtype: Its type.

    Raises:
        ValueError: There is no such row, or the table has another shape;
            `scale_grad_by_freq` with `sparse`, which PyTorch refuses later.

    Example: `nn_Embedding(4, 3)(tf.constant([[0, 3]])).shape` gives `(1, 2, 3)`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        shape = (num_embeddings, embedding_dim)
        _check(shape, padding_idx, norm_type, scale_grad_by_freq and sparse)
        self.num_embeddings, self.embedding_dim = shape
        self.padding_idx = (
            None if padding_idx is None else int(padding_idx) % num_embeddings
        )
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if _weight is None:
            table = init.normal(shape)
            if self.padding_idx is not None:
                table[self.padding_idx] = 0.0
        else:
            table = np.asarray(as_tensor(_weight, "_weight"))
            dtype = table.dtype
        if table.shape != shape:
            raise ValueError(f"_weight must have shape {shape}, got {table.shape}.")
        self.weight = make_parameter(table, device, dtype, not _freeze)
        if self._arguments.get("_weight") is not None:  # Not held twice.
            self._arguments.update(_weight=None, dtype=self.weight.dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> nn_Embedding:
        """An embedding with a given table.

        Args:
            embeddings: The table, (rows, columns). It is copied.
            freeze: Whether it is not trained.
            padding_idx: As for the class, but the row keeps its values.
            max_norm: As for the class.
            norm_type: As for the class.
            scale_grad_by_freq: As for the class.
            sparse: As for the class.
        """
        table = np.asarray(as_tensor(embeddings, "embeddings"))
        if table.ndim != 2:
            raise ValueError(f"embeddings must have 2 axes, got shape {table.shape}.")
        return cls(
            table.shape[0],
            table.shape[1],
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            _weight=table,
            _freeze=freeze,
        )

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """The rows of whole numbers (...), (..., embedding_dim).

        Raises:
            IndexError: There is no such row; eagerly only. In a graph TensorFlow fails
                on a CPU, and on a GPU or under XLA the result is meaningless.
        """
        input = as_tensor(input)
        if input.dtype not in (tf.int32, tf.int64):
            raise TypeError(f"input must be int32 or int64, got {input.dtype.name}.")
        self._check_rows(input)
        if self.max_norm is not None:
            self._renormalise(tf.reshape(input, [-1]))
        weight = tf.convert_to_tensor(self.weight)
        if not self.sparse:
            return self._dense_lookup(weight, input)
        rows = tf.gather(self.weight.value, input)
        if self.padding_idx is None:
            return rows
        is_padding = tf.equal(input, self.padding_idx)[..., None]
        return tf.where(is_padding, tf.stop_gradient(rows), rows)

    def _dense_lookup(self, weight: tf.Tensor, input: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def lookup(weight: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def grad(upstream: tf.Tensor) -> tf.Tensor:
                return self._table_gradient(tf.reshape(input, [-1]), upstream)

            return tf.gather(weight, input), grad

        return lookup(weight)

    def _table_gradient(self, index: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        upstream = tf.reshape(upstream, [size_of(index, 0), self.embedding_dim])
        if self.padding_idx is not None:  # Entries of negative rows are left out.
            nowhere = tf.constant(-1, index.dtype)
            index = tf.where(tf.equal(index, self.padding_idx), nowhere, index)
        total = tf.math.unsorted_segment_sum(upstream, index, self.num_embeddings)
        if not self.scale_grad_by_freq:
            return total
        ones = tf.ones_like(index, upstream.dtype)
        count = tf.math.unsorted_segment_sum(ones, index, self.num_embeddings)
        return total / tf.maximum(count, 1.0)[:, None]

    def _renormalise(self, index: tf.Tensor) -> None:
        """Scales rows of the table down to the largest norm; once if named twice."""
        rows = tf.gather(tf.convert_to_tensor(self.weight), index)
        norms = _norms(rows, self.norm_type)
        factors = tf.where(
            norms > self.max_norm, self.max_norm / (norms + 1e-7), tf.ones_like(norms)
        )
        self.weight.value.scatter_nd_update(index[:, None], rows * factors)

    def _check_rows(self, input: tf.Tensor) -> None:
        index = tf.get_static_value(input)
        if index is None or index.size == 0:
            return
        if index.min() < 0 or index.max() >= self.num_embeddings:
            raise IndexError(
                f"input must be in [0, {self.num_embeddings - 1}], "
                f"got {index.min()} to {index.max()}."
            )


def _check(
    shape: tuple[int, int], padding_idx: int | None, norm_type: float, refused: bool
) -> None:
    rows = shape[0]
    if min(shape) < 0:
        raise ValueError(
            f"num_embeddings and embedding_dim must be >= 0, got {shape[0]} "
            f"and {shape[1]}."
        )
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ValueError(
            f"padding_idx must be in [{-rows}, {rows - 1}], got {padding_idx}."
        )
    if norm_type < 0:
        raise ValueError(f"norm_type must be >= 0, got {norm_type}.")
    if refused:
        raise ValueError("scale_grad_by_freq must be False if sparse, got True.")


def _norms(rows: tf.Tensor, order: float) -> tf.Tensor:
    """The norm of each row, (n, 1)."""
    if order == 0:
        used = tf.math.count_nonzero(rows, axis=-1, keepdims=True)
        return tf.cast(used, rows.dtype)
    return tf.norm(rows, ord=order, axis=-1, keepdims=True)
