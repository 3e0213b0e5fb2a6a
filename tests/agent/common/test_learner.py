import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

from agent.common.learner import Learner
from util.torch_to_tf import nn_Parameter

SCHEDULE = OmegaConf.create(
    {"first_cycle_steps": 10, "warmup_steps": 2, "min_lr": 0.01}
)


def parameter(*values, requires_grad=True):
    return nn_Parameter(np.array(values, np.float32), requires_grad)


def number(variable):
    return variable.numpy().tolist()


def test_first_step_moves_by_the_learning_rate():
    # Adam's first step is lr * g / |g|.
    p = parameter(1.0, 1.0)
    Learner([p], lr=0.1).apply([tf.constant([0.5, -3.0])])
    np.testing.assert_allclose(number(p), [0.9, 1.1], rtol=1e-6)


def test_weight_decay_is_decoupled():
    # 1 * (1 - 0.1 * 0.5) - 0.1
    p = parameter(1.0)
    Learner([p], lr=0.1, weight_decay=0.5).apply([tf.constant([2.0])])
    np.testing.assert_allclose(number(p), [0.85], rtol=1e-6)


def test_gradient_is_clipped_by_one_norm_for_all():
    p, q = parameter(0.0), parameter(0.0)
    learner = Learner([p, q], lr=0.1, max_grad_norm=1.0)
    learner.apply([tf.constant([3.0]), tf.constant([4.0])])
    # The norm is 5; the moments hold a tenth of the clipped gradient.
    moments = [m.numpy()[0] for m in learner.optimizer.exp_avg]
    np.testing.assert_allclose(moments, [0.06, 0.08], rtol=1e-5)


def test_gradient_is_as_it_is_without_a_limit():
    p = parameter(0.0)
    learner = Learner([p], lr=0.1)
    learner.apply([tf.constant([300.0])])
    np.testing.assert_allclose(learner.optimizer.exp_avg[0].numpy(), [30.0], rtol=1e-6)


def test_frozen_parameters_are_left_out():
    free, frozen = parameter(1.0), parameter(1.0, requires_grad=False)
    assert Learner([free, frozen], lr=0.1).params == [free]


def test_schedule_starts_at_its_least_rate_and_moves_when_told():
    learner = Learner([parameter(0.0)], lr=0.1, schedule=SCHEDULE)
    assert learner.lr == pytest.approx(0.01)
    rates = []
    for _ in range(3):
        learner.step_schedule()
        rates.append(learner.lr)
    # Two steps of warm-up, then down the cosine: (1 + cos(pi / 8)) / 2 = 0.96194.
    assert rates == pytest.approx([0.055, 0.1, 0.01 + 0.09 * 0.96194], rel=1e-5)


def test_schedule_reaches_compiled_code():
    p = parameter(0.0)
    learner = Learner([p], lr=0.1, schedule=SCHEDULE)
    step = tf.function(lambda: learner.apply([tf.constant([1.0])]))
    step()
    np.testing.assert_allclose(number(p), [-0.01], rtol=1e-5)
    learner.step_schedule()
    step()
    np.testing.assert_allclose(number(p), [-0.065], rtol=1e-5)
    assert step.experimental_get_tracing_count() == 1


def test_rate_is_constant_without_schedule():
    learner = Learner([parameter(0.0)], lr=0.1)
    learner.step_schedule()
    assert learner.lr == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", [None, SCHEDULE])
def test_restored_learner_goes_on_like_the_saved_one(schedule):
    def make(value):
        p = parameter(value)
        return p, Learner([p], lr=0.1, weight_decay=0.1, schedule=schedule)

    def step(learner, gradient):
        learner.apply([tf.constant([gradient])])
        learner.step_schedule()

    p, one = make(1.0)
    for gradient in (1.0, -0.3, 0.7):
        step(one, gradient)
    q, other = make(number(p)[0])
    other.set_state(one.get_state())
    assert other.lr == one.lr
    for gradient in (0.2, -2.0):
        step(one, gradient)
        step(other, gradient)
    assert number(q) == number(p)
    assert other.lr == one.lr


def test_decay_of_the_config_applies_to_a_run_that_goes_on():
    """As any other key does that is changed with `resume=`."""
    before, after = (
        Learner([tf.Variable([1.0])], lr=0.1, weight_decay=decay)
        for decay in (0.1, 0.5)
    )
    before.apply([tf.constant([2.0])])
    after.set_state(before.get_state())
    assert after.optimizer.weight_decay == 0.5
    assert int(after.get_state()["optimizer"]["state"][0]["step"]) == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_a_loss_is_minimised_if_a_step_is_due(compiled):
    p = parameter(1.0)
    learner = Learner([p], lr=0.1)

    def step(due):
        return learner.minimise(lambda: tf.reduce_sum(p * p), due)

    run = tf.function(step, jit_compile=True) if compiled else step
    assert float(run(tf.constant(False))) == 1
    assert number(p) == [1.0]
    assert float(run(tf.constant(True))) == 1
    np.testing.assert_allclose(number(p), [0.9], rtol=1e-6)
