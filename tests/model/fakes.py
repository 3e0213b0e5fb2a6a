"""Small networks with known outputs, and what several model tests share."""

from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf import nn_Module, nn_Parameter


class ConstantPrediction(nn_Module):
    """A denoising network that predicts one trained number everywhere."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn_Parameter(np.float32(value))

    def call(self, x: tf.Tensor, time: tf.Tensor, cond: Any, **_: Any) -> tf.Tensor:
        """Shape of `x`."""
        return tf.zeros_like(x) + tf.convert_to_tensor(self.value)


class StepPrediction(nn_Module):
    """A denoising network that predicts `scale` times the denoising step."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn_Parameter(np.float32(scale))

    def call(self, x: tf.Tensor, time: tf.Tensor, cond: Any, **_: Any) -> tf.Tensor:
        """Shape of `x`."""
        step = tf.reshape(tf.cast(time, tf.float32), [-1, 1, 1])
        return tf.zeros_like(x) + step * tf.convert_to_tensor(self.scale)


class KnownGaussian(nn_Module):
    """Mean and standard deviation that do not depend on the state."""

    def __init__(self, mean: float = 0.0, std: float = 1.0, size: int = 4) -> None:
        super().__init__()
        self.mean = nn_Parameter(np.full(size, mean, np.float32))
        self.std = nn_Parameter(np.full(size, std, np.float32))

    def call(self, cond: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Each (B, size)."""
        ones = tf.ones([tf.shape(cond["state"])[0], 1])
        mean, std = map(tf.convert_to_tensor, (self.mean, self.std))
        return ones * mean, ones * std


class KnownMixture(nn_Module):
    """Modes that do not depend on the state.

    Args:
        means: Mean of all elements of each mode.
        stds: Their standard deviation.
        weights: Probability of each mode.
        size: Elements of a chunk.
    """

    def __init__(
        self, means: list[float], stds: list[float], weights: list[float], size: int = 4
    ) -> None:
        super().__init__()
        ones = np.ones(size, np.float32)
        self.mean = nn_Parameter(np.outer(np.float32(means), ones))
        self.std = nn_Parameter(np.outer(np.float32(stds), ones))
        self.logits = nn_Parameter(np.log(np.float32(weights)))

    def call(self, cond: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(B, M, size) twice, and (B, M)."""
        rows = tf.shape(cond["state"])[0]
        mean, std, logits = (
            tf.repeat(tf.convert_to_tensor(p)[None], rows, axis=0)
            for p in (self.mean, self.std, self.logits)
        )
        return mean, std, logits


class MeanCritic(nn_Module):
    """A state value: a trained factor times the mean of the state."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn_Parameter(np.float32(factor))

    def call(self, cond: dict[str, tf.Tensor]) -> tf.Tensor:
        """Values (B, 1)."""
        mean = tf.reduce_mean(cond["state"], axis=[1, 2])[:, None]
        return mean * tf.convert_to_tensor(self.factor)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def states(rows: int, steps: int = 1, width: int = 2, seed: int = 0) -> dict:
    """Observations {"state": (rows, steps, width)}."""
    return {"state": tf.constant(normal(rows, steps, width, seed=seed))}


def count_parameters(module: nn_Module) -> int:
    """Numbers in all parameters, each once."""
    return sum(int(np.prod(p.shape)) for p in module.parameters())


def set_parameters(module: nn_Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Gives every parameter random values and returns them by key."""
    rng = np.random.default_rng(seed)
    state = {
        key: rng.standard_normal(value.shape).astype(np.float32)
        for key, value in module.state_dict().items()
    }
    module.load_state_dict(state)
    return state
