"""What every function that draws random numbers has to pass."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tests.modes import MODES, in_mode
from util.torch_to_tf import torch_manual_seed


class Draws:
    """The tests; a subclass has `draw`, which returns many numbers."""

    draw: ClassVar[Callable[..., Any]]

    @pytest.mark.parametrize("mode", MODES)
    def test_seed_decides_the_numbers_and_the_next_ones_differ(self, mode):
        function, runs = in_mode(self.draw, mode), []
        for seed in (1, 1, 2):
            torch_manual_seed(seed)
            runs.append([function().numpy(), function().numpy()])
        np.testing.assert_array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[0][0], runs[0][1])
        assert not np.array_equal(runs[0], runs[2])

    def test_numbers_come_from_a_given_generator(self):
        runs = []
        for library in (1, 2):
            torch_manual_seed(library)
            own = tf.random.Generator.from_seed(5)
            runs.append([self.draw(generator=own).numpy() for _ in range(2)])
        np.testing.assert_array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[0][0], runs[0][1])

    def test_given_generator_leaves_the_one_of_the_library_alone(self):
        runs = []
        for own in (None, tf.random.Generator.from_seed(5)):
            torch_manual_seed(1)
            if own is not None:
                self.draw(generator=own)
            runs.append(self.draw().numpy())
        np.testing.assert_array_equal(*runs)

    def test_other_generators_are_refused(self):
        with pytest.raises(TypeError, match="generator must be a tf.random.Generator"):
            self.draw(generator=np.random.default_rng())


class Made(Draws):
    """And of those that make a tensor."""

    def test_device_holds_the_result(self):
        assert self.draw(device="CPU:0").device.endswith("CPU:0")

    def test_result_can_be_trained(self):
        variable = self.draw(requires_grad=True, dtype="float32")
        assert isinstance(variable, tf.Variable)
        assert variable.trainable
        assert not isinstance(self.draw(), tf.Variable)


def is_standard_normal(values: Any) -> bool:
    """Whether the share of a large sample below each point is the right one."""
    points = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
    expected = [0.0228, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9772]
    found = [(np.asarray(values, np.float64) < point).mean() for point in points]
    margin = 4 * 0.5 / np.sqrt(np.size(values))
    return bool(np.abs(np.subtract(found, expected)).max() < margin)
