import numpy as np
import pytest

from agent.eval.eval_diffusion_agent import EvalDiffusionAgent
from agent.finetune.train_ppo_diffusion_agent import TrainPPODiffusionAgent
from agent.pretrain.train_diffusion_agent import TrainDiffusionAgent
from tests.agent.tiny import eagerly, tiny_config, weights, write_dataset

SIZES = ("denoising_steps=3",)
NETWORK = "mlp_dims=[16]"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A pre-trained state, and one fine-tuned in its last 2 of 3 steps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    data = write_dataset(folder / "train.npz")
    with eagerly():
        cfg = tiny_config(
            "pretrain",
            folder / "pre",
            *SIZES,
            f"model.network.{NETWORK}",
            f"train_dataset_path={data}",
            "train.n_epochs=1",
            "train.epoch_start_ema=0",
        )
        TrainDiffusionAgent(cfg).run()
        pretrained = folder / "pre" / "checkpoint" / "state_1"
        cfg = tiny_config(
            "ppo",
            folder / "ft",
            *SIZES,
            f"model.actor.{NETWORK}",
            f"model.critic.{NETWORK}",
            f"base_policy_path={pretrained}",
            "train.n_train_itr=2",
        )
        TrainPPODiffusionAgent(cfg).run()
    return pretrained, folder / "ft" / "checkpoint" / "state_1"


def make_agent(tmp_path, path, *overrides):
    options = (*SIZES, f"model.network.{NETWORK}", f"base_policy_path={path}")
    return EvalDiffusionAgent(tiny_config("eval", tmp_path, *options, *overrides))


def test_compiled_sampler_is_traced_once(tmp_path, checkpoints):
    agent = make_agent(tmp_path, checkpoints[1])
    result = agent.run()
    assert agent._sample.experimental_get_tracing_count() == 1
    # 6 chunks of 2 steps in episodes of at most 6.
    assert result["num_episode"] >= 2
    assert (tmp_path / "result.npz").exists()


def test_number_of_fine_tuned_steps_is_that_of_the_checkpoint(tmp_path, checkpoints):
    assert make_agent(tmp_path, checkpoints[0]).model.ft_denoising_steps == 0
    assert make_agent(tmp_path, checkpoints[1]).model.ft_denoising_steps == 2


def test_run_folder_stands_for_its_newest_state(tmp_path, checkpoints):
    run_folder = checkpoints[1].parents[1]
    one, other = (
        make_agent(tmp_path / name, path).model
        for name, path in (("a", checkpoints[1]), ("b", run_folder))
    )
    assert weights(one).keys() == weights(other).keys()
    assert one.ft_denoising_steps == other.ft_denoising_steps


def test_evaluation_samples_as_the_fine_tuned_policy(tmp_path, checkpoints, eager):
    agent = make_agent(tmp_path, checkpoints[1])
    cfg = tiny_config(
        "ppo",
        tmp_path / "ft",
        *SIZES,
        f"model.actor.{NETWORK}",
        f"model.critic.{NETWORK}",
        f"base_policy_path={checkpoints[1]}",
    )
    trained = TrainPPODiffusionAgent(cfg).model
    obs = {"state": np.ones((2, 1, 3), np.float32)}
    noise = [np.full((2, 4, 2), 0.1 * k, np.float32) for k in range(4)]
    expected = trained.forward(obs, deterministic=True, noise=noise).trajectories
    found = agent.model.forward(obs, deterministic=True, noise=noise).trajectories
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    base = trained.forward(obs, True, use_base_policy=True, noise=noise).trajectories
    assert not np.allclose(found, base, rtol=1e-5)


def test_actions_are_whole_chunks(tmp_path, checkpoints, eager):
    agent = make_agent(tmp_path, checkpoints[0])
    actions, extras = agent.act({"state": np.zeros((2, 1, 3))}, explore=False)
    assert actions.shape == (2, 4, 2)
    assert extras == {}


def test_averaged_weights_are_evaluated_unless_told_otherwise(tmp_path, checkpoints):
    averaged = weights(make_agent(tmp_path / "a", checkpoints[0]).model)
    raw = weights(make_agent(tmp_path / "b", checkpoints[0], "use_ema=false").model)
    assert any(not np.array_equal(averaged[key], raw[key]) for key in raw)


# -- conflicts between checkpoint and config -----------------------------------------

PRETRAINED, FINETUNED = 0, 1
CONFLICTS = [
    # Steps.
    (FINETUNED, "ft_denoising_steps=1", "ft_denoising_steps=2 .this config: 1"),
    (FINETUNED, "ft_denoising_steps=0", "would evaluate its frozen base policy"),
    (PRETRAINED, "ft_denoising_steps=1", "without actor_ft, but ft_denoising_steps=1"),
    (FINETUNED, "denoising_steps=5", "denoising_steps=3 .this config: 5"),
    (PRETRAINED, "denoising_steps=5", "denoising_steps=3 .this config: 5"),
    # Another task.
    (PRETRAINED, "obs_dim=4", "obs_dim=3 .this config: 4"),
    (FINETUNED, "action_dim=1", "action_dim=2 .this config: 1"),
    (PRETRAINED, "cond_steps=2", "network.cond_dim=3 .this config: 6"),
    (PRETRAINED, "horizon_steps=2", "horizon_steps=4 .this config: 2"),
    # Another network.
    (PRETRAINED, "model.network.mlp_dims=[8]", "mlp_dims=.16. .this config: .8."),
    (FINETUNED, "model.network.mlp_dims=[8]", "mlp_dims=.16. .this config: .8."),
    (FINETUNED, "model.network.time_dim=8", "time_dim=16 .this config: 8"),
    (FINETUNED, "model.network.activation_type=Mish", "activation_type=ReLU"),
    # Another sampler.
    (FINETUNED, "model.use_ddim=true model.ddim_steps=2", "use_ddim=False"),
]


@pytest.mark.parametrize(("which", "override", "message"), CONFLICTS)
def test_conflict_with_the_checkpoint_is_refused(
    tmp_path, checkpoints, which, override, message
):
    path = checkpoints[which]
    overrides = override.split()
    sizes = {o.split("=")[0] for o in overrides} & {"obs_dim", "action_dim"}
    # The environment follows, so that it is the checkpoint that does not fit.
    names = {"obs_dim": "obs_size", "action_dim": "action_size"}
    env = [f"env.specific.{names[key]}={overrides[0].split('=')[1]}" for key in sizes]
    with pytest.raises(ValueError, match=message) as refused:
        make_agent(tmp_path, path, *overrides, *env)
    assert str(path) in str(refused.value)


def test_pre_trained_policy_may_be_sampled_otherwise(tmp_path, checkpoints):
    options = ("model.use_ddim=true", "model.ddim_steps=2")
    agent = make_agent(tmp_path, checkpoints[PRETRAINED], *options)
    assert len(agent.model.sampling_t) == 2
