"""The PyTorch peer computes what ours does: same weights, same draws, same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import torch

from agent.common.setup import make_model
from tests.agent.tiny import eagerly
from tests.bench import ours, peer_train
from tests.bench.leaves import layer_widths, leaf, rollout_arrays
from tests.bench.peer_model import Diffusion
from util.seeding import Seeds

SMALL = (
    "env.n_envs=4",
    "train.batch_size=60",
    "train.update_epochs=2",
    "train.target_kl=null",
    "model.actor.mlp_dims=[32,32,32]",
    "model.critic.mlp_dims=[16,16,16]",
)
STEPS = 5


def load(module: torch.nn.Module, own) -> None:
    """Our weights into the peer's module."""
    state = {key: torch.tensor(value) for key, value in own.state_dict().items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert unexpected == []
    assert missing == []


def close(one, other, atol=2e-5):
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-3, atol=atol)


def assert_equal_gradients(module: torch.nn.Module, own, tape, loss) -> None:
    theirs = {name: p.grad for name, p in module.named_parameters()}
    variables = dict(own.named_parameters())
    assert theirs.keys() == variables.keys()
    grads = tape.gradient(loss, [variables[name] for name in theirs])
    for (name, theirs_grad), grad in zip(theirs.items(), grads, strict=True):
        assert theirs_grad is not None, name
        assert theirs_grad.abs().max() > 0, name
        close(theirs_grad.numpy(), grad.numpy(), atol=1e-6)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Both fine-tuning agents, whose fine-tuned network has left the frozen one."""
    folder = tmp_path_factory.mktemp("parity")
    cfg = leaf("finetune", folder, *SMALL)
    with eagerly():
        agent = ours.make_agent(cfg)
        rng = np.random.default_rng(3)
        for parameter in agent.model.actor_ft.parameters():
            noise = rng.standard_normal(parameter.shape).astype(np.float32)
            parameter.assign(parameter.numpy() + 0.05 * noise)
        peer = peer_train.Finetuning(cfg)
        load(peer.model, agent.model)
        yield SimpleNamespace(
            cfg=cfg, ours=agent, peer=peer, arrays=rollout_arrays(cfg, STEPS)
        )


def conditions(pair):
    obs = pair.arrays["obs"][0]
    return {"state": tf.constant(obs)}, {"state": torch.tensor(obs)}


def test_samples_and_chains_agree(pair):
    rng, cfg = np.random.default_rng(0), pair.cfg
    shape = (cfg.denoising_steps + 1, cfg.env.n_envs, 4, cfg.action_dim)
    noise = 1.5 * rng.standard_normal(shape).astype(np.float32)
    own_cond, cond = conditions(pair)
    sample = pair.ours.model.forward(own_cond, noise=list(noise))
    actions, chains = pair.peer.model(cond, noise=[torch.tensor(z) for z in noise])
    close(actions, sample.trajectories)
    close(chains, sample.chains)
    close(chains[:, -1], actions)


def test_values_and_log_probabilities_of_a_rollout_agree(pair):
    rollout = ours.rollout_of(pair.cfg, STEPS, pair.ours.model)
    own = pair.ours.score(rollout)
    peer = pair.peer.score(pair.arrays)
    close(peer["logprobs"], own["logprobs"], atol=1e-3)
    close(peer["values"].view(-1), pair.ours.values_of(own["obs"]))


@pytest.mark.parametrize("by_row", [False, True])
def test_ppo_loss_diagnostics_and_gradients_agree(pair, by_row):
    rng, cfg = np.random.default_rng(1), pair.cfg
    rows, inner = 20, np.arange(20) % cfg.ft_denoising_steps
    chains = pair.arrays["chains"].reshape(-1, *pair.arrays["chains"].shape[2:])[:rows]
    obs = pair.arrays["obs"].reshape(-1, 1, cfg.obs_dim)[:rows]
    old = rng.uniform(-2, 2.5, (rows, 4, cfg.action_dim))
    advantages, returns = rng.standard_normal((2, rows))
    before, after = (chains[np.arange(rows), inner + k] for k in (0, 1))
    floats = [a.astype(np.float32) for a in (before, after, returns, advantages, old)]
    args = [torch.tensor(a) for a in floats]
    pair.peer.model.by_row = by_row
    pair.peer.model.zero_grad()
    theirs = pair.peer.model.ppo_loss(
        {"state": torch.tensor(obs)}, *args[:2], torch.tensor(inner), *args[2:]
    )
    (theirs[0] + 0.5 * theirs[2]).backward()
    prev, next_, returns, advantages, old = (tf.constant(a) for a in floats)
    with tf.GradientTape(persistent=True) as tape:
        own = pair.ours.model.loss(
            {"state": tf.constant(obs)},
            prev,
            next_,
            tf.constant(inner),
            returns,
            returns,
            advantages,
            old,
            reward_horizon=cfg.act_steps,
        )
        loss = own.pg_loss + 0.5 * own.v_loss
    names = ("pg_loss", "entropy_loss", "v_loss", "clipfrac", "approx_kl", "ratio")
    for value, name in zip(theirs, names, strict=False):
        number = value.item() if isinstance(value, torch.Tensor) else value
        close(number, float(getattr(own, name)))
    assert 0 < float(own.clipfrac) <= 1
    for name in ("actor_ft", "critic"):
        modules = (getattr(side.model, name) for side in (pair.peer, pair.ours))
        assert_equal_gradients(*modules, tape, loss)


def test_a_whole_update_agrees(pair, monkeypatch):
    orders = [np.random.default_rng(k).permutation(STEPS * 4 * 10) for k in (0, 1)]
    own_orders, peer_orders = iter(orders), iter(map(torch.tensor, orders))
    monkeypatch.setattr(pair.ours.draws, "permutation", lambda n: next(own_orders))
    monkeypatch.setattr(torch, "randperm", lambda n: next(peer_orders))
    rollout = ours.rollout_of(pair.cfg, STEPS, pair.ours.model)
    own = pair.ours.update(rollout)
    theirs = pair.peer.update({**pair.arrays, "firsts": rollout.firsts})
    for name, key in (("loss", "loss"), ("pg_loss", "pg loss"), ("kl", "approx kl")):
        close(theirs[name], own[key], atol=1e-4)
    for name, value in pair.ours.model.state_dict().items():
        close(pair.peer.model.state_dict()[name], value, atol=1e-4)


def test_cloning_loss_and_gradients_agree(tmp_path):
    cfg = leaf("pretrain", tmp_path, "model.network.mlp_dims=[32,32,32]")
    with eagerly():
        own = make_model(cfg, Seeds(cfg.seed))
        peer = Diffusion(cfg, layer_widths(cfg)["actor"])
        load(peer, own)
        rng, rows = np.random.default_rng(0), 16
        x, eps = rng.standard_normal((2, rows, 4, cfg.action_dim)).astype(np.float32)
        state = rng.standard_normal((rows, 1, cfg.obs_dim)).astype(np.float32)
        t = rng.integers(0, cfg.denoising_steps, rows)
        noise = [torch.tensor(t), torch.tensor(eps)]
        theirs = peer.loss(torch.tensor(x), {"state": torch.tensor(state)}, noise)
        theirs.backward()
        with tf.GradientTape(persistent=True) as tape:
            loss = own.loss(
                tf.constant(x), {"state": tf.constant(state)}, noise=[t, eps]
            )
        close(theirs.item(), float(loss))
        assert_equal_gradients(peer, own, tape, loss)
