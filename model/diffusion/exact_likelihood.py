"""Log-likelihood of actions by the probability flow of the denoising process.

The flow dx/dt = drift(x, t) carries an action to noise. Along it log p changes by the
divergence of the drift (Song et al., 2021, eq. 39), which is estimated with random
probes (their eq. 40). Everything can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from model.common.critic import Cond
from model.diffusion.modules import len_of, predict_at
from model.diffusion.sampling import make_timesteps
from model.diffusion.sde_lib import VPSDE, get_score_fn
from util.config import compat
from util.seeding import Draws
from util.torch_to_tf import nn_Module

PROBES = ("Rademacher", "Gaussian")
Drift = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class ExactLikelihood:
    """Log-likelihood under the flow, in bits per dimension.

    Args:
        sde: Equation with the betas of the policy.
        hutchinson_type: Law of the probes, "Rademacher" or "Gaussian".
        method: Only "euler".
        step_size: Of the solver; one denoising step if None.
        eps: Time at which the flow starts.
        probability_flow: Solve the flow. False leaves out its factor 1/2, as a reverse
            equation without noise; that gives no likelihood.
        predict_epsilon: The networks predict the noise, else the clean action.
        num_epsilon: Probes for each action.

    Raises:
        ValueError: An option is impossible.
    """

    sde: VPSDE
    hutchinson_type: str = "Rademacher"
    method: str = "euler"
    step_size: float | None = None
    eps: float = 1e-5
    probability_flow: bool = False
    predict_epsilon: bool = False
    num_epsilon: int = 1

    def __post_init__(self) -> None:
        if self.hutchinson_type not in PROBES:
            raise ValueError(
                f"hutchinson_type must be one of {PROBES}, got "
                f"{self.hutchinson_type!r}."
            )
        if self.method != "euler":
            raise ValueError(
                f"method must be 'euler', got {self.method!r}: networks know the "
                "denoising steps, not the times between them."
            )
        if self.num_epsilon < 1:
            raise ValueError(f"num_epsilon must be >= 1, got {self.num_epsilon}.")
        step = 0.5 if self.step_size is None else self.step_size
        if not 0 < step < 1 or not 0 <= self.eps < 1:
            raise ValueError(
                "0 < step_size < 1 and 0 <= eps < 1 must hold, got "
                f"{self.step_size} and {self.eps}."
            )

    def __call__(
        self,
        model: nn_Module,
        model_ft: nn_Module,
        data: tf.Tensor,
        denoising_steps: int,
        ft_denoising_steps: int,
        cond: Cond,
        draws: Draws,
    ) -> tf.Tensor:
        """(log N(z) + change of log p) / (log 2 * size of an action), (B,).

        Args:
            model: Network of the noisy steps.
            model_ft: Network of the last `ft_denoising_steps` steps.
            data: Actions (B, Ta, Da).
            denoising_steps: Of the policy.
            ft_denoising_steps: Of those the fine-tuned ones.
            cond: Observations of B rows.
            draws: Source of the probes; recorded Rademacher ones are 0 or 1.
        """
        networks = (model, model_ft)
        steps = (denoising_steps, ft_denoising_steps)
        x, logp = self.path(networks, data, steps, cond, draws)
        size = data.shape[-1] * data.shape[-2]
        total = self.sde.prior_logp(x[-1]) + logp[-1]
        return total / np.float32(np.log(2) * size)

    def path(
        self,
        networks: Sequence[nn_Module],
        data: tf.Tensor,
        steps: Sequence[int],
        cond: Cond,
        draws: Draws,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """States at the `times`, (n + 1, B, Ta, Da), and changes of log p, (n + 1, B).

        Args:
            networks: Base and fine-tuned.
            data: Actions (B, Ta, Da).
            steps: Denoising steps and fine-tuned ones.
            cond: Observations of B rows.
            draws: Source of the probes.
        """
        probes = self.probes(data, draws)
        times, (total, tuned) = self.times(steps[0]), steps
        indices = self.indices(times, total)
        base, finetuned = (self.drift(net, cond, indices) for net in networks)
        if compat("exact_switch_off_by_one"):
            tuned += 1
        switch = int(np.sum(indices < tuned))
        states, changes = [data[None]], [tf.zeros_like(data[None, :, 0, 0])]
        for drift, part in (
            (finetuned, range(switch)),
            (base, range(switch, len(indices))),
        ):
            if part:
                trace = base if compat("exact_base_divergence") else drift
                x, logp = states[-1][-1], changes[-1][-1]
                found = _euler(drift, trace, x, logp, probes, np.diff(times), part)
                states.append(found[0])
                changes.append(found[1])
        return tf.concat(states, axis=0), tf.concat(changes, axis=0)

    def times(self, denoising_steps: int) -> np.ndarray:
        """Times of the states, from `eps` to 1, float32; the last step is the rest."""
        step = 1 / denoising_steps if self.step_size is None else self.step_size
        count = int(np.ceil((self.sde.T - self.eps) / step + 1))
        grid = np.arange(count, dtype=np.float32) * np.float32(step)
        grid += np.float32(self.eps)
        grid[-1] = self.sde.T
        return grid

    def indices(self, times: np.ndarray, denoising_steps: int) -> np.ndarray:
        """Denoising step at the start of each interval, the nearest one."""
        nearest = np.round(times[:-1] * denoising_steps).astype(np.int64)
        return np.minimum(nearest, denoising_steps - 1)

    def probes(self, data: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Random directions (num_epsilon, B, Ta, Da)."""
        rows, chunk = len_of(data), list(data.shape[1:])
        shape = [rows * self.num_epsilon, *chunk]
        if self.hutchinson_type == "Gaussian":
            drawn = draws.normal(shape)
        else:
            drawn = tf.cast(2 * draws.integers(shape, 2) - 1, tf.float32)
        by_row = tf.reshape(drawn, [rows, self.num_epsilon, *chunk])
        return tf.transpose(by_row, [1, 0, 2, 3])

    def drift(self, network: nn_Module, cond: Cond, indices: np.ndarray) -> Drift:
        """A function of (x (B, Ta, Da), k) that gives the drift in interval k."""
        steps = tf.constant(indices)
        predict = predict_at(network, cond, steps)

        def drift(x: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
            score = get_score_fn(
                self.sde, lambda x, t: predict(x, k), self.predict_epsilon
            )
            t = make_timesteps(len_of(x), steps[k])
            return self.sde.reverse(score, self.probability_flow).sde(x, t)[0]

        return drift


get_likelihood_fn = ExactLikelihood  # the reference's name


def _euler(
    drift: Drift,
    trace: Drift,
    x: tf.Tensor,
    logp: tf.Tensor,
    probes: tf.Tensor,
    lengths: np.ndarray,
    part: range,
) -> tuple[tf.Tensor, tf.Tensor]:
    """States and changes of log p after each interval of `part`; a loop in the graph.

    Args:
        drift: Moves x.
        trace: Its divergence changes log p.
        x: State before the first interval, (B, Ta, Da).
        logp: Change of log p so far, (B,).
        probes: (n, B, Ta, Da).
        lengths: Lengths of all intervals.
        part: The consecutive intervals to go through.
    """
    steps = tf.constant(lengths)

    def body(
        k: tf.Tensor, x: tf.Tensor, logp: tf.Tensor, *kept: tf.TensorArray
    ) -> tuple:
        velocity, divergence = drift_and_divergence(drift, trace, x, k, probes)
        after = x + steps[k] * velocity, logp + steps[k] * divergence
        at = k - part.start
        written = (a.write(at, v) for a, v in zip(kept, after, strict=True))
        return k + 1, *after, *written

    arrays = (
        tf.TensorArray(tf.float32, len(part), element_shape=v.shape) for v in (x, logp)
    )
    *_, states, changes = tf.while_loop(
        lambda *_: True,  # a second condition would be read from the device
        body,
        (tf.constant(part.start), x, logp, *arrays),
        maximum_iterations=len(part),
    )
    return states.stack(), changes.stack()


def drift_and_divergence(
    drift: Drift, trace: Drift, x: tf.Tensor, k: tf.Tensor, probes: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Drift (B, Ta, Da) and mean over probes e of e . J e, (B,), J of `trace`.

    The network is evaluated once; each probe is one product with its Jacobian.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        traced = trace(x, k)
    products = [
        tf.reduce_sum(tape.gradient(traced, x, output_gradients=e) * e, axis=[1, 2])
        for e in tf.unstack(probes)
    ]
    velocity = traced if trace is drift else drift(x, k)
    return velocity, tf.add_n(products) / float(len(products))
