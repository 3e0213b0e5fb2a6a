import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from script.convert_checkpoint import convert, main
from util.checkpoint import load_policy, load_state, save_state

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests/parity/checkpoint/pretrain_hopper_diffusion_mlp_state_200.pt"


class Residual(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.l1 = torch.nn.Linear(width, width)
        self.l2 = torch.nn.Linear(width, width)


class DiffusionMLP(torch.nn.Module):
    """Has the parameters of the reference's network for Hopper."""

    def __init__(self, inputs=39, width=512, outputs=12, embedding=16):
        super().__init__()
        linear = torch.nn.Linear
        self.time_embedding = torch.nn.Sequential(
            torch.nn.Identity(),
            linear(embedding, 2 * embedding),
            torch.nn.Mish(),
            linear(2 * embedding, embedding),
        )
        self.mlp_mean = torch.nn.Module()
        self.mlp_mean.layers = torch.nn.ModuleList(
            [linear(inputs, width), Residual(width), linear(width, outputs)]
        )


def finetuned() -> torch.nn.Module:
    """Returns a model with aliased networks, an infinite parameter and a critic."""
    model = torch.nn.Module()
    model.network = DiffusionMLP(width=8)
    model.eta = torch.nn.ParameterDict({"eta_logit": torch.tensor([float("inf")])})
    model.actor = model.network
    model.actor_ft = DiffusionMLP(width=8)
    model.critic = torch.nn.Sequential(torch.nn.Linear(11, 1))
    return model


def assert_same(one, other):
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key])
        elif isinstance(value, dict):
            assert_same(value, other[key])
        else:
            assert value == other[key]


def test_pretraining_file_survives_the_round_trip_and_loads_strictly(tmp_path, capsys):
    assert main([str(SAMPLE), str(tmp_path / "state_200")]) == 0
    assert main([str(tmp_path / "state_200"), str(tmp_path / "back.pt")]) == 0
    said = capsys.readouterr().out.splitlines()
    for line, name in zip(said, ("state_200", "back.pt"), strict=True):
        assert str(tmp_path / name) in line
        assert "12 arrays of model and 12 arrays of ema, step 200" in line
    original = torch.load(SAMPLE, map_location="cpu", weights_only=True)
    written = torch.load(tmp_path / "back.pt", weights_only=True)
    assert_same(written, original)
    model = torch.nn.ModuleDict({"network": DiffusionMLP()})
    for name in ("model", "ema"):
        model.load_state_dict(written[name], strict=True)
        assert_same(dict(model.state_dict()), dict(original[name]))


def test_finetuning_file_survives_the_round_trip_and_loads_strictly(tmp_path):
    source, target = finetuned(), finetuned()
    original = {"itr": 999, "model": source.state_dict()}
    torch.save(original, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "b.pt")
    written = torch.load(tmp_path / "b.pt", weights_only=True)
    assert_same(written, original)
    target.load_state_dict(written["model"], strict=True)
    assert torch.isposinf(target.eta["eta_logit"])
    weights = written["model"]
    key = "mlp_mean.layers.0.weight"
    one, two = (weights[f"{prefix}.{key}"] for prefix in ("network", "actor"))
    assert one.data_ptr() == two.data_ptr()
    assert (tmp_path / "b.pt").stat().st_size < 1.2 * (tmp_path / "a.pt").stat().st_size


def test_own_folder_says_where_it_came_from(tmp_path):
    convert(SAMPLE, tmp_path / "own")
    state, meta = load_state(tmp_path / "own")
    assert list(state) == ["model", "ema"]
    assert meta == {"epoch": 200, "converted_from": SAMPLE.name}


def test_only_networks_of_a_training_state_are_written(tmp_path):
    networks = {"model": {"w": np.ones(2, np.float32)}}
    for name, extra in (("a", {}), ("b", {"ema": {"w": np.zeros(2, np.float32)}})):
        state = {**networks, **extra, "optimizer": {"step": 3}, "buffer": np.ones(9)}
        save_state(tmp_path / "checkpoint" / f"state_{name}", state, {"step": 7})
        convert(tmp_path / "checkpoint" / f"state_{name}", tmp_path / f"{name}.pt")
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in "ab")
    assert_same(one, {"itr": 7, "model": {"w": torch.ones(2)}})
    ema = {"w": torch.zeros(2)}
    assert_same(two, {"epoch": 7, "model": {"w": torch.ones(2)}, "ema": ema})


def test_run_folder_is_a_source(tmp_path):
    for number in (3, 12):
        model = {"w": np.full(1, number, np.float32)}
        folder = tmp_path / "run" / "checkpoint" / f"state_{number}"
        save_state(folder, {"model": model}, {"itr": number})
    assert "1 arrays of model, step 12" in convert(tmp_path / "run", tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["back.pt", "own"])
def test_existing_target_is_kept_unless_forced(tmp_path, capsys, name):
    convert(SAMPLE, tmp_path / "source")
    source = tmp_path / "source" if name == "back.pt" else SAMPLE
    convert(source, tmp_path / name)
    first = load_policy(tmp_path / name).path.stat().st_mtime_ns
    assert main([str(source), str(tmp_path / name)]) == 1
    assert "add --force" in capsys.readouterr().err
    assert (tmp_path / name).stat().st_mtime_ns == first
    assert main([str(source), str(tmp_path / name), "--force"]) == 0
    assert (tmp_path / name).stat().st_mtime_ns > first
    with pytest.raises(FileExistsError, match="add --force"):
        convert(source, tmp_path / name)


def test_forcing_does_not_remove_a_folder_of_other_files(tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("text")
    assert main([str(SAMPLE), str(tmp_path / "docs"), "--force"]) == 1
    assert "is not a checkpoint" in capsys.readouterr().err
    assert (tmp_path / "docs" / "a.txt").exists()


def test_source_of_the_same_kind_is_refused(tmp_path):
    convert(SAMPLE, tmp_path / "own")
    for source, target in ((SAMPLE, "b.pt"), (tmp_path / "own", "own2")):
        with pytest.raises(ValueError, match="already of the kind"):
            convert(source, tmp_path / target)
        assert not (tmp_path / target).exists()


def test_missing_corrupt_and_unsuitable_sources_are_refused(tmp_path, capsys):
    (tmp_path / "text.pt").write_text("text")
    for name, message in (("no.pt", "no policy at"), ("text.pt", "not a PyTorch file")):
        assert main([str(tmp_path / name), str(tmp_path / "own")]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "own").exists()
    save_state(tmp_path / "s", {"ema": {"w": np.ones(1)}}, {})
    with pytest.raises(ValueError, match="must hold 'model', it holds 'ema' only"):
        convert(tmp_path / "s", tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match="no policy at"):
        convert(tmp_path / "nothing", tmp_path / "a.pt")


def test_command_line_runs_from_anywhere_without_torch(tmp_path):
    blocked = tmp_path / "torch.py"
    blocked.write_text("raise ImportError('torch must not be needed')")
    command = [sys.executable, ROOT / "script" / "convert_checkpoint.py"]
    done = subprocess.run(
        [*command, SAMPLE, "own"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("wrote own: 12 arrays of model")
    assert load_policy(tmp_path / "own").step == 200
