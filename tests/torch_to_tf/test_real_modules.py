"""Networks made by PyTorch go on here: same outputs, gradients, training, and back.

Weights are PyTorch's own draws. Parameters are compared along 100 steps, in which they
move by 0.05 and more. Adam makes steps of its full rate of gradients that are zero but
for rounding (a bias before a normalisation, that of the keys) unless `eps` is larger:
in double precision the default is, in float32 it has to be raised.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import in_mode
from tests.torch_to_tf import attention_cases as sequences
from tests.torch_to_tf.adam import OURS
from tests.torch_to_tf.compare import as_numpy, as_torch, assert_same_function, random
from tests.torch_to_tf.module_cases import assert_same_parameter_gradients
from util.torch_to_tf import (
    nn_Conv1d,
    nn_ConvTranspose1d,
    nn_Embedding,
    nn_GroupNorm,
    nn_Linear,
    nn_Mish,
    nn_Module,
    nn_MultiheadAttention,
    nn_Sequential,
    nn_TransformerDecoderLayer,
    nn_TransformerEncoderLayer,
)


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's threads wait for each other longer than these networks take."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


STEPS, MARKS = 100, (1, 2, 5, 10, 30, 100)
# A rate that float32 holds exactly, since ours is kept as such.
LR = 2.0**-9

E, HEADS = sequences.E, sequences.HEADS


class Case(NamedTuple):
    """A network in both frameworks, its inputs, and how it is called."""

    ours: Callable[..., nn_Module]
    theirs: Callable[..., torch.nn.Module]
    inputs: list[np.ndarray]
    call: Callable[..., Any]


def layer(ours: Any, theirs: Any, norm_first: bool, *inputs: np.ndarray) -> Case:
    sizes = {"d_model": E, "nhead": HEADS, "dim_feedforward": 16, "dropout": 0.0}
    options = {**sizes, "norm_first": norm_first, "activation": "gelu"}
    return Case(
        lambda **kind: ours(**options, **kind),
        lambda **kind: theirs(**options, **kind),
        list(inputs),
        lambda module, *xs: module(*xs),
    )


def attention() -> Case:
    masks = [sequences.hidden(sequences.L, sequences.S), sequences.hidden(3, 5, seed=6)]

    def call(module: Any, x: Any, y: Any, mask: Any, padding: Any) -> Any:
        out, weights = module(x, y, y, padding, attn_mask=mask)
        return out, weights, module(y, y, y, padding, need_weights=False)[0]

    return Case(
        lambda **kind: nn_MultiheadAttention(E, HEADS, **kind),
        lambda **kind: torch.nn.MultiheadAttention(E, HEADS, **kind),
        [*sequences.sequences(), *masks],
        call,
    )


def convolutions() -> Case:
    def make(
        outer: Any, norm: Any, conv: Any, act: Any, transposed: Any, **kind: Any
    ) -> Any:
        return outer(
            conv(4, 8, 5, padding=2, **kind),
            norm(2, 8, **kind),
            act(),
            conv(8, 8, 3, 2, 1, **kind),
            act(),
            transposed(8, 6, 4, 2, 1, **kind),
            norm(3, 6, **kind),
            act(),
            conv(6, 4, 1, **kind),
        )

    nn = torch.nn
    own = (nn_Sequential, nn_GroupNorm, nn_Conv1d, nn_Mish, nn_ConvTranspose1d)
    their = (nn.Sequential, nn.GroupNorm, nn.Conv1d, nn.Mish, nn.ConvTranspose1d)
    return Case(
        lambda **kind: make(*own, **kind),
        lambda **kind: make(*their, **kind),
        [random((3, 4, 8))],
        lambda module, x: module(x),
    )


def embedding() -> Case:
    nn = torch.nn
    return Case(
        lambda **kind: nn_Sequential(
            nn_Embedding(7, 5, padding_idx=2, **kind), nn_Linear(5, 3, **kind)
        ),
        lambda **kind: nn.Sequential(
            nn.Embedding(7, 5, padding_idx=2, **kind), nn.Linear(5, 3, **kind)
        ),
        [np.array([[1, 2, 6, 1], [0, 3, 2, 3]])],
        lambda module, x: module(x),
    )


ONE, TWO = sequences.sequences()
DECODER = nn_TransformerDecoderLayer, torch.nn.TransformerDecoderLayer
ENCODER = nn_TransformerEncoderLayer, torch.nn.TransformerEncoderLayer
CASES = {
    "encoder": layer(*ENCODER, False, ONE),
    "encoder, norm first": layer(*ENCODER, True, ONE),
    "decoder": layer(*DECODER, False, ONE, TWO),
    "decoder, norm first": layer(*DECODER, True, ONE, TWO),
    "attention": attention(),
    "convolutions": convolutions(),
    "embedding": embedding(),
}


def made(case: Case, dtype: str) -> tuple[nn_Module, torch.nn.Module, list[np.ndarray]]:
    """PyTorch's network, the same here, and inputs of the type."""
    torch.manual_seed(0)
    theirs = case.theirs(dtype=getattr(torch, dtype))
    ours = case.ours(dtype=dtype)
    assert ours.load_state_dict(as_numpy(theirs.state_dict())) == ([], [])
    is_float = [x.dtype == np.float32 for x in case.inputs]
    given = [
        x.astype(dtype) if f else x for x, f in zip(case.inputs, is_float, strict=True)
    ]
    return ours, theirs, given


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outputs_and_all_gradients_equal_torch(case):
    ours, theirs, given = made(case, "float32")
    close = {"rtol": 1e-4, "atol": 1e-6}
    assert_same_function(
        lambda *xs: case.call(ours, *xs),
        lambda *xs: case.call(theirs, *xs),
        given,
        **close,
    )
    assert_same_parameter_gradients(ours, theirs, given, case.call, **close)


