"""Evaluates networks on several devices, a part of the rows on each.

The counterpart of `torch.nn.DataParallel`. Whatever is computed from a network's
output, whole-minibatch statistics included, stays where and as it was, so that losses,
optimizers, averages and checkpoints know nothing of it. `tf.distribute` mirrors
variables and runs the whole step on each device instead; that was tried: losses would
have to be sums over rows (normalised advantages and quantiles are not), draws would
differ between devices, steps that are skipped by a condition are refused, and XLA does
not sample from a mirrored generator. The price here: weights go out from the first
device and gradients come back to it, twice their size for each further device and call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from util.torch_to_tf.module import nn_Module


class nn_DataParallel:
    """Divides rows of inputs among devices (`torch.nn.DataParallel`).

    Networks are named once and divided within `on()`; they keep their class and their
    keys, unlike in PyTorch, where another module wraps one of them. A network must map
    each row by itself, and all tensors given to it have one entry along their first
    axis for each row. Rows need not divide evenly.

    Args:
        devices: TensorFlow's names; with fewer than two nothing changes.
        *modules: The networks.

    Raises:
        ValueError: A network has a part with `draws_in_training`: what it draws would
            depend on the devices.

    Example: `nn_DataParallel(["GPU:0", "GPU:1"], nn_Tanh()).devices` gives
    `("GPU:0", "GPU:1")`.
    """

    def __init__(self, devices: Sequence[str], *modules: nn_Module) -> None:
        self.devices = tuple(devices)
        self.modules = modules if len(self.devices) > 1 else ()
        for module in self.modules:
            if any(
                getattr(part, "draws_in_training", False) for part in module.modules()
            ):
                raise ValueError(
                    f"a network on several devices must draw nothing, got a "
                    f"{type(module).__name__} with dropout or augmentation. Use one "
                    "device, or dropout=0 and augment=False."
                )

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within, calls of the networks are divided."""
        for module in self.modules:
            module.__dict__["_replicated"] = self._call
        try:
            yield
        finally:
            for module in self.modules:
                module.__dict__.pop("_replicated", None)

    def _call(self, module: nn_Module, args: tuple, kwargs: dict) -> Any:
        """`module.call(*args, **kwargs)`, divided."""
        leaves = tf.nest.flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if tf.is_tensor(leaf)]
        variables = module.parameters()
        form: list[Any] = []

        def forward(rows: Sequence[tf.Tensor], weights: Sequence[tf.Tensor]) -> list:
            given = list(leaves)
            for place, value in zip(places, rows, strict=True):
                given[place] = value
            args_here, kwargs_here = tf.nest.pack_sequence_as((args, kwargs), given)
            with keras.StatelessScope(zip(variables, weights, strict=True)):
                output = module.call(*args_here, **kwargs_here)
            form[:] = [output]
            return tf.nest.flatten(output)

        flat = _on_devices(
            self.devices,
            forward,
            [leaves[i] for i in places],
            [tf.convert_to_tensor(v) for v in variables],
        )
        return tf.nest.pack_sequence_as(form[0], flat)


Forward = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], list[tf.Tensor]]


def _on_devices(
    devices: Sequence[str],
    forward: Forward,
    rows: Sequence[tf.Tensor],
    weights: Sequence[tf.Tensor],
) -> list[tf.Tensor]:
    """`forward(rows, weights)`, each device computing a part of the rows.

    The gradient is taken where the part was computed: a tape by itself leaves it to
    the first device.
    """

    @tf.custom_gradient
    def divided(*tensors: tf.Tensor) -> tuple[list[tf.Tensor], Callable]:
        shards = _shards(tensors[: len(rows)], len(devices))
        parts = []
        for device, shard in zip(devices, shards, strict=True):
            with tf.device(device), tf.GradientTape() as tape:
                local = [tf.identity(t) for t in (*shard, *tensors[len(rows) :])]
                tape.watch([t for t in local if t.dtype.is_floating])
                outputs = forward(local[: len(rows)], local[len(rows) :])
            parts.append((device, tape, local, outputs))

        def grad(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
            found = [
                _part_gradient(part, shard)
                for part, shard in zip(
                    parts, _shards(upstream, len(devices)), strict=True
                )
            ]
            columns = list(zip(*found, strict=True))
            joined = [_join(column) for column in columns[: len(rows)]]
            return joined + [_sum(column) for column in columns[len(rows) :]]

        columns = zip(*(part[3] for part in parts), strict=True)
        return [tf.concat(column, axis=0) for column in columns], grad

    return divided(*rows, *weights)


def _part_gradient(
    part: tuple[str, tf.GradientTape, list, list], upstream: Sequence[tf.Tensor]
) -> list[tf.Tensor | None]:
    """Gradients of one device's inputs, computed there; None where there is none."""
    device, tape, local, outputs = part
    with tf.device(device):
        watched = [t for t in local if t.dtype.is_floating]
        grads = iter(
            tape.gradient(outputs, watched, [tf.identity(u) for u in upstream])
        )
        return [next(grads) if t.dtype.is_floating else None for t in local]


def _shards(tensors: Sequence[tf.Tensor], count: int) -> list[list[tf.Tensor]]:
    """`count` lists with a part of each tensor's rows; the first may have one more."""
    rows = tensors[0].shape[0]
    if rows is None:
        rows = tf.shape(tensors[0])[0]
    sizes = [(rows + count - 1 - index) // count for index in range(count)]
    return [
        list(part) for part in zip(*(tf.split(t, sizes) for t in tensors), strict=True)
    ]


def _join(column: Sequence[tf.Tensor | None]) -> tf.Tensor | None:
    """Gradients of all rows, if there are any."""
    return None if column[0] is None else tf.concat(column, axis=0)


def _sum(column: Sequence[tf.Tensor | None]) -> tf.Tensor | None:
    """The sum over devices; None if the weight has no gradient."""
    return None if column[0] is None else tf.add_n(column)
