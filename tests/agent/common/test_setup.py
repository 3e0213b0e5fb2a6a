import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

from agent.common.setup import (
    EpisodeCounter,
    check_sizes,
    make_logger,
    make_model,
    make_samplers,
    make_venv,
    video_options,
)
from model.common.gaussian import GaussianModel
from model.common.mlp_gaussian import Gaussian_MLP
from tests.agent.fakes import make_rollout
from tests.agent.tiny import changed, tiny_config, weights
from util.metrics import read_metrics
from util.seeding import Seeds
from util.torch_to_tf import nn_Linear


def cfg_of(tmp_path, *overrides):
    return tiny_config("ppo", tmp_path, *overrides)


def first_obs(cfg, seed):
    venv = make_venv(cfg, Seeds(seed))
    obs = venv.reset_arg([{}, {}])["state"]
    venv.close()
    return obs


def test_environments_are_wrapped_and_seeded_apart(tmp_path):
    cfg = cfg_of(tmp_path, "cond_steps=2")
    obs = first_obs(cfg, 1)
    assert obs.shape == (2, 2, 3)
    assert not np.allclose(obs[0], obs[1])
    np.testing.assert_array_equal(first_obs(cfg, 1), obs)
    assert not np.allclose(first_obs(cfg, 2), obs)


def test_no_environments_are_refused(tmp_path):
    cfg = cfg_of(tmp_path, "env.n_envs=0")
    with pytest.raises(ValueError, match=r"env\.n_envs must be >= 1, got 0\."):
        make_venv(cfg, Seeds(1))


def test_sizes_that_the_environment_does_not_have_are_refused(tmp_path):
    with pytest.raises(ValueError, match="obs_dim must be 3, .* got 7"):
        make_venv(cfg_of(tmp_path, "obs_dim=7"), Seeds(1))


SIZES = {
    "obs_dim": 3,
    "action_dim": 2,
    "cond_steps": 1,
    "horizon_steps": 4,
    "act_steps": 4,
}


def test_possible_sizes_pass():
    check_sizes(OmegaConf.create(SIZES))


@pytest.mark.parametrize("key", SIZES)
def test_sizes_below_1_are_refused(key):
    with pytest.raises(ValueError, match=f"{key} must be >= 1, got 0"):
        check_sizes(OmegaConf.create({**SIZES, key: 0}))


def test_chunk_longer_than_its_prediction_is_refused():
    cfg = OmegaConf.create({**SIZES, "act_steps": 5})
    with pytest.raises(ValueError, match="act_steps must be <= horizon_steps=4, got 5"):
        check_sizes(cfg)


WITHOUT_RESET = "env.wrappers.multi_step.reset_within_step=false"


@pytest.mark.parametrize(
    ("kind", "key"), [("ppo", "train.n_steps"), ("eval", "n_steps")]
)
def test_chunks_after_the_only_episode_are_refused(tmp_path, kind, key):
    # 6 steps are 3 chunks of 2, and of 4 two.
    cfg = tiny_config(kind, tmp_path, WITHOUT_RESET, f"{key}=4")
    with pytest.raises(ValueError, match=f"{key} must be <= 3, got 4: episodes end"):
        check_sizes(cfg)
    check_sizes(tiny_config(kind, tmp_path, WITHOUT_RESET, f"{key}=3"))
    check_sizes(tiny_config(kind, tmp_path, WITHOUT_RESET, f"{key}=2", "act_steps=4"))
    check_sizes(tiny_config(kind, tmp_path, f"{key}=4"))


def test_initial_parameters_follow_the_seed(tmp_path):
    cfg = cfg_of(tmp_path)
    one, same, other = (weights(make_model(cfg, Seeds(seed))) for seed in (1, 1, 2))
    assert not changed(one, same)
    assert changed(one, other)


def test_draws_of_the_model_follow_the_seed(tmp_path):
    cfg, obs = cfg_of(tmp_path), {"state": np.zeros((1, 1, 3), np.float32)}
    samples = [
        make_model(cfg, Seeds(seed)).forward(obs).trajectories.numpy().tobytes()
        for seed in (1, 1, 2)
    ]
    assert samples[0] == samples[1] != samples[2]


