import numpy as np
import pytest
import tensorflow as tf

from model.common.transformer import (
    Gaussian_Transformer,
    GMM_Transformer,
    Transformer,
)
from tests.model.fakes import normal, set_parameters, states
from tests.model.recorded import (
    assert_initials_as_recorded,
    assert_state_as_recorded,
    recorded_initials,
    recorded_networks,
)
from tests.modes import MODES, in_mode
from util.torch_to_tf import nn_Dropout

MODULE = "model.common.transformer"
ROWS, STEPS, WIDTH, EMBED = 5, 3, 2, 8
POLICY = {
    "action_dim": WIDTH,
    "horizon_steps": STEPS,
    "cond_dim": 4,
    "transformer_embed_dim": EMBED,
    "transformer_num_heads": 2,
    "transformer_num_layers": 2,
}
STDS = [{}, {"fixed_std": 0.1}, {"fixed_std": 0.1, "learn_fixed_std": True}]


def transformer(**options) -> Transformer:
    sizes = {"output_dim": 4, "horizon": STEPS, "cond_dim": 6, "n_layer": 2}
    return Transformer(**{**sizes, "n_head": 2, "n_emb": EMBED, **options})


def randomised(module):
    """The module with random parameters, but its own bounds and masks."""
    kept = ("logvar_m", "mask", "memory_mask")
    state = {k: v for k, v in module.state_dict().items() if k.startswith(kept)}
    set_parameters(module)
    module.load_state_dict(state, strict=False)
    return module


