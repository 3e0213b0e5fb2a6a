import numpy as np
import pytest

from tests.modes import MODES
from tests.torch_to_tf.adam import GROUPS, Pair, gradients, to_arrays, to_torch
from util.torch_to_tf import nn_Parameter, torch_optim_Adam, torch_optim_AdamW

OPTIONS = [
    {},
    {"lr": 0.1, "weight_decay": 0.3},
    {"lr": 1e-2, "weight_decay": 0.0, "eps": 1e-4},
    {"lr": 1e-2, "betas": (0.5, 0.9)},
    {"lr": 1e-2, "amsgrad": True, "maximize": True, "weight_decay": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_trajectory_of_100_steps_equals_torch(options):
    Pair("AdamW", "graph", **options).run(gradients(100))


def test_eager_trajectory_equals_torch():
    Pair("AdamW", lr=1e-2).run(gradients(10))


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_trajectory_equals_torch_while_the_rate_changes(mode):
    pair = Pair("AdamW", mode, lr=1e-2, weight_decay=0.1)
    for number, grads in enumerate(gradients(50)):
        pair.set_lr(1e-2 / (1 + number))
        pair.run([grads])


def test_decay_is_decoupled_from_the_moments():
    value = nn_Parameter(np.float32(2.0))
    optimizer = torch_optim_AdamW([value], lr=0.1, weight_decay=0.5)
    optimizer.apply([np.float32(0.0)])
    assert value.numpy() == pytest.approx(2.0 * (1 - 0.1 * 0.5))
    assert optimizer.exp_avg[0].numpy() == 0.0


def test_decays_by_default_unlike_adam():
    values = [nn_Parameter(np.float32(2.0)) for _ in range(2)]
    for kind, value in zip((torch_optim_Adam, torch_optim_AdamW), values, strict=True):
        kind([value], lr=0.1).apply([np.float32(0.0)])
    assert values[0].numpy() == 2.0
    assert values[1].numpy() == pytest.approx(2.0 * (1 - 0.1 * 0.01))


def test_parameter_without_gradient_does_not_decay():
    pair = Pair("AdamW", lr=0.1, weight_decay=0.5)
    before = pair.ours[0].numpy()
    pair.run([[None, *others] for _, *others in gradients(10)])
    np.testing.assert_array_equal(pair.ours[0].numpy(), before)


def test_trajectory_of_groups_equals_torch():
    Pair("AdamW", "graph", GROUPS, lr=1e-2).run(gradients(20))


def test_state_continues_the_trajectory():
    pair = Pair("AdamW", lr=1e-2)
    pair.run(gradients(5))
    fresh = pair.fresh(lr=1.0)
    fresh.set_state(pair.optimizer.get_state())
    pair.optimizer = fresh
    pair.run(gradients(5, seed=3))


def test_state_has_the_layout_of_torch_and_goes_both_ways():
    pair = Pair("AdamW", groups=GROUPS, lr=1e-2)
    pair.run(gradients(5))
    ours, theirs = pair.optimizer.state_dict(), pair.torch.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    pair.optimizer = pair.fresh(lr=1.0, weight_decay=0.7)
    pair.optimizer.load_state_dict(to_arrays(theirs))
    pair.torch.load_state_dict(to_torch(ours))
    pair.run(gradients(5, seed=3))


def test_state_of_adam_keeps_the_decay_decoupled_as_in_torch():
    adam, pair = Pair("Adam", weight_decay=0.3), Pair("AdamW", lr=1e-2)
    pair.optimizer.load_state_dict(adam.optimizer.state_dict())
    pair.torch.load_state_dict(adam.torch.state_dict())
    pair.run(gradients(5))


def test_impossible_decay_is_refused():
    with pytest.raises(ValueError, match="weight_decay must be >= 0, got -0.1"):
        torch_optim_AdamW([nn_Parameter(np.float32(0))], weight_decay=-0.1)
