import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion import DiffusionModel
from model.diffusion.diffusion_eval import DiffusionEval
from model.diffusion.diffusion_vpg import VPGDiffusion
from tests.model.fakes import ConstantPrediction, MeanCritic, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.torch_file_writer import save_torch_file

ROWS, STEPS, WIDTH = 2, 2, 3
SIZES = {"horizon_steps": STEPS, "obs_dim": 2, "action_dim": WIDTH}
COND = states(ROWS)
DDIM = {"use_ddim": True, "ddim_steps": 4, "denoising_steps": 20}


def entries(**values) -> dict[str, np.ndarray]:
    return {f"{name}.value": np.array(v, np.float32) for name, v in values.items()}


RAW, AVERAGE = entries(network=1.0), entries(network=2.0)
TUNED = {
    **entries(network=0.1, actor=0.2, actor_ft=0.4),
    "critic.factor": np.array(1.0, np.float32),
}


@pytest.fixture
def pretrained(tmp_path):
    path = tmp_path / "state_9.pt"
    save_torch_file({"epoch": 9, "model": RAW, "ema": AVERAGE}, path)
    return path


@pytest.fixture
def finetuned(tmp_path):
    path = tmp_path / "state_5.pt"
    save_torch_file({"itr": 5, "model": TUNED}, path)
    return path


@pytest.fixture
def own(tmp_path):
    """A state folder of a fine-tuned policy that says what it is."""
    made = tuner()
    path = tmp_path / "state_5"
    save_state(path, {"model": TUNED}, made.description())
    return path


def tuner(**options) -> VPGDiffusion:
    return VPGDiffusion(
        ConstantPrediction(),
        MeanCritic(),
        **{"ft_denoising_steps": 2, "denoising_steps": 5, **SIZES, **options},
    )


def model(path, steps=None, *, network=None, **options) -> DiffusionEval:
    return DiffusionEval(
        network or ConstantPrediction(),
        str(path),
        steps,
        **{"denoising_steps": 5, **SIZES, **options},
    )


def value(made: DiffusionEval) -> float:
    return float(made.network.value.numpy())


# -- which weights --------------------------------------------------------------------


def test_averaged_weights_of_a_pretrained_file(pretrained):
    assert value(model(pretrained, 0)) == value(model(pretrained)) == 2.0
    assert value(model(pretrained, 0, use_ema=False)) == 1.0


def test_raw_weights_as_in_the_reference(pretrained):
    with compat_scope({"raw_weights": True}):
        assert value(model(pretrained, 0)) == 1.0
        assert value(model(pretrained, 0, use_ema=True)) == 2.0


@pytest.mark.parametrize("entry", ["model", "ema"])
def test_the_only_entry_is_used(tmp_path, entry):
    save_torch_file({entry: RAW}, tmp_path / "a.pt")
    for use_ema in (True, False):
        assert value(model(tmp_path / "a.pt", 0, use_ema=use_ema)) == 1.0


def test_both_networks_of_a_fine_tuned_file(finetuned):
    made = model(finetuned, 2)
    assert made.actor is made.network
    assert value(made) == np.float32(0.2)
    assert made.actor_ft.value.numpy() == np.float32(0.4)


def test_own_checkpoint_says_how_many_steps_are_fine_tuned(own):
    assert model(own).ft_denoising_steps == 2
    assert model(own, 2).ft_denoising_steps == 2


# -- conflicts ------------------------------------------------------------------------


def test_fine_tuned_file_with_zero_steps_is_refused(finetuned, own):
    for path in (finetuned, own):
        with pytest.raises(ValueError, match="fine-tuned, but ft_denoising_steps=0"):
            model(path, 0)


def test_fine_tuned_file_with_zero_steps_as_in_the_reference(finetuned):
    with compat_scope({"raw_weights": True}):
        made = model(finetuned, 0)
    noise = [normal(ROWS, STEPS, WIDTH, seed=i) for i in range(6)]
    base = DiffusionModel(ConstantPrediction(0.2), denoising_steps=5, **SIZES)
    np.testing.assert_allclose(
        made(COND, noise=noise).trajectories,
        base(COND, noise=noise).trajectories,
        rtol=1e-5,
        atol=1e-5,
    )


def test_fine_tuned_file_of_the_reference_needs_the_number_of_steps(finetuned):
    with pytest.raises(ValueError, match="does not say with how many steps"):
        model(finetuned)