# -- the network itself ---------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layers", [0, 2])
def test_output_is_linear_in_the_features(mode, layers):
    module = randomised(transformer(T_cond=4, n_cond_layers=layers))
    out, features = in_mode(module, mode)(tf.constant(normal(ROWS, 4, 6)))
    assert out.shape == (ROWS, STEPS, 4)
    assert features.shape == (ROWS, STEPS, EMBED)
    np.testing.assert_allclose(out, module.head(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_fewer_observations_than_there_may_be_take_the_first_positions(causal):
    module = randomised(transformer(T_cond=4, causal_attn=causal))
    cond = tf.constant(normal(ROWS, 2, 6))
    short = randomised(transformer(T_cond=2, causal_attn=causal))
    state = module.state_dict()
    fewer = {"cond_pos_emb": state["cond_pos_emb"][:, :2]}
    if causal:
        fewer["memory_mask"] = state["memory_mask"][:, :2]
    short.load_state_dict({**state, **fewer})
    np.testing.assert_allclose(module(cond)[0], short(cond)[0], rtol=1e-5, atol=1e-6)


def test_unknown_batch_size_keeps_the_other_sizes():
    spec = tf.TensorSpec([None, 1, 6])
    function = in_mode(transformer(), "graph").get_concrete_function(spec)
    shapes = [out.shape.as_list() for out in function.outputs]
    assert shapes == [[None, STEPS, 4], [None, STEPS, EMBED]]


def sensitivity(module, cond) -> np.ndarray:
    """Whether output t depends on observation s, (Ta, T)."""
    with tf.GradientTape() as tape:
        tape.watch(cond)
        out = tf.reduce_sum(module(cond)[0] ** 2, axis=(0, 2))
    return np.abs(tape.jacobian(out, cond)).sum((1, 3)) > 1e-7


def test_causal_attention_sees_observations_up_to_the_next():
    cond = tf.constant(normal(ROWS, 4, 6))
    causal = randomised(transformer(T_cond=4, causal_attn=True))
    expected = np.arange(4) <= np.arange(STEPS)[:, None] + 1
    np.testing.assert_array_equal(sensitivity(causal, cond), expected)
    assert sensitivity(randomised(transformer(T_cond=4)), cond).all()


def test_causal_attention_sees_earlier_positions_only():
    module = randomised(transformer(causal_attn=True))
    cond = tf.constant(normal(ROWS, 1, 6))
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(module(cond)[0] ** 2, axis=(0, 2))
    found = np.abs(tape.jacobian(out, module.pos_emb.value)).sum((1, 3)) > 1e-7
    np.testing.assert_array_equal(found, np.tri(STEPS, dtype=bool))


def test_masks_are_saved_where_they_exist():
    state = transformer(T_cond=2, causal_attn=True).state_dict()
    assert list(state)[2:4] == ["mask", "memory_mask"]
    np.testing.assert_array_equal(state["mask"], np.triu(np.full((3, 3), -np.inf), 1))
    expected = [[0, 0], [0, 0], [0, 0]]
    np.testing.assert_array_equal(state["memory_mask"], expected)
    assert "mask" not in transformer().state_dict()


def test_encoder_with_layers_has_the_keys_of_the_reference():
    keys = list(transformer(n_cond_layers=1).state_dict())
    assert keys[4] == "encoder.layers.0.self_attn.in_proj_weight"
    assert "encoder.layers.0.norm2.bias" in keys


def test_dropout_is_that_of_embeddings_and_layers():
    module = transformer(p_drop_emb=0.5, n_cond_layers=1, p_drop_attn=0.25)
    assert module.drop.p == 0.5
    others = [m.p for m in module.modules() if isinstance(m, nn_Dropout)]
    assert sorted(set(others)) == [0.25, 0.5]
    cond = tf.constant(normal(1, 1, 6))
    assert not np.array_equal(module(cond)[0], module(cond)[0])
    module.eval()
    np.testing.assert_array_equal(module(cond)[0], module(cond)[0])


def test_activation_is_chosen():
    gelu, relu = randomised(transformer()), transformer(activation="relu")
    relu.load_state_dict(gelu.state_dict())
    cond = tf.constant(normal(ROWS, 1, 6))
    assert not np.allclose(gelu(cond)[0], relu(cond)[0])
    with pytest.raises(ValueError, match="activation must be 'relu' or 'gelu'"):
        transformer(activation="Mish")


def test_layers_start_with_different_values():
    state = transformer().state_dict()
    key = "decoder.layers.{}.linear1.weight"
    assert not np.array_equal(state[key.format(0)], state[key.format(1)])


@pytest.mark.parametrize("name", ["Transformer", "GMM_Transformer"])
def test_fresh_values_are_those_of_the_reference(name):
    assert_initials_as_recorded(recorded_initials(f"{MODULE}.{name}"))


# -- policies -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", STDS)
def test_gaussian_has_shapes_and_types(options, mode):
    module = Gaussian_Transformer(**POLICY, **options)
    for out in in_mode(module, mode)(states(ROWS, 2, 2)):
        assert out.shape == (ROWS, STEPS * WIDTH)
        assert out.dtype == tf.float32


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", STDS)
def test_mixture_has_shapes_and_types(options, mode):
    module = GMM_Transformer(**POLICY, num_modes=4, **options)
    mean, std, logits = in_mode(module, mode)(states(ROWS, 2, 2))
    assert mean.shape == std.shape == (ROWS, 4, STEPS * WIDTH)
    assert logits.shape == (ROWS, 4)


def raw(module, cond):
    """Outputs of the transformer for the flat state as one token."""
    token = tf.reshape(cond["state"], [ROWS, 1, 4])
    return [out.numpy() for out in module.transformer(token)]


def test_gaussian_takes_halves_of_the_output():
    module = randomised(Gaussian_Transformer(**POLICY, std_min=0.8, std_max=9.0))
    cond = states(ROWS, 2, 2)
    out, _ = raw(module, cond)
    mean, std = module(cond)
    np.testing.assert_allclose(mean, np.tanh(out[..., :2]).reshape(ROWS, 6), rtol=1e-5)
    expected = np.clip(np.exp(0.5 * out[..., 2:]), 0.8, 9.0).reshape(ROWS, 6)
    assert len(np.unique(expected)) > 2
    np.testing.assert_allclose(std, expected, rtol=1e-5)


@pytest.mark.parametrize("predicts", [True, False])
def test_mixture_orders_means_by_mode(predicts):
    fixed = {} if predicts else {"fixed_std": 0.3}
    module = randomised(GMM_Transformer(**POLICY, num_modes=4, **fixed))
    cond = states(ROWS, 2, 2)
    out, features = raw(module, cond)

    def by_mode(part):
        split = part.reshape(ROWS, STEPS, 4, WIDTH).transpose(0, 2, 1, 3)
        return split.reshape(ROWS, 4, STEPS * WIDTH)

    mean, std, logits = module(cond)
    np.testing.assert_allclose(mean, np.tanh(by_mode(out[..., :8])), rtol=1e-5)
    expected = np.full(mean.shape, 0.3)
    if predicts:
        expected = np.clip(np.exp(0.5 * by_mode(out[..., 8:])), 0.01, 1.0)
    np.testing.assert_allclose(std, expected, rtol=1e-5)
    flat = features.reshape(ROWS, STEPS * EMBED)
    np.testing.assert_allclose(logits, module.modes_head(flat), rtol=1e-4, atol=1e-5)


def test_mixture_with_predicted_std_learns_in_every_part():
    """The reference crashes without `fixed_std`."""
    module = randomised(GMM_Transformer(**POLICY, std_min=1e-4, std_max=1e4))
    trained = {k: p.value for k, p in module.named_parameters() if p.trainable}
    with tf.GradientTape() as tape:
        outputs = module(states(ROWS, 2, 2))
        total = tf.add_n([tf.reduce_sum(out**2) for out in outputs])
    gradients = dict(
        zip(trained, tape.gradient(total, [*trained.values()]), strict=True)
    )
    still = {key for key, g in gradients.items() if not np.abs(g).max() > 0}
    # One observation is attended to whatever the query is, so nothing before it counts.
    assert {key.split(".")[-2] for key in still} == {"norm2"}


def test_learned_std_of_a_mixture_is_one_per_mode_and_dimension():
    options = {"num_modes": 2, "fixed_std": 0.1, "learn_fixed_std": True}
    module = GMM_Transformer(**POLICY, **options)
    deviations = np.array([[0.1, 0.2], [0.3, 0.4]])
    module.logvar.assign(np.log(np.square(deviations)).ravel())
    expected = np.tile(deviations, [1, STEPS])
    std = module(states(1, 2, 2))[1]
    np.testing.assert_allclose(std[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "entry",
    [
        *recorded_networks(f"{MODULE}.Gaussian_Transformer"),
        *recorded_networks(f"{MODULE}.GMM_Transformer"),
    ],
    ids=lambda entry: entry["id"],
)
def test_state_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)


@pytest.mark.parametrize("kind", [Gaussian_Transformer, GMM_Transformer])
def test_unknown_argument_is_refused(kind):
    with pytest.raises(TypeError, match="embed_dim'"):
        kind(**POLICY, embed_dim=3)


def test_mixture_without_modes_is_refused():
    with pytest.raises(ValueError, match="num_modes must be >= 1, got 0"):
        GMM_Transformer(**POLICY, num_modes=0)