def test_model_gets_use_ema_if_the_config_has_it(tmp_path):
    cfg = cfg_of(tmp_path, "use_ema=false")
    assert make_model(cfg, Seeds(1)).use_ema is False
    assert make_model(cfg_of(tmp_path), Seeds(1)).use_ema is True


def linear_dtypes(module):
    layers = [part for part in module.modules() if isinstance(part, nn_Linear)]
    return {layer.cast_weight().dtype for layer in layers}


def test_policy_networks_multiply_in_the_type_of_the_config(tmp_path):
    model = make_model(cfg_of(tmp_path), Seeds(1))
    assert linear_dtypes(model) == {tf.float32}
    model = make_model(cfg_of(tmp_path, "train.compute_dtype=bfloat16"), Seeds(1))
    for network in (model.actor, model.actor_ft):
        assert linear_dtypes(network) == {tf.bfloat16}
    assert linear_dtypes(model.critic) == {tf.float32}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("dipo", "actor_target"), ("ibrl", "target_actor"), ("ibrl", "bc_policy")],
)
def test_copies_of_the_policy_multiply_in_its_type(tmp_path, kind, name):
    cfg = tiny_config(kind, tmp_path, "train.compute_dtype=bfloat16")
    model = make_model(cfg, Seeds(1))
    assert linear_dtypes(getattr(model, name)) == {tf.bfloat16}
    assert linear_dtypes(model.network) == {tf.bfloat16}


def test_logger_writes_into_the_folder_of_the_run(tmp_path):
    logger = make_logger(cfg_of(tmp_path), 3, "itr", wandb=True)
    logger.log(0, {"loss": 1.0})
    logger.close()
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == 1.0


def test_samplers_are_compiled_once_and_drop_out_only_while_exploring():
    network = Gaussian_MLP(2, 4, 3, mlp_dims=[50], fixed_std=0.1, dropout=0.5)
    model = GaussianModel(network, 4)
    samplers = make_samplers(model, get_logprob=True)
    obs, noise = {"state": tf.ones((1, 1, 3))}, [tf.zeros((1, 8))]
    means = {
        explore: [sample(obs, noise)[0].numpy() for _ in range(2)]
        for explore, sample in samplers.items()
    }
    assert np.array_equal(*means[False])
    assert not np.array_equal(*means[True])
    assert network.training
    assert [s.experimental_get_tracing_count() for s in samplers.values()] == [1, 1]


# -- episodes ------------------------------------------------------------------------

EPISODE = {"rewards": [[2], [4]], "terminated": [(1, 0)]}


def test_threshold_is_that_of_the_config(tmp_path):
    for threshold, success in ((2.0, 1.0), (2.1, 0.0)):
        cfg = cfg_of(tmp_path, f"env.best_reward_threshold_for_success={threshold}")
        episodes = EpisodeCounter(cfg)(make_rollout(**EPISODE))
        assert episodes.best_rewards.tolist() == [2.0]
        assert episodes.mean("success") == success


def test_nothing_succeeds_without_a_threshold(tmp_path):
    cfg = cfg_of(tmp_path)
    del cfg.env.best_reward_threshold_for_success
    assert EpisodeCounter(cfg)(make_rollout(**EPISODE)).mean("success") == 0.0


@pytest.mark.parametrize(
    ("env_type", "sparse", "best"),
    [("furniture", True, 6.0), ("furniture", False, 2.0), (None, True, 2.0)],
)
def test_sparse_furniture_counts_whole_episodes(tmp_path, env_type, sparse, best):
    cfg = cfg_of(tmp_path)
    cfg.env.env_type, cfg.env.specific = env_type, {"sparse_reward": sparse}
    assert EpisodeCounter(cfg)(make_rollout(**EPISODE)).best_rewards.tolist() == [best]


# -- videos --------------------------------------------------------------------------


def test_first_environments_record_videos(tmp_path):
    cfg = cfg_of(tmp_path, "env.save_video=true", "train.render.num=1")
    assert video_options(cfg, tmp_path, 1, "itr-3_trial-{}.mp4") == [
        {"video_path": str(tmp_path / "itr-3_trial-0.mp4")},
        {},
    ]


def test_no_videos_unless_asked(tmp_path):
    assert video_options(cfg_of(tmp_path), tmp_path, 2, "{}") == [{}, {}]
