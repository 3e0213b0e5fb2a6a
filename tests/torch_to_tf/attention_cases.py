"""Modules, sequences and masks for the tests of attention and transformers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.torch_to_tf.compare import random
from util.torch_to_tf import nn_MultiheadAttention

E, L, S, N, HEADS = 8, 4, 5, 3, 2


def sequences(batch_first: bool = False, batched: bool = True) -> list[np.ndarray]:
    """A sequence of L entries and one of S, of E numbers each."""
    found = [random((length, N, E), length) for length in (L, S)]
    if not batched:
        return [x[:, 0] for x in found]
    return [x.swapaxes(0, 1).copy() if batch_first else x for x in found]


def causal(length: int) -> np.ndarray:
    """True where a key comes later than the query."""
    return np.triu(np.ones((length, length), bool), 1)


def hidden(*shape: int, seed: int = 3) -> np.ndarray:
    """True for about a third; the first key is always seen."""
    mask = np.random.default_rng(seed).random(shape) < 0.35
    mask[..., 0] = False
    return mask


def added(*shape: int, seed: int = 4) -> np.ndarray:
    """Numbers to add to scores, some of them minus infinity."""
    numbers = random(shape, seed)
    return np.where(hidden(*shape), np.float32(-np.inf), numbers)


OPTIONS = [
    {},
    {"bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "bias": False},
]

MASKS = {
    "two axes": {"attn_mask": hidden(L, S)},
    "by head": {"attn_mask": hidden(N * HEADS, L, S)},
    "padding": {"key_padding_mask": hidden(N, S)},
    "both": {"attn_mask": hidden(L, S), "key_padding_mask": hidden(N, S, seed=5)},
    "all": {
        "attn_mask": hidden(N * HEADS, L, S),
        "key_padding_mask": hidden(N, S, seed=5),
    },
    "float": {"attn_mask": added(L, S)},
    "float by head": {"attn_mask": added(N * HEADS, L, S)},
    "float padding": {"key_padding_mask": added(N, S)},
    "mixed": {"attn_mask": added(L, S), "key_padding_mask": hidden(N, S)},
}


def pair(*arguments: Any, **options: Any) -> tuple:
    """A module of ours and one of PyTorch's."""
    makers = (nn_MultiheadAttention, torch.nn.MultiheadAttention)
    return tuple(make(*(arguments or (E, HEADS)), **options) for make in makers)


def cross(**how: Any) -> Callable:
    """Attention of one sequence to another; `masks` names the inputs after these."""
    masks = how.pop("masks", ())

    def call(module: Any, x: Any, y: Any, *given: Any) -> Any:
        named = dict(zip(masks, given, strict=True))
        out, weights = module(x, y, y, **how, **named)
        return out if weights is None else (out, weights)

    return call


def alone(module: Any, x: Any, **how: Any) -> Any:
    """Attention of a sequence to itself, without weights."""
    return module(x, x, x, need_weights=False, **how)[0]
