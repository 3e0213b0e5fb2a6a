"""Two transitions, and critics with known values, for tests of Q-learning."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model.common.critic import CriticObsAct
from model.common.ensemble import CriticEnsemble
from tests.model.fakes import normal, states
from tests.modes import in_mode

ROWS, WIDTH = 2, 2
OBS, NEXT_OBS = states(ROWS), states(ROWS, seed=1)
ACTIONS = tf.constant(np.tanh(normal(ROWS, 1, WIDTH, seed=2)))
REWARDS = tf.constant([1.0, 2.0])
TERMINATED = tf.constant([0.0, 1.0])
BATCH = (OBS, NEXT_OBS, ACTIONS, REWARDS, TERMINATED)
ZERO = np.zeros((ROWS, WIDTH), np.float32)
# log N(0; 0, 1) of two elements, and the correction for tanh(0).
LOGPROB_OF_ZERO = -np.log(2 * np.pi) - 2e-6


def linear_critic(double_q: bool = False) -> CriticObsAct:
    """One linear layer on state and action."""
    return CriticObsAct(2, [], WIDTH, double_q=double_q)


def set_values(
    critic: CriticObsAct, values: Sequence[float], slope: float = 0, of_state: float = 0
) -> None:
    """Makes each critic its value plus sums of the action and of the state.

    Args:
        critic: Of `linear_critic`, or an ensemble of such.
        values: One for each critic.
        slope: Factor of the action's sum.
        of_state: Factor of the state's sum.
    """
    parameters = critic.parameters()
    parts = [values] if isinstance(critic, CriticEnsemble) else [[v] for v in values]
    pairs = zip(parameters[::2], parameters[1::2], parts, strict=True)
    for weight, bias, part in pairs:
        factors = np.float32([of_state, of_state, slope, slope])
        weight.assign(np.broadcast_to(factors, weight.shape))
        bias.assign(np.reshape(np.float32(part), bias.shape))


def trained_parts(model, loss) -> set[str]:
    """Prefixes of the parameters that a loss has gradients for."""
    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, model.parameters())
    return {
        name.split(".")[0]
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True)
        if gradient is not None
    }


def actor_loss(model, mode: str, *arguments) -> tuple[float, np.ndarray]:
    """Loss of a `KnownGaussian` that draws `ZERO`, and the gradient of its mean."""

    def loss_and_gradient():
        with tf.GradientTape() as tape:
            loss = model.loss_actor(OBS, *arguments, noise=[ZERO])
        return loss, tape.gradient(loss, model.network.mean.value)

    loss, gradient = in_mode(loss_and_gradient, mode)()
    return float(loss), gradient.numpy()


def parts_of_state(model) -> list[str]:
    """First words of the keys of a state dict, in order."""
    return list(dict.fromkeys(key.split(".")[0] for key in model.state_dict()))
