import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.exact_likelihood import ExactLikelihood, get_likelihood_fn
from model.diffusion.mlp_diffusion import DiffusionMLP
from model.diffusion.sampling import cosine_beta_schedule
from model.diffusion.sde_lib import VPSDE
from tests.model.fakes import normal, states
from tests.modes import MODES, in_mode
from util.config import compat_scope
from util.seeding import Draws
from util.torch_to_tf import nn_Module, nn_Parameter

ROWS, STEPS, WIDTH, TOTAL, TUNED = 3, 2, 2, 6, 2
SIZE = STEPS * WIDTH
COND = states(ROWS)
DATA = 0.5 * normal(ROWS, STEPS, WIDTH)
BASE, FINE = 0.4, 0.9
RNG = tf.random.Generator.from_seed(0)
DEFECTS = {
    "exact_base_divergence": True,
    "exact_drift_scale": True,
    "exact_switch_off_by_one": True,
}


class LinearNoise(nn_Module):
    """Predicts `factor` times the noisy action."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn_Parameter(np.float32(factor))

    def call(self, x: tf.Tensor, time: tf.Tensor, cond: dict) -> tf.Tensor:
        """Shape of `x`."""
        return x * tf.convert_to_tensor(self.factor)


class NormalData(nn_Module):
    """The noise prediction that is right for N(0, deviation^2) data."""

    def __init__(self, deviation: float, alphas_bar: list[float]) -> None:
        super().__init__()
        self.deviation, self.alphas_bar = deviation, np.float32(alphas_bar)

    def call(self, x: tf.Tensor, time: tf.Tensor, cond: dict) -> tf.Tensor:
        """Shape of `x`."""
        abar = tf.reshape(tf.gather(self.alphas_bar, time), [-1, 1, 1])
        return tf.sqrt(1 - abar) * x / (abar * self.deviation**2 + 1 - abar)


def sde_of(total: int) -> VPSDE:
    sde = VPSDE(total)
    sde.set_betas(cosine_beta_schedule(total), min_beta=1e-10)
    return sde


def likelihood(total: int = TOTAL, **options) -> ExactLikelihood:
    defaults = {"probability_flow": True, "predict_epsilon": True, "eps": 1e-4}
    return ExactLikelihood(sde_of(total), **{**defaults, **options})


def draws(noise: list | None = None) -> Draws:
    return Draws(RNG, noise)


LINEAR = LinearNoise(BASE), LinearNoise(FINE)


def score(made: ExactLikelihood, base=LINEAR[0], tuned=LINEAR[1], noise=None):
    x = tf.constant(DATA)
    return made(base, tuned, x, made.sde.N, TUNED, COND, draws(noise))


def by_hand(fine: float = FINE, flow: float = 0.5, defects: tuple = ()) -> np.ndarray:
    """The flow of `LinearNoise`s in double precision, in bits per dimension."""
    betas, x, logp = np.float64(cosine_beta_schedule(TOTAL)), np.float64(DATA), 0.0
    abar = np.cumprod(1 - betas)
    grid = np.append(1e-4 + np.arange(TOTAL) / TOTAL, 1.0)
    tuned = TUNED + ("exact_switch_off_by_one" in defects)
    speed = 1 if "exact_drift_scale" in defects else TOTAL
    for t, step in enumerate(np.diff(grid)):
        factor = fine if t < tuned else BASE
        traced = BASE if "exact_base_divergence" in defects else factor
        rate, trace = (
            speed * betas[t] * (-0.5 + flow * f / np.sqrt(1 - abar[t]))
            for f in (factor, traced)
        )
        logp += step * trace * SIZE
        x = x + step * rate * x
    prior = -0.5 * (x**2).sum((1, 2)) - 0.5 * SIZE * np.log(2 * np.pi)
    return (prior + logp) / (np.log(2) * SIZE)


# -- likelihood -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_flow_by_hand(mode):
    # Rademacher probes are exact where the Jacobian is a multiple of the identity.
    found = in_mode(lambda: score(likelihood()), mode)()
    np.testing.assert_allclose(found, by_hand(), rtol=1e-4)


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_of_the_reference_by_hand(defect):
    with compat_scope({defect: True}):
        found = score(likelihood())
    np.testing.assert_allclose(found, by_hand(defects=(defect,)), rtol=1e-4)
    assert np.all(np.abs(found - by_hand()) > 1e-2)


def test_likelihood_is_the_density_of_the_policy():
    total, deviation = 80, 0.5
    made = likelihood(total)
    network = NormalData(deviation, made.sde.alphas_bar.tolist())
    scaled = DATA / deviation
    exact = -0.5 * scaled**2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)
    exact = exact.sum((1, 2)) / (np.log(2) * SIZE)
    ours, theirs = (
        in_mode(lambda: score(made, network, network), "graph") for _ in range(2)
    )
    np.testing.assert_allclose(ours(), exact, atol=0.06)
    with compat_scope({"exact_drift_scale": True}):
        theirs = theirs()
    assert np.all(np.abs(theirs - exact) > 0.2)


def test_without_the_flow_the_score_has_its_full_weight():
    found = score(likelihood(probability_flow=False))
    np.testing.assert_allclose(found, by_hand(flow=1.0), rtol=1e-4)


@pytest.mark.parametrize(
    ("mode", "defects"), [("eager", ()), ("jit", ()), ("graph", tuple(DEFECTS))]
)
def test_gradient_of_the_fine_tuned_network(mode, defects):
    tuned, made = LinearNoise(FINE), likelihood()

    def gradient():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(score(made, tuned=tuned))
        return tape.gradient(total, tuned.factor)

    with compat_scope(dict.fromkeys(defects, True)):
        found = in_mode(gradient, mode)()
    sides = [by_hand(FINE + s, defects=defects).sum() for s in (1e-5, -1e-5)]
    slope = (sides[0] - sides[1]) / 2e-5
    assert found.numpy() == pytest.approx(slope, rel=1e-3)


def test_network_with_an_encoder_has_a_gradient_through_the_divergence():
    def network():
        return DiffusionMLP(WIDTH, STEPS, 2, 4, [8], [4], activation_type="Mish")

    tuned, base, made = network(), network(), likelihood()
    probes = [np.random.default_rng(0).integers(0, 2, DATA.shape)]
    head = tuned.mlp_mean.moduleList[0].linear_1.bias

    def total():
        return tf.reduce_sum(score(made, base, tuned, noise=probes))

    def gradient():
        with tf.GradientTape() as tape:
            value = total()
        return tape.gradient(value, head)

    found, sides = in_mode(gradient, "jit")().numpy(), []
    for step in (2e-2, -2e-2):
        head.assign_add(np.full(8, step, np.float32))
        sides.append(float(total()))
        head.assign_add(np.full(8, -step, np.float32))
    assert found.sum() == pytest.approx((sides[0] - sides[1]) / 4e-2, rel=2e-2)


# -- probes ---------------------------------------------------------------------------


def test_estimate_is_the_mean_over_the_probes_of_an_action():
    first, second = normal(ROWS, STEPS, WIDTH), normal(ROWS, STEPS, WIDTH, seed=1)
    made = likelihood(hutchinson_type="Gaussian")
    single = [score(made, noise=[probe]) for probe in (first, second)]
    both = likelihood(hutchinson_type="Gaussian", num_epsilon=2)
    together = np.stack([first, second], axis=1).reshape(-1, STEPS, WIDTH)
    found = score(both, noise=[together])
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=1e-4)
    assert not np.allclose(single[0], single[1])


def test_drawn_probes_have_unit_variance():
    data = tf.zeros([200, STEPS, WIDTH])
    for kind in ("Rademacher", "Gaussian"):
        made = likelihood(hutchinson_type=kind, num_epsilon=3)
        found = made.probes(data, draws()).numpy()
        assert found.shape == (3, 200, STEPS, WIDTH)
        assert np.mean(found) == pytest.approx(0.0, abs=0.08)
        assert np.mean(found**2) == pytest.approx(1.0, abs=0.1)
        assert set(np.unique(found)) == {-1, 1} or kind == "Gaussian"


# -- solver ---------------------------------------------------------------------------


def test_each_denoising_step_is_one_interval():
    made = likelihood()
    times = made.times(TOTAL)
    expected = [*(1e-4 + np.arange(TOTAL) / TOTAL), 1.0]
    np.testing.assert_allclose(times, expected, rtol=1e-6)
    assert made.indices(times, TOTAL).tolist() == list(range(TOTAL))


def test_small_steps_stay_among_the_denoising_steps():
    made = likelihood(step_size=0.01)
    times = made.times(TOTAL)
    indices = made.indices(times, TOTAL)
    assert (indices[0], indices[-1]) == (0, TOTAL - 1)
    assert np.all(np.diff(indices) >= 0)
    assert np.diff(times).max() <= 0.01 + 1e-6
    assert np.all(np.isfinite(score(made)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hutchinson_type": "Normal"}, "hutchinson_type must be one of .*'Normal'"),
        ({"method": "RK45"}, "method must be 'euler', got 'RK45'"),
        ({"num_epsilon": 0}, "num_epsilon must be >= 1, got 0"),
        ({"step_size": 0.0}, "0 < step_size < 1 .* got 0.0"),
        ({"eps": 1.0}, "0 <= eps < 1 must hold, got None and 1.0"),
    ],
)
def test_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        likelihood(**options)


def test_it_has_the_name_of_the_reference():
    assert get_likelihood_fn(sde_of(TOTAL)).num_epsilon == 1
