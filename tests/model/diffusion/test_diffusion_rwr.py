import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_rwr import RWRDiffusion
from tests.model.diffusion.q_policies import KNOWN, SHAPE
from tests.model.fakes import ConstantPrediction, normal
from tests.model.rl.transitions import OBS, parts_of_state
from tests.modes import MODES, in_mode

CHUNKS = tf.constant([[[0.0, 1.0]], [[2.0, 3.0]]])
EPSILON = normal(*SHAPE)
DRAWS = [np.int64([0, 2]), EPSILON]


def policy(value: float = 1.0, **options) -> RWRDiffusion:
    return RWRDiffusion(network=ConstantPrediction(value), **{**KNOWN, **options})


@pytest.mark.parametrize("mode", MODES)
def test_errors_are_weighted_by_row(mode):
    made, weights = policy(), tf.constant([3.0, 0.5])
    loss = in_mode(lambda w: made.loss(CHUNKS, OBS, w, noise=DRAWS), mode)(weights)
    # Squared errors (1, 0) and (1, 4): mean 0.5 with weight 3, 2.5 with weight 0.5.
    assert loss.numpy() == pytest.approx((3 * 0.5 + 0.5 * 2.5) / 2, rel=1e-6)


def test_network_may_predict_the_noise():
    made, weights = policy(predict_epsilon=True), np.float32([3.0, 0.5])
    loss = made.loss(CHUNKS, OBS, tf.constant(weights), noise=DRAWS)
    expected = np.mean(weights * np.mean((1.0 - EPSILON) ** 2, axis=(1, 2)))
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_policy_moves_to_the_chunk_with_the_weight():
    made = policy()
    slopes = []
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        with tf.GradientTape() as tape:
            loss = made.loss(CHUNKS, OBS, tf.constant(weights), noise=DRAWS)
        slopes.append(tape.gradient(loss, made.network.value).numpy())
    # Means of the chunks are 0.5 and 2.5, the policy is at 1.
    assert slopes[0] > 0 > slopes[1]


def test_steps_and_noise_are_drawn_anew():
    made = policy(predict_epsilon=True)
    losses = {float(made.loss(CHUNKS, OBS, tf.ones(2))) for _ in range(3)}
    assert len(losses) == 3


def test_state_is_the_network():
    assert parts_of_state(policy()) == ["network"]
