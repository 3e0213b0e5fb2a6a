"""What the tests of `zeros_like`, `ones_like` and `full_like` share."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.torch_to_tf.calls import DTYPES, typed
from tests.torch_to_tf.created import CreatingFunction

X, WHOLE = typed((2, 3)), typed((2, 3), "int64")


class LikeFunction(CreatingFunction):
    """Adds what functions of a tensor have to bear."""

    FILL: tuple = ()
    """What is given behind the tensor."""

    TRAINED = (X,)
    WHOLE = (WHOLE,)

    def test_sizes_and_types_are_those_of_the_tensor(self):
        for dtype in DTYPES:
            for shape in [(2, 3), (0, 2), ()]:
                self.compare((typed(shape, dtype), *self.FILL))

    def test_lists_and_numbers_are_refused(self):
        for given in ([1.0], 1.0):
            with pytest.raises(TypeError, match="input must be a tensor, got"):
                self.ours(given, *self.FILL)

    def test_variables_count_as_tensors(self):
        expected = self.ours(X, *self.FILL)
        for given in (tf.Variable(X), keras.Variable(X)):
            np.testing.assert_array_equal(self.ours(given, *self.FILL), expected)

    def test_unknown_sizes_leave_the_others_known(self):
        spec = tf.TensorSpec([None, 3], tf.float32)
        for options in ({}, {"dtype": "int64"}):
            traced = tf.function(
                lambda x, options=options: self.ours(x, *self.FILL, **options),
                input_signature=[spec],
            )
            output = traced.get_concrete_function().outputs[0]
            assert output.shape.as_list() == [None, 3]
            expected = self.of_torch((X, *self.FILL, options))
            np.testing.assert_array_equal(traced(X), expected.numpy())
