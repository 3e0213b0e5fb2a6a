"""The PyTorch peer's rounds on a buffer: same weights, rows and draws, same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import torch

from agent.common.rounds import as_rows
from tests.agent.tiny import changed, eagerly, weights
from tests.bench import ours, peer_build
from tests.bench.leaves import leaf, transition_rows, write_transitions
from tests.bench.peer_rounds import as_batch
from tests.bench.test_parity import close, load

ROWS = 20
SIZES = ("env.n_envs=4", f"train.batch_size={ROWS}")
DIFFUSION = (*SIZES, "model.actor.mlp_dims=[32,32,32]", "denoising_steps=4")
CRITIC = "model.{}.mlp_dims=[16,16,16]"
LEAVES = {
    "finetune dql": [*DIFFUSION, CRITIC.format("critic")],
    "finetune idql": [*DIFFUSION, *map(CRITIC.format, ("critic_q", "critic_v"))],
    "scratch rlpd": [
        f"train.batch_size={ROWS}",
        "model.actor.mlp_dims=[16,16]",
        "model.critic.mlp_dims=[16,16]",
        "model.n_critics=4",
    ],
}


def recorded(kind, cfg) -> tuple:
    """Draws of a round: nested for our agent, then one by one."""
    rng = np.random.default_rng(5)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    chunk = (ROWS, cfg.horizon_steps, cfg.action_dim)
    if kind == "scratch rlpd":
        order = rng.permutation(cfg.model.n_critics)
        actions = [normal(ROWS, cfg.action_dim) for _ in range(3)]
        return [[order, actions[0]], actions[1:]], [order, *actions]
    cloning = [rng.integers(0, cfg.denoising_steps, ROWS), normal(*chunk)]
    if kind == "finetune idql":
        return cloning, cloning
    chains = [1.5 * normal(*chunk) for _ in range(2 * (1 + cfg.denoising_steps))]
    draws = [*chains, *cloning, np.float32(0.7)]
    return draws, draws


@pytest.fixture(params=LEAVES)
def pair(tmp_path, request):
    """Both sides with equal weights, of which the slow copies are not the critics."""
    cfg = leaf(request.param, tmp_path, *LEAVES[request.param])
    if "offline_dataset" in cfg:
        write_transitions(cfg)
    with eagerly():
        agent = ours.make_agent(cfg)
        agent.itr = 10**6
        rng = np.random.default_rng(3)
        for name, parameter in agent.model.named_parameters():
            if "target" in name or name.startswith("critic"):
                noise = rng.standard_normal(parameter.shape).astype(np.float32)
                parameter.assign(parameter.numpy() + 0.05 * noise)
        peer = peer_build.rounds(cfg)
        load(peer.model, agent.model)
        if hasattr(peer.model, "stack"):
            peer.model.stack()
            peer.optimizers = peer.make_optimizers()
        yield SimpleNamespace(cfg=cfg, ours=agent, peer=peer, kind=request.param)


def gradients_of(agent) -> dict:
    """Gives the gradients of the next steps, by learner."""
    found = {}
    for name, learner in agent.learners.items():

        def apply(grads, name=name, take=learner.apply):
            found[name] = grads
            take(grads)

        learner.apply = apply
    return found


def trained(pair, name) -> list:
    """The peer's parameters of an optimizer, in the order of our learner's."""
    params = pair.peer.optimizers[name].param_groups[0]["params"]
    assert [tuple(p.shape) for p in params] == [
        tuple(p.shape) for p in pair.ours.learners[name].params
    ]
    return params


def test_a_round_agrees_in_losses_gradients_weights_and_slow_copies(pair):
    before = weights(pair.ours.model)
    rows = transition_rows(pair.cfg)
    rows = {key: value[:ROWS] for key, value in rows.items()}
    own, flat = recorded(pair.kind, pair.cfg)
    grads = gradients_of(pair.ours)
    batch, flags = as_rows(rows), {"actor": tf.constant(True)}
    if pair.kind == "scratch rlpd":
        batch, flags = {**batch, "acts": np.array(True)}, {}
    batches = tf.nest.map_structure(lambda value: value[None], batch)
    found = pair.ours.rounds(batches, flags, own)
    draws = iter([torch.as_tensor(draw) for draw in flat])
    losses = pair.peer.round(as_batch(rows), draws)
    assert next(draws, None) is None
    for name, loss in losses.items():
        close(loss.item(), float(found[name]))
    assert grads.keys() == pair.peer.optimizers.keys()
    for name, values in grads.items():
        for param, grad in zip(trained(pair, name), values, strict=True):
            largest = float(param.grad.abs().max())
            assert largest > 0, name
            close(param.grad, grad, atol=max(1e-6, 1e-4 * largest))
        for param, variable in zip(
            trained(pair, name), pair.ours.learners[name].params, strict=True
        ):
            close(param.detach(), variable.numpy(), atol=1e-4)
    slow = {k: v for k, v in pair.peer.model.state_dict().items() if "target" in k}
    after = weights(pair.ours.model)
    assert slow.keys() <= changed(before, after)
    for name, value in slow.items():
        close(value, after[name], atol=1e-6)


def test_the_other_critic_may_be_climbed(tmp_path):
    cfg = leaf("finetune dql", tmp_path, *LEAVES["finetune dql"])
    with eagerly():
        agent, peer = ours.make_agent(cfg), peer_build.rounds(cfg)
        load(peer.model, agent.model)
        rows = {key: value[:ROWS] for key, value in transition_rows(cfg).items()}
        draws = recorded("finetune dql", cfg)[0][1 + cfg.denoising_steps :]
        losses = []
        for coin in (0.2, 0.7):
            given = [*draws[:-1], np.float32(coin)]
            batch = as_rows(rows)
            losses.append(
                agent.model.loss_actor(
                    batch["obs"], 1.0, cfg.act_steps, batch["actions"], given
                )
            )
            tensors = iter([torch.as_tensor(draw) for draw in given])
            theirs = peer.model.loss_actor(as_batch(rows), 1.0, tensors)
            close(theirs.item(), float(losses[-1]))
    assert float(losses[0]) != pytest.approx(float(losses[1]), rel=1e-3)


def test_batches_of_the_peer_take_equal_shares_of_each_source(tmp_path):
    cfg = leaf("scratch rlpd", tmp_path, *LEAVES["scratch rlpd"])
    peer = peer_build.rounds(cfg)
    for number, stored in enumerate(peer.stored):
        stored["rewards"][:] = number
    batch = peer.batch()
    assert batch["rewards"].tolist() == [0.0] * 10 + [1.0] * 10
    assert batch["obs"]["state"].shape == (ROWS, 1, cfg.obs_dim)