def trajectories(
    case: Case, optimizer: str, dtype: str, **options: Any
) -> tuple[nn_Module, torch.nn.Module, dict[int, tuple[list, list]]]:
    """Both networks after training, and parameters on the way, by step."""
    ours, theirs, given = made(case, dtype)
    own = OURS[optimizer](ours.parameters(), LR, **options)
    their = getattr(torch.optim, optimizer)(theirs.parameters(), LR, **options)
    first = torch_outputs(case, theirs, given)
    goals = [random(x.shape, 5).astype(dtype) for x in first]

    def step(*xs: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(case.call(ours, *xs))
            pairs = zip(outputs, goals, strict=True)
            loss = sum(tf.reduce_mean((x - goal) ** 2) for x, goal in pairs)
        own.apply(tape.gradient(loss, [p.value for p in ours.parameters()]))

    compiled, inputs = in_mode(step, "graph"), [tf.constant(x) for x in given]
    marks = {}
    for number in range(1, STEPS + 1):
        compiled(*inputs)
        their.zero_grad()
        pairs = zip(torch_outputs(case, theirs, given), goals, strict=True)
        sum(((x - torch.from_numpy(g)) ** 2).mean() for x, g in pairs).backward()
        their.step()
        if number in MARKS:
            marks[number] = (
                [p.numpy() for p in ours.parameters()],
                [p.detach().numpy().copy() for p in theirs.parameters()],
            )
    return ours, theirs, marks


def torch_outputs(case: Case, theirs: torch.nn.Module, given: list) -> list:
    """PyTorch's outputs, as a list."""
    found = case.call(theirs, *map(torch.from_numpy, given))
    return [found] if isinstance(found, torch.Tensor) else list(found)


def assert_near(marks: dict[int, tuple[list, list]], atol: float) -> None:
    """Parameters are equal at each step looked at, and not where they began."""
    assert sorted(marks) == list(MARKS)
    for number, (ours, theirs) in marks.items():
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(
                one, other, rtol=0.0, atol=atol, err_msg=f"step {number}"
            )
    first, last = marks[1][0], marks[STEPS][0]
    ways = [np.abs(x - y).max() for x, y in zip(first, last, strict=True)]
    assert max(ways) > 0.05


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_training_with_adamw_in_double_precision_equals_torch(case):
    assert_near(trajectories(case, "AdamW", "float64")[2], 2e-7)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_training_with_adam_equals_torch_and_the_result_goes_back(case):
    ours, theirs, marks = trajectories(case, "Adam", "float32", eps=2.0**-10)
    assert_near(marks, 2e-6)
    back = case.theirs()
    back.load_state_dict(as_torch(ours.state_dict()), strict=True)
    outputs = [torch_outputs(case, module, case.inputs) for module in (theirs, back)]
    found = tf.nest.flatten(case.call(ours, *map(tf.constant, case.inputs)))
    for one, trained, copied in zip(found, *outputs, strict=True):
        np.testing.assert_allclose(one, copied.detach(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one, trained.detach(), rtol=1e-4, atol=1e-4)
