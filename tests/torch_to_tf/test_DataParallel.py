from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import random
from util.torch_to_tf import (
    nn_DataParallel,
    nn_Dropout,
    nn_LayerNorm,
    nn_Linear,
    nn_Module,
    nn_Sequential,
    nn_Tanh,
)

# The same device twice: what is computed does not depend on where.
TWICE = ("/CPU:0", "/CPU:0")


class TwoHeads(nn_Module):
    """Takes a mapping and a number for each row; one head may be unused."""

    def __init__(self):
        super().__init__()
        self.body = nn_Sequential(nn_Linear(3, 8), nn_LayerNorm(8), nn_Tanh())
        self.head, self.other = nn_Linear(8, 2), nn_Linear(8, 1)

    def call(self, obs, time):
        scale = tf.cast(time, tf.float32)[:, None]
        features = self.body(obs["state"]) * scale
        return self.head(features), self.other(features)


def inputs(rows):
    return {"state": tf.constant(random((rows, 3)))}, tf.range(rows, dtype=tf.int64)


def outputs_and_gradients(network, parallel, obs, time, both=True):
    """Outputs, and gradients of a sum of squares in weights and inputs."""
    with tf.GradientTape() as tape, parallel.on():
        tape.watch(obs)
        first, second = network(obs, time)
        loss = tf.reduce_sum(first**2) + (tf.reduce_sum(second**2) if both else 0.0)
    parameters = [p.value for p in network.parameters()]
    return first, second, tape.gradient(loss, [obs["state"], *parameters])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [6, 7, 1])
def test_outputs_and_gradients_are_those_of_one_device(mode, rows):
    network = TwoHeads()
    results = []
    for devices in ((), TWICE):
        parallel = nn_DataParallel(devices, network)

        def function(obs, time, parallel=parallel):
            return outputs_and_gradients(network, parallel, obs, time)

        results.append(in_mode(function, mode)(*inputs(rows)))
    for one, two in zip(*map(tf.nest.flatten, results), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_number_of_rows_may_be_unknown_when_compiling():
    network = TwoHeads()
    specs = {"state": tf.TensorSpec([None, 3])}, tf.TensorSpec([None], tf.int64)
    parallel = nn_DataParallel(TWICE, network)

    @tf.function(input_signature=specs, autograph=False)
    def compiled(obs, time):
        return outputs_and_gradients(network, parallel, obs, time)

    for rows in (2, 5):
        expected = outputs_and_gradients(network, nn_DataParallel(()), *inputs(rows))
        found = compiled(*inputs(rows))
        for one, two in zip(*map(tf.nest.flatten, (expected, found)), strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_weights_of_an_output_without_use_have_gradients_of_zero():
    network = TwoHeads()
    network.unused = nn_Linear(2, 2)
    parallel = nn_DataParallel(TWICE, network)
    grads = outputs_and_gradients(network, parallel, *inputs(4), both=False)[2]
    names = [name for name, _ in network.named_parameters()]
    by_name = dict(zip(names, grads[1:], strict=True))
    assert not by_name["other.weight"].numpy().any()
    assert by_name["unused.weight"] is None


def test_both_devices_work_on_outputs_and_on_gradients():
    network = TwoHeads()
    parallel = nn_DataParallel(("/CPU:0", "/CPU:1"), network)

    def function(obs, time):
        return outputs_and_gradients(network, parallel, obs, time)

    # Traced only: this process has one CPU.
    graph = in_mode(function, "graph").get_concrete_function(*inputs(4)).graph
    places = Counter(
        op.device[-6:] for op in graph.get_operations() if op.type == "MatMul"
    )
    # Three layers: outputs, and gradients in weights and in inputs.
    assert places == {":CPU:0": 9, ":CPU:1": 9}


def test_networks_are_whole_again_afterwards():
    network = TwoHeads()

    def fail():
        with nn_DataParallel(TWICE, network).on():
            assert "_replicated" in vars(network)
            raise ZeroDivisionError

    pytest.raises(ZeroDivisionError, fail)
    assert "_replicated" not in vars(network)


@pytest.mark.parametrize("devices", [(), ("/GPU:0",)])
def test_one_device_changes_nothing(devices):
    network = TwoHeads()
    with nn_DataParallel(devices, network).on():
        assert "_replicated" not in vars(network)


class Shifted(nn_Linear):
    draws_in_training = True


@pytest.mark.parametrize("part", [Shifted(2, 2), nn_Sequential(Shifted(2, 2))])
def test_a_part_that_draws_is_refused(part):
    with pytest.raises(ValueError, match="must draw nothing"):
        nn_DataParallel(TWICE, part)


def test_dropout_is_refused():
    network = nn_Sequential(nn_Linear(2, 2), nn_Dropout(0.1))
    with pytest.raises(ValueError, match="must draw nothing, got a nn_Sequential"):
        nn_DataParallel(TWICE, network)
    nn_DataParallel(TWICE, nn_Sequential(nn_Dropout(0.0)))
    nn_DataParallel(("/CPU:0",), network)
