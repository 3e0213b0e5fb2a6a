"""Random tensors, and the one seed of the library.

PyTorch's and TensorFlow's random streams differ by nature: only the distributions are
the same. Code that XLA compiles has, for the same seed, numbers of its own.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from util.torch_to_tf import init
from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.creation import created
from util.torch_to_tf.dtypes import as_dtype
from util.torch_to_tf.sizes import as_sizes, one_by_one

_GENERATORS: list[tf.random.Generator] = []


def default_generator() -> tf.random.Generator:
    """What functions without a `generator` draw from; made when it is first needed."""
    if not _GENERATORS:
        with tf.init_scope():
            _GENERATORS.append(tf.random.Generator.from_non_deterministic_state())
    return _GENERATORS[0]


def torch_manual_seed(seed: Any) -> tf.random.Generator:
    """Seeds all random draws of this library (`torch.manual_seed`).

    These are the initial values of modules and the functions that draw; functions that
    were traced before follow too. The numbers are not PyTorch's for the same seed.

    Args:
        seed: Any number from -2^63 to 2^64 - 1.

    Returns:
        The generator of the functions that draw.

    Raises:
        ValueError: The seed is out of range, or this is called in a `tf.function`.

    Example: `torch_manual_seed(3).state` gives `[3, 0, 0]`.
    """
    number = int(seed)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"seed must be in [-2^63, 2^64 - 1], got {seed!r}.")
    if tf.inside_function():
        raise ValueError(f"seed {seed!r} must be set outside of a tf.function.")
    number %= 2**64
    init.seed_generator(number)
    generator = default_generator()
    generator.reset_from_seed(number)
    return generator


def torch_randn(
    *sizes: Any,
    size: Any = None,
    generator: tf.random.Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """Standard normal numbers (`torch.randn`).

    Args:
        *sizes: One by one, or as one sequence. An axis whose size is known at run time
            only takes an integer tensor.
        size: The same by name.
        generator: What to draw from; the one of `torch_manual_seed` by default.
        dtype: A floating type, float32 by default.
        device: Where to put it.
        requires_grad: Whether to make a trainable variable of it.

    Raises:
        TypeError: The type is not floating.

    Example: `torch_randn(5, 2).shape` gives `(5, 2)`.
    """
    shape = as_sizes(one_by_one(sizes, size, "size"))
    kind = _fractions(tf.float32 if dtype is None else dtype)
    source = source_of(generator)
    return created(lambda: source.normal(shape, dtype=kind), device, requires_grad)


def torch_rand(
    *sizes: Any,
    size: Any = None,
    generator: tf.random.Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """Uniform numbers in [0, 1); arguments as of `torch_randn` (`torch.rand`).

    Example: `torch_rand((5, 2)).shape` gives `(5, 2)`.
    """
    shape = as_sizes(one_by_one(sizes, size, "size"))
    kind = _fractions(tf.float32 if dtype is None else dtype)
    source = source_of(generator)
    return created(lambda: source.uniform(shape, dtype=kind), device, requires_grad)


def torch_randn_like(
    input: Any,
    *,
    generator: tf.random.Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """Standard normal numbers of the size and type of a tensor (`torch.randn_like`).

    Raises:
        TypeError: The type is not floating.

    Example: `torch_randn_like(tf.zeros([5, 2])).shape` gives `(5, 2)`.
    """
    tensor = as_tensor(input)
    known = tensor.shape.is_fully_defined()
    shape = tensor.shape if known else tf.shape(tensor)
    kind = _fractions(tensor.dtype if dtype is None else dtype)
    source = source_of(generator)
    return created(lambda: source.normal(shape, dtype=kind), device, requires_grad)


def source_of(generator: tf.random.Generator | None) -> tf.random.Generator:
    """What to draw from.

    Raises:
        TypeError: It is no generator.
    """
    if generator is None:
        return default_generator()
    if not isinstance(generator, tf.random.Generator):
        raise TypeError(f"generator must be a tf.random.Generator, got {generator!r}.")
    return generator


def _fractions(dtype: Any) -> tf.DType:
    kind = as_dtype(dtype)
    if not kind.is_floating:
        raise TypeError(f"dtype must be floating, got {kind.name}.")
    return kind
