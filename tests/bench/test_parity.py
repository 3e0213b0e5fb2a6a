"""The PyTorch peer computes what ours does: same weights, same draws, same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import torch

from agent.common.setup import make_model
from model.common.modules import RandomShiftsAug
from tests.agent.tiny import eagerly
from tests.bench import ours, peer_build, peer_train
from tests.bench.leaves import leaf, observations, rollout_arrays
from tests.bench.peer_networks import random_shifts
from util.seeding import Seeds

SMALL = (
    "env.n_envs=4",
    "train.batch_size=60",
    "train.update_epochs=2",
    "train.target_kl=null",
    "model.critic.mlp_dims=[16,16,16]",
)
MLP = "model.{}.mlp_dims=[32,32,32]"
UNET = "model.{}.dim=16"  # two channels to a group, or biases have no gradient
VIT = ("backbone.cfg.embed_dim=8", "backbone.cfg.num_heads=2", "spatial_emb=6")
IMAGE = "shape_meta.obs.rgb.shape=[3,24,24]"


def seeing(*networks: str) -> list[str]:
    """Sizes of small networks that see."""
    return [IMAGE, *(f"model.{name}.{size}" for name in networks for size in VIT)]


# By leaf, what makes it small. Images are not shifted: the sides draw differently.
FINETUNING = {
    "finetune": [MLP.format("actor")],
    "finetune unet": [
        UNET.format("actor"),
        "denoising_steps=6",
        "ft_denoising_steps=3",
        "train.batch_size=30",
    ],
    "finetune image": [
        MLP.format("actor"),
        *seeing("actor", "critic"),
        "train.augment=False",
        "train.grad_accumulate=1",
        "train.batch_size=30",
    ],
}
PRETRAINING = {
    "pretrain": [MLP.format("network")],
    "pretrain unet": [UNET.format("network")],
    "pretrain image": [
        MLP.format("network"),
        *seeing("network"),
        "model.network.augment=False",
    ],
}
STEPS = 5


def load(module: torch.nn.Module, own) -> None:
    """Our weights into the peer's module."""
    state = {key: torch.tensor(value) for key, value in own.state_dict().items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert [key for key in unexpected if key != "eta.eta_logit"] == []  # it is 1
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
        largest = float(theirs_grad.abs().max())
        assert largest > 0, name
        close(theirs_grad.numpy(), grad.numpy(), atol=max(1e-6, 1e-4 * largest))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, marks=[pytest.mark.full] * (" " in kind))
        for kind in FINETUNING
    ],
)
def pair(tmp_path_factory, request):
    """Both fine-tuning agents, whose fine-tuned network has left the frozen one."""
    folder = tmp_path_factory.mktemp("parity")
    cfg = leaf(request.param, folder, *SMALL, *FINETUNING[request.param])
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


def conditions(obs):
    """Observations for ours and for the peer."""
    own = {key: tf.constant(value) for key, value in obs.items()}
    return own, peer_train.tensors(obs)


def flat(values):
    """Rows of (S, E, ...)."""
    return values.reshape(-1, *values.shape[2:])


def test_samples_and_chains_agree(pair):
    rng, cfg = np.random.default_rng(0), pair.cfg
    draws = 1 + len(pair.ours.model.sampling_t)
    shape = (draws, cfg.env.n_envs, 4, cfg.action_dim)
    noise = 1.5 * rng.standard_normal(shape).astype(np.float32)
    own_cond, cond = conditions(
        {key: value[0] for key, value in pair.arrays["obs"].items()}
    )
    sample = pair.ours.model.forward(own_cond, noise=list(noise))
    actions, chains = pair.peer.model(cond, noise=[torch.tensor(z) for z in noise])
    close(actions, sample.trajectories)
    close(chains, sample.chains)
    close(chains[:, -1], actions)
    if hasattr(pair.peer.model.actor, "see"):
        pair.peer.model.encode(cond)
        again, _ = pair.peer.model({"state": cond["state"]}, noise=torch.tensor(noise))
        pair.peer.model.forget()
        close(again, actions)


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
    chains = flat(pair.arrays["chains"])[:rows]
    own_cond, cond = conditions(
        {key: flat(value)[:rows] for key, value in pair.arrays["obs"].items()}
    )
    old = rng.uniform(-2, 2.5, (rows, 4, cfg.action_dim))
    advantages, returns = rng.standard_normal((2, rows))
    before, after = (chains[np.arange(rows), inner + k] for k in (0, 1))
    floats = [a.astype(np.float32) for a in (before, after, returns, advantages, old)]
    args = [torch.tensor(a) for a in floats]
    pair.peer.model.by_row = by_row
    pair.peer.model.zero_grad()
    theirs = pair.peer.model.ppo_loss(cond, *args[:2], torch.tensor(inner), *args[2:])
    (theirs[0] + 0.5 * theirs[2]).backward()
    prev, next_, returns, advantages, old = (tf.constant(a) for a in floats)
    with tf.GradientTape(persistent=True) as tape:
        own = pair.ours.model.loss(
            own_cond,
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
    pairs = STEPS * 4 * pair.cfg.ft_denoising_steps
    orders = [np.random.default_rng(k).permutation(pairs) for k in (0, 1)]
    own_orders, peer_orders = iter(orders), iter(map(torch.tensor, orders))
    monkeypatch.setattr(pair.ours.draws, "permutation", lambda n: next(own_orders))
    monkeypatch.setattr(torch, "randperm", lambda n: next(peer_orders))
    rollout = ours.rollout_of(pair.cfg, STEPS, pair.ours.model)
    own = pair.ours.update(rollout)
    pair.peer.model.zero_grad()
    theirs = pair.peer.update({**pair.arrays, "firsts": rollout.firsts})
    for name, key in (("loss", "loss"), ("pg_loss", "pg loss"), ("kl", "approx kl")):
        close(theirs[name], own[key], atol=1e-4)
    own_state = pair.ours.model.state_dict()
    for name, value in pair.peer.model.state_dict().items():
        close(value, own_state[name], atol=1e-4)


@pytest.mark.parametrize("kind", PRETRAINING)
def test_cloning_loss_and_gradients_agree(tmp_path, kind):
    cfg = leaf(kind, tmp_path, *PRETRAINING[kind])
    with eagerly():
        own = make_model(cfg, Seeds(cfg.seed))
        peer = peer_build.cloning_model(cfg)
        load(peer, own)
        rng, rows = np.random.default_rng(0), 16
        x, eps = rng.standard_normal((2, rows, 4, cfg.action_dim)).astype(np.float32)
        own_cond, cond = conditions(observations(cfg, rng, rows))
        t = rng.integers(0, cfg.denoising_steps, rows)
        noise = [torch.tensor(t), torch.tensor(eps)]
        theirs = peer.loss(torch.tensor(x), cond, noise)
        theirs.backward()
        with tf.GradientTape(persistent=True) as tape:
            loss = own.loss(tf.constant(x), own_cond, noise=[t, eps])
        close(theirs.item(), float(loss))
        assert_equal_gradients(peer, own, tape, loss)


def test_shifted_images_agree(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 12, 12)).astype(np.float32)
    shifts = rng.integers(0, 9, (5, 2))
    drawn = torch.tensor(shifts).reshape(5, 1, 1, 2)
    monkeypatch.setattr(torch, "randint", lambda *args: drawn)
    theirs = random_shifts(torch.tensor(images))
    close(theirs, RandomShiftsAug(4)(tf.constant(images), shifts), atol=0.01)
