"""Gradients of a minibatch, a block of its rows at a time.

The activations of a network are kept for as many rows as are evaluated at once: of
50,000 rows of the Hopper leaf they take 500 MiB, of 5,000 rows a tenth of it. Losses
are means over rows, so gradients of blocks add up to that of the minibatch; what rows
share, such as the normalisation of advantages, is computed for all of them before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

Rows = dict[str, tf.Tensor]


def gradients_in_blocks(
    prepare: Callable[[tf.Tensor], Rows],
    evaluate: Callable[[tf.Tensor, Rows], tuple[tf.Tensor, Any]],
    rows: tf.Tensor,
    params: Sequence[keras.Variable],
    size: int | None,
) -> tuple[Any, list[tf.Tensor | None]]:
    """Losses of a minibatch and the gradient of their total (compiled).

    Args:
        prepare: From rows (B,) to float tensors (B, ...), computed for all rows at once
            and differentiated.
        evaluate: From rows and what was prepared for them to the total and the terms,
            a NamedTuple of scalars; all of them are means over the given rows.
        rows: Indices of the minibatch, (B,), B known.
        params: Variables.
        size: Most rows that are evaluated at once; None for all.

    Returns:
        The terms, and a gradient for each variable (None where there is none).
    """
    total_rows = rows.shape[0]
    blocks = -(-total_rows // (size or total_rows))
    with tf.GradientTape() as tape:
        prepared = prepare(rows)
        if blocks == 1:
            total, terms = evaluate(rows, prepared)
    if blocks == 1:
        return terms, tape.gradient(total, params)
    loop = _Loop(evaluate, rows, prepared, params, blocks)
    terms, grads, upstream = loop.run()
    before = tape.gradient(prepared, params, output_gradients=upstream)
    return terms, [_add(*pair) for pair in zip(grads, before, strict=True)]


class _Loop:
    """Blocks one after the other, each weighted by its share of the rows."""

    def __init__(
        self,
        evaluate: Callable[[tf.Tensor, Rows], tuple[tf.Tensor, Any]],
        rows: tf.Tensor,
        prepared: Rows,
        params: Sequence[keras.Variable],
        blocks: int,
    ) -> None:
        self.evaluate, self.rows, self.prepared = evaluate, rows, prepared
        self.params, self.blocks = params, blocks
        self.height = -(-rows.shape[0] // blocks)

    def run(self) -> tuple[Any, list[tf.Tensor | None], Rows]:
        """Sums of terms and gradients, and the gradient of what was prepared."""
        arrays = {
            name: tf.TensorArray(value.dtype, self.blocks, infer_shape=False)
            for name, value in self.prepared.items()
        }
        traced: dict[str, Any] = {}  # by the body, which is traced once

        def body(index: tf.Tensor, sums: list, terms: Any, arrays: dict) -> tuple:
            found, grads, upstream = self._block(index)
            traced["terms"], traced["grads"] = found, grads
            terms = terms.write(index, tf.stack(list(found)))
            arrays = {k: a.write(index, upstream[k]) for k, a in arrays.items()}
            sums = [s if g is None else s + g for s, g in zip(sums, grads, strict=True)]
            return index + 1, sums, terms, arrays

        zeros = [tf.zeros(p.shape, p.dtype) for p in self.params]
        _, sums, terms, arrays = tf.while_loop(
            lambda index, *_: index < self.blocks,
            body,
            (tf.constant(0), zeros, tf.TensorArray(tf.float32, self.blocks), arrays),
            parallel_iterations=1,
        )
        pairs = zip(sums, traced["grads"], strict=True)
        upstream = {
            name: tf.ensure_shape(array.concat(), self.prepared[name].shape)
            for name, array in arrays.items()
        }
        summed = tf.unstack(tf.reduce_sum(terms.stack(), axis=0))
        return (
            type(traced["terms"])(*summed),
            [None if grad is None else total for total, grad in pairs],
            upstream,
        )

    def _block(self, index: tf.Tensor) -> tuple[Any, list[tf.Tensor | None], Rows]:
        """Terms and gradients of one block; the last may have fewer rows."""
        start = index * self.height
        rows, prepared = tf.nest.map_structure(
            lambda value: value[start : start + self.height], (self.rows, self.prepared)
        )
        share = tf.cast(tf.shape(rows)[0] / self.rows.shape[0], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(prepared)
            total, terms = self.evaluate(rows, prepared)
            total = total * share
        grads, above = tape.gradient(total, (list(self.params), prepared))
        upstream = {
            name: tf.zeros_like(value) if above[name] is None else above[name]
            for name, value in prepared.items()
        }
        return type(terms)(*(term * share for term in terms)), grads, upstream


def sum_gradients(
    minibatch: Callable[[tf.Tensor], tuple[Any, list[tf.Tensor | None]]],
    count: tf.Tensor,
    params: Sequence[keras.Variable],
) -> tuple[Any, list[tf.Tensor | None]]:
    """Gradients of several minibatches, one after the other, added up (compiled).

    Args:
        minibatch: From an index to terms, a NamedTuple of scalars, and gradients.
        count: Number of minibatches.
        params: Variables.

    Returns:
        The terms, each (count,), and the sum of the gradients of each variable.
    """
    traced: dict[str, Any] = {}  # by the body, which is traced once

    def body(index: tf.Tensor, sums: list, terms: tf.TensorArray) -> tuple:
        found, grads = minibatch(index)
        traced["terms"], traced["grads"] = type(found), grads
        sums = [s if g is None else s + g for s, g in zip(sums, grads, strict=True)]
        return index + 1, sums, terms.write(index, tf.stack(list(found)))

    _, sums, terms = tf.while_loop(
        lambda index, *_: index < count,
        body,
        (
            tf.constant(0),
            [tf.zeros(p.shape, p.dtype) for p in params],
            tf.TensorArray(tf.float32, count),
        ),
        parallel_iterations=1,
    )
    pairs = zip(sums, traced["grads"], strict=True)
    stacked = tf.unstack(terms.stack(), axis=1, num=len(traced["terms"]._fields))
    return traced["terms"](*stacked), [None if g is None else s for s, g in pairs]


def _add(first: tf.Tensor | None, second: tf.Tensor | None) -> tf.Tensor | None:
    """The sum of what is there."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
