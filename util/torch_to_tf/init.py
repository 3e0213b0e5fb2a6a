"""Initial values with PyTorch's distributions and bounds.

PyTorch's and TensorFlow's random streams differ by nature, so only the distribution
is the same. All draws come from one NumPy generator, set by `torch_manual_seed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_GENERATOR = [np.random.default_rng()]


def seed_generator(seed: int) -> None:
    """Makes initialisers draw from a new generator with this seed."""
    _GENERATOR[0] = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    """The generator that initialisers draw from."""
    return _GENERATOR[0]


def uniform(shape: Sequence[int], bound: float) -> np.ndarray:
    """U(-bound, bound), float32."""
    return generator().uniform(-bound, bound, size=shape).astype(np.float32)


def normal(shape: Sequence[int], mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """N(mean, std), float32."""
    return (mean + std * generator().standard_normal(shape)).astype(np.float32)


def fan_in_uniform(shape: Sequence[int], fan_in: int) -> np.ndarray:
    """Default weights and biases of `Linear` and `Conv`: U(+-1/sqrt(fan_in))."""
    return uniform(shape, 1.0 / math.sqrt(fan_in) if fan_in > 0 else 0.0)


def xavier_normal(shape: tuple[int, int], gain: float = 1.0) -> np.ndarray:
    """N(0, gain * sqrt(2 / (in + out))) for an (out, in) weight (Glorot, 2010)."""
    return normal(shape, 0.0, gain * math.sqrt(2.0 / (shape[0] + shape[1])))