def test_pretrained_file_with_fine_tuned_steps_is_refused(pretrained):
    with pytest.raises(ValueError, match="without actor_ft, .*=3; it must be 0"):
        model(pretrained, 3)


@pytest.mark.parametrize("steps", [-1, 6])
def test_steps_beyond_the_sampler_are_refused(finetuned, steps):
    with pytest.raises(ValueError, match=rf"must be in 0..5, got {steps}"):
        model(finetuned, steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3}, r"ft_denoising_steps=2 \(this config: 3\)"),
        ({"denoising_steps": 7}, r"denoising_steps=5 \(this config: 7\)"),
        ({"horizon_steps": 4}, r"horizon_steps=2 \(this config: 4\)"),
        (
            {"use_ddim": True, "ddim_steps": 3},
            r"use_ddim=False \(this config: True\)",
        ),
    ],
)
def test_own_checkpoint_must_be_run_as_it_was_trained(own, options, message):
    with pytest.raises(ValueError, match=f"state_5 does not fit this .*{message}"):
        model(own, **options)


class Wide(ConstantPrediction):
    """A network of another shape."""

    def __init__(self):
        super().__init__([0.0] * WIDTH)


def test_file_of_another_network_is_refused(pretrained, finetuned):
    for path, steps in ((pretrained, 0), (finetuned, 2)):
        with pytest.raises(ValueError, match=f"{path.name} is of another .*expected"):
            model(path, steps, network=Wide())


def test_incomplete_file_is_refused(tmp_path):
    save_torch_file({"model": entries(actor=0.2, actor_ft=0.4)}, tmp_path / "a.pt")
    assert value(model(tmp_path / "a.pt", 2)) == np.float32(0.2)
    for state, steps in ((entries(critic=1.0), 0), (entries(actor_ft=1.0), 2)):
        save_torch_file({"model": state}, tmp_path / "b.pt")
        with pytest.raises(ValueError, match="b.pt .*missing keys: value"):
            model(tmp_path / "b.pt", steps)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="state_7"):
        model(tmp_path / "state_7.pt", 0)


def test_unknown_argument_is_refused(pretrained):
    with pytest.raises(TypeError, match="denoise_steps"):
        model(pretrained, 0, denoise_steps=5)


# -- sampling -------------------------------------------------------------------------


def trained(**options) -> VPGDiffusion:
    made = tuner(**options)
    made.network.value.assign(0.2)
    made.actor_ft.value.assign(0.4)
    return made


@pytest.mark.parametrize(
    ("steps", "mode"), [(2, "eager"), (2, "graph"), (2, "jit"), (5, "eager")]
)
def test_samples_as_the_fine_tuned_policy_without_exploration(finetuned, steps, mode):
    noise = [normal(ROWS, STEPS, WIDTH, seed=i) for i in range(6)]
    made, policy = model(finetuned, steps), trained(ft_denoising_steps=steps)
    sample = in_mode(lambda c: made(c, noise=noise).trajectories, mode)
    expected = policy(COND, deterministic=True, noise=noise).trajectories
    np.testing.assert_allclose(sample(COND), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES[:2])
def test_samples_as_the_fine_tuned_policy_with_ddim(finetuned, mode):
    noise = [normal(ROWS, STEPS, WIDTH, seed=i) for i in range(5)]
    made, policy = model(finetuned, 2, **DDIM), trained(**DDIM)
    sample = in_mode(lambda c: made(c, noise=noise).trajectories, mode)
    expected = policy(COND, deterministic=True, noise=noise).trajectories
    np.testing.assert_allclose(sample(COND), expected, rtol=1e-5, atol=1e-5)


def test_posterior_chooses_the_network_row_by_row(finetuned):
    x = normal(4, STEPS, WIDTH)
    for options, t, index in (
        ({}, [4, 2, 1, 0], None),
        (DDIM, [15, 10, 5, 0], tf.range(4, dtype=tf.int64)),
    ):
        made, policy = model(finetuned, 2, **options), trained(**options)
        t = tf.constant(t, tf.int64)
        arguments = (tf.constant(x), t, states(4), index)
        mean, logvar = made.p_mean_var(*arguments, deterministic=True)
        expected = policy.p_mean_var(*arguments, deterministic=True)
        np.testing.assert_allclose(mean, expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(logvar, expected[1], rtol=1e-5)


def test_ddim_cannot_explore(finetuned):
    made = model(finetuned, 2, **DDIM)
    with pytest.raises(ValueError, match="DDIM needs deterministic=True"):
        made(COND, deterministic=False)
