"""Named random streams from one seed, and draws that can be replayed.

No code draws from a global generator: whatever draws takes one of these, and all of
them are part of a checkpoint.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf import Categorical


class Seeds:
    """Child generators by name; each name has its own stream.

    Args:
        seed: The experiment's seed, a non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}.")
        self.seed = seed
        self._numpy: dict[str, np.random.Generator] = {}
        self._tensorflow: dict[str, tf.random.Generator] = {}

    def child(self, name: str) -> int:
        """A 31-bit seed for `name`; the same for the same experiment seed."""
        sequence = np.random.SeedSequence([self.seed, zlib.crc32(name.encode())])
        return int(sequence.generate_state(1)[0] >> 1)

    def numpy(self, name: str) -> np.random.Generator:
        """The NumPy generator called `name`."""
        if name not in self._numpy:
            self._numpy[name] = np.random.default_rng(self.child(name))
        return self._numpy[name]

    def tensorflow(self, name: str) -> tf.random.Generator:
        """The TensorFlow generator called `name` (Philox)."""
        if name not in self._tensorflow:
            self._tensorflow[name] = tf.random.Generator.from_seed(
                self.child(name), alg="philox"
            )
        return self._tensorflow[name]

    def get_state(self) -> dict[str, Any]:
        """Positions of all streams used so far."""
        return {
            "seed": self.seed,
            "numpy": {k: pack_generator(g) for k, g in self._numpy.items()},
            "tensorflow": {k: g.state.numpy() for k, g in self._tensorflow.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues all streams from `get_state`.

        Raises:
            ValueError: The state belongs to another seed.
        """
        if state["seed"] != self.seed:
            raise ValueError(f"seed is {self.seed}, but the state has {state['seed']}.")
        for name, value in state["numpy"].items():
            unpack_generator(self.numpy(name), value)
        for name, value in state["tensorflow"].items():
            self.tensorflow(name).reset(np.asarray(value))


def pack_generator(generator: np.random.Generator) -> dict[str, Any]:
    """State of a NumPy PCG64 generator as strings and integers below 2^32."""
    state = generator.bit_generator.state
    return {
        "name": state["bit_generator"],
        "state": str(state["state"]["state"]),
        "inc": str(state["state"]["inc"]),
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }


def unpack_generator(generator: np.random.Generator, packed: Mapping[str, Any]) -> None:
    """Sets `generator` to a state from `pack_generator`."""
    generator.bit_generator.state = {
        "bit_generator": packed["name"],
        "state": {"state": int(packed["state"]), "inc": int(packed["inc"])},
        "has_uint32": int(packed["has_uint32"]),
        "uinteger": int(packed["uinteger"]),
    }


class Draws:
    """Random tensors inside models: from a generator, or replayed in order.

    Args:
        rng: Source if there is no `noise`.
        noise: Recorded draws in order, as the reference made them.
    """

    def __init__(
        self, rng: tf.random.Generator, noise: Sequence[Any] | None = None
    ) -> None:
        self._rng, self._noise, self._next = rng, noise, 0

    def _replay(self, noise: Sequence[Any]) -> Any:
        value = noise[self._next]
        self._next += 1
        return value

    def normal(self, shape: Any) -> tf.Tensor:
        """Standard normal, float32."""
        if self._noise is not None:
            return tf.reshape(tf.cast(self._replay(self._noise), tf.float32), shape)
        return self._rng.normal(shape)

    def integers(self, shape: Any, high: int) -> tf.Tensor:
        """Uniform over {0, ..., high - 1}, int64."""
        if self._noise is not None:
            return tf.cast(self._replay(self._noise), tf.int64)
        return self._rng.uniform(shape, maxval=high, dtype=tf.int64)

    def uniform(self, shape: Any) -> tf.Tensor:
        """Uniform on [0, 1), float32."""
        if self._noise is not None:
            return tf.reshape(tf.cast(self._replay(self._noise), tf.float32), shape)
        return self._rng.uniform(shape)

    def permutation(self, n: int) -> tf.Tensor:
        """A random order of 0, ..., n - 1, int64."""
        if self._noise is not None:
            return tf.cast(self._replay(self._noise), tf.int64)
        return tf.cast(tf.argsort(self._rng.uniform([n])), tf.int64)

    def categorical(self, logits: tf.Tensor) -> tf.Tensor:
        """Indices (B,) of the last axis of (B, n), drawn by probability, int64."""
        if self._noise is not None:
            return tf.reshape(tf.cast(self._replay(self._noise), tf.int64), [-1])
        return Categorical(logits=logits, validate_args=False).sample((), self._rng)

    def normal_of(self, chosen: tf.Tensor, shape: Any) -> tf.Tensor:
        """Standard normal numbers of one component for each row, (B, D), float32.

        Args:
            chosen: Index of the component, (B,). Recorded draws are those of all
                components, (B, n, D).
            shape: (B, D).
        """
        if self._noise is not None:
            recorded = tf.cast(self._replay(self._noise), tf.float32)
            return tf.gather(recorded, chosen, axis=1, batch_dims=1)
        return self._rng.normal(shape)

    def normals(self, count: int, shape: Any) -> tf.Tensor:
        """`count` standard normal draws of `shape`, stacked in front, in one draw."""
        if self._noise is not None:
            values = [
                tf.cast(self._replay(self._noise), tf.float32) for _ in range(count)
            ]
            return tf.stack(values)
        return self._rng.normal([count, *shape])


Noise = Sequence[Any] | Draws | None
"""Recorded draws in order, a source that goes on, or None for the own generator."""


class HostDraws:
    """Random choices of an agent outside compiled code.

    Args:
        rng: Source of all of them.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def permutation(self, n: int) -> np.ndarray:
        """A random order of 0..n-1, int64."""
        return self._rng.permutation(n)

    def choice(
        self, n: int, size: int | tuple[int, ...], replace: bool = True
    ) -> np.ndarray:
        """Indices below `n`, of shape `size`."""
        return self._rng.choice(n, size, replace=replace)

    def integers(self, high: int, shape: Sequence[int]) -> np.ndarray:
        """Integers below `high`."""
        return self._rng.integers(high, size=tuple(shape))

    def action_sample(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Uniform actions between two arrays of equal shape, float32."""
        return self._rng.uniform(low, high).astype(np.float32)

    def policy_noise(self, count: int, shape: Sequence[int]) -> list | None:
        """Recorded draws of a policy call; None lets the model draw its own.

        Args:
            count: Number of standard normal draws.
            shape: Shape of each.
        """
        return None

    # Whether draws are recorded ones.
    replays = False

    def recorded(self, count: int) -> list | None:
        """The next `count` recorded draws of a model; None lets it draw its own."""
        return None

    def loss_noise(self) -> list | None:
        """Recorded draws of one loss call; None lets the model draw its own."""
        return None
