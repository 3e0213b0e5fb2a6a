"""Cases have the sizes of the Hopper leaves."""

import pytest
from omegaconf import OmegaConf

from tests.bench import cases, stepping
from tests.bench.leaves import layer_widths, leaf
from tests.bench.matmul import Products

POINT = (
    "env.name=tests.fakes:dppo-tf/Point-v0",
    "env.n_envs=2",
    "obs_dim=4",
    "action_dim=2",
)
ACTOR, CRITIC = (39, 512, 512, 512, 12), (11, 256, 256, 256, 1)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    return cases.config("c50000", tmp_path_factory.mktemp("leaf"))


def test_sizes_are_those_of_the_leaf(cfg):
    assert layer_widths(cfg) == {"actor": [*ACTOR], "critic": [*CRITIC]}
    sizes = (cfg.env.n_envs, cfg.denoising_steps, cfg.ft_denoising_steps)
    assert sizes == (40, 20, 10)
    assert cfg.train.n_steps * cfg.env.n_envs * cfg.act_steps == 80_000
    assert (cfg.train.batch_size, cfg.train.target_kl) == (50_000, None)


def test_cloning_has_batches_of_128_and_averages_from_the_start(tmp_path):
    cfg = cases.config("b", tmp_path, quick=True)
    assert (cfg.train.batch_size, cfg.train.epoch_start_ema) == (128, 0)


def test_configs_survive_the_way_to_a_worker(cfg):
    again = OmegaConf.create(OmegaConf.to_container(cfg))
    assert layer_widths(again) == layer_widths(cfg)


def test_the_peer_also_needs_the_products_of_the_frozen_network(cfg):
    sample = {side: cases.products(side, "a", cfg) for side in cases.SIDES}
    assert sample["ours"] == [Products(40, ACTOR, 20)]
    assert sample["torch"] == [Products(40, ACTOR, 30)]
    update = {side: cases.products(side, "c5000", cfg) for side in cases.SIDES}
    both = [Products(5000, w, backward=True) for w in (ACTOR, CRITIC)]
    assert update["ours"] == both
    assert update["torch"] == [*both, Products(5000, ACTOR)]


def test_back_ends_are_those_of_make_async():
    first, *others = stepping.back_ends()
    assert first == cases.PROCESSES
    assert {"auto", "sync", "async"} <= set(others)


@pytest.mark.parametrize("back_end", [cases.PROCESSES, "sync"])
def test_environments_are_stepped(tmp_path, back_end):
    cfg = leaf("finetune", tmp_path, *POINT)
    prepared = cases.prepare(cases.ENVS, cases.STEPPING + back_end, cfg)
    prepared.run()
    prepared.close()
    assert prepared.units == 25 * 2 * 4


@pytest.mark.parametrize(
    ("case", "rows", "actor", "critic"),
    [
        ("h dql", 1000, ACTOR, (23, 256, 256, 256, 1)),
        ("h idql", 1000, ACTOR, (23, 256, 256, 256, 1)),
        ("h rlpd", 256, (17, 256, 256, 6), (23, 256, 256, 1)),
    ],
)
def test_rounds_have_the_sizes_of_their_leaves(tmp_path, case, rows, actor, critic):
    cfg = cases.config(case, tmp_path)
    widths = layer_widths(cfg)
    assert widths["actor"] == [*actor]
    assert widths["critic_q" if case == "h idql" else "critic"] == [*critic]
    assert cfg.train.batch_size == rows
    assert cases.ROUNDS[case] == cfg.train.get("critic_num_update", 32)
