"""What the tests of the transformers share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.torch_to_tf.attention_cases import (
    HEADS,
    E,
    L,
    N,
    S,
    added,
    causal,
    hidden,
    sequences,
)
from tests.torch_to_tf.compare import assert_configurable
from tests.torch_to_tf.module_cases import assert_same_calls, share_state
from util.torch_to_tf import nn_GELU, nn_Module, nn_Tanh, replay_dropout

# Options of a layer; ours and PyTorch's activation where they differ.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "norm first": {"norm_first": True},
    "gelu": {"activation": "gelu", "bias": False},
    "batch first": {"batch_first": True, "layer_norm_eps": 1e-2},
    "norm first gelu": {"activation": "gelu", "norm_first": True, "bias": False},
}
ACTIVATIONS = [
    (nn_GELU("tanh"), torch.nn.GELU("tanh")),
    (nn_Tanh(), torch.tanh),
    (lambda x: x * x, lambda x: x * x),
]

# Masks of the decoder by name; the encoder's have other names.
OWN = {"mask": causal(L), "padding": hidden(N, L)}
OWN_FLOAT = {"mask": added(L, L), "padding": added(N, L)}
OTHER = {"mask": hidden(N * HEADS, L, S), "padding": hidden(N, S, seed=5)}


def assert_same_activations(
    ours: Callable[..., nn_Module], theirs: Callable[..., torch.nn.Module], count: int
) -> None:
    """A layer takes a module or a function.

    Args:
        ours: Makes a layer of options.
        theirs: Makes a layer of options.
        count: How many sequences it is given.
    """
    for own, their in ACTIVATIONS:
        layers = ours(activation=own), theirs(activation=their)
        assert_same_calls(*layers, sequences()[:count], atol=3e-5)
    with pytest.raises(RuntimeError):
        theirs(activation="tanh")
    with pytest.raises(ValueError, match="'relu' or 'gelu', got 'tanh'"):
        ours(activation="tanh")


def assert_same_with_replayed_dropout(
    ours: nn_Module, theirs: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place where PyTorch drops entries is one of ours, in the same order."""
    share_state(ours, theirs, 0.5)
    masks: list[np.ndarray] = []
    rng = np.random.default_rng(0)

    def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False):
        assert (p, training) == (0.5, True)
        masks.append(2.0 * (rng.random(x.shape) < 0.5).astype(np.float32))
        return x * torch.from_numpy(masks[-1])

    def attend(
        q: Any,
        k: Any,
        v: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
    ) -> Any:
        scores = q @ k.transpose(-1, -2) / np.sqrt(q.shape[-1])
        return dropout(torch.softmax(scores, -1), dropout_p) @ v

    functions = torch.nn.functional
    monkeypatch.setattr(functions, "dropout", dropout)
    monkeypatch.setattr(functions, "scaled_dot_product_attention", attend)
    given = sequences()[: 1 if "Encoder" in type(ours).__name__ else 2]
    expected = theirs(*map(torch.from_numpy, given)).detach()
    with replay_dropout(masks):
        found = ours(*given)
    assert len(masks) == len({mask.tobytes() for mask in masks}) > 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    ours.eval()
    theirs.eval()
    monkeypatch.undo()
    plain = theirs(*map(torch.from_numpy, given)).detach()
    np.testing.assert_allclose(ours(*given), plain, rtol=1e-4, atol=1e-5)


def assert_made_of_copies(
    stack: nn_Module, layer: nn_Module, theirs: torch.nn.Module
) -> None:
    """The layers have the values, the mode and the freezing of the one given."""
    assert list(stack.state_dict()) == list(theirs.state_dict())
    for copy in stack.layers:
        assert copy is not layer
        for key, value in layer.state_dict().items():
            np.testing.assert_array_equal(copy.state_dict()[key], value)
        for own, given in zip(copy.parameters(), layer.parameters(), strict=True):
            assert own is not given
            assert own.requires_grad is given.requires_grad
        for own, given in zip(copy.modules(), layer.modules(), strict=True):
            assert own.training is given.training
    assert len({id(p) for p in stack.parameters()}) == len(list(theirs.parameters()))
    assert_configurable(stack)


def sizes(dropout: float = 0.0) -> dict[str, Any]:
    """Arguments of a small layer."""
    return {"d_model": E, "nhead": HEADS, "dim_feedforward": 12, "dropout": dropout}
