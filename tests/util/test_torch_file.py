import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.util.pt_files import tensor, write_zip
from util.torch_file import MetaTensor, load_torch_file

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests/parity/checkpoint/pretrain_hopper_diffusion_mlp_state_200.pt"
FLOATS = np.arange(4, dtype="<f4").tobytes()
NEW, OLD, PROTOCOL_4 = (
    {},
    {"_use_new_zipfile_serialization": False},
    {"pickle_protocol": 4},
)
LAYOUTS = pytest.mark.parametrize("layout", [NEW, OLD, PROTOCOL_4])


def save_and_load(obj, path: Path, layout: dict):
    torch.save(obj, path, **layout)
    return load_torch_file(path)


def assert_same(loaded, expected):
    if isinstance(expected, torch.Tensor):
        values = expected.detach()
        values = values.float() if values.dtype == torch.bfloat16 else values
        np.testing.assert_array_equal(loaded, values.numpy(), strict=True)
        assert loaded.flags.c_contiguous
        assert loaded.flags.writeable
    elif isinstance(expected, dict):
        assert type(loaded) is type(expected)
        assert list(loaded) == list(expected)
        for key, value in expected.items():
            assert_same(loaded[key], value)
    elif isinstance(expected, list | tuple):
        assert type(loaded) is type(expected)
        assert len(loaded) == len(expected)
        for one, other in zip(loaded, expected, strict=True):
            assert_same(one, other)
    else:
        assert type(loaded) is type(expected)
        assert loaded == expected


@LAYOUTS
@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.bool,
        torch.complex64,
        torch.complex128,
    ],
)
def test_every_dtype_keeps_its_values(tmp_path, layout, dtype):
    values = torch.tensor([[0, 1, 2], [3, 100, 0]]).to(dtype)
    assert_same(save_and_load(values, tmp_path / "a.pt", layout), values)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_dtypes_without_a_storage_class_are_read(tmp_path, dtype):
    values = torch.tensor([[1, 60000]]).to(dtype)
    assert_same(save_and_load(values, tmp_path / "a.pt", NEW), values)


@LAYOUTS
def test_infinities_and_not_a_number_survive(tmp_path, layout):
    values = {
        "inf": torch.tensor(float("inf")),
        "half": torch.tensor([float("-inf"), float("nan")], dtype=torch.bfloat16),
        "float": float("inf"),
    }
    assert_same(save_and_load(values, tmp_path / "a.pt", layout), values)


@LAYOUTS
def test_views_are_cut_out_of_their_storage(tmp_path, layout):
    base = torch.arange(24.0).reshape(4, 6)
    views = {
        "transposed": base.t(),
        "strided": base[1:4:2, ::3],
        "row": base[2],
        "element": base[3, 5],
        "expanded": base[0, :1].expand(5, 3),
        "diagonal": base.diagonal(),
        "empty": base[2:2],
        "permuted": base.reshape(2, 2, 6).permute(2, 0, 1),
    }
    assert_same(save_and_load(views, tmp_path / "a.pt", layout), views)


@LAYOUTS
def test_scalar_and_empty_tensors(tmp_path, layout):
    values = [torch.tensor(3.5), torch.zeros(0), torch.zeros(2, 0, 3), torch.zeros(1)]
    assert_same(save_and_load(values, tmp_path / "a.pt", layout), values)


@LAYOUTS
def test_nested_python_values_keep_type_and_order(tmp_path, layout):
    values = {
        "epoch": 200,
        "big": 2**80,
        "negative": -5,
        "list": [1, [2.5, None], ()],
        "tuple": (True, False, "ä\N{SNOWMAN}", b"bytes\xff"),
        7: "integer key",
        "ordered": OrderedDict(b=1, a=torch.ones(2)),
        "size": torch.Size([2, 3]),
    }
    loaded = save_and_load(values, tmp_path / "a.pt", layout)
    assert_same(loaded, {**values, "size": (2, 3)})


@LAYOUTS
def test_numpy_scalars_dtypes_and_devices(tmp_path, layout):
    values = {
        "f64": np.float64(1.5),
        "f32": np.float32(-2.5),
        "i64": np.int64(7),
        "bool": np.bool_(True),
        "dtype": torch.float16,
        "device": torch.device("cuda", 1),
        "plain device": torch.device("cpu"),
    }
    loaded = save_and_load(values, tmp_path / "a.pt", layout)
    expected = {
        **values,
        "dtype": "torch.float16",
        "device": "cuda:1",
        "plain device": "cpu",
    }
    assert_same(loaded, expected)


@LAYOUTS
def test_state_dict_of_a_module_with_parameters(tmp_path, layout):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    expected = module.state_dict()
    assert expected._metadata
    assert_same(save_and_load(expected, tmp_path / "a.pt", layout), expected)
    parameters = {"w": torch.nn.Parameter(torch.ones(2, 3))}
    assert_same(save_and_load(parameters, tmp_path / "b.pt", layout), parameters)


@LAYOUTS
def test_aliased_prefixes_share_one_array(tmp_path, layout):
    module = torch.nn.Module()
    module.network = torch.nn.Linear(3, 2)
    module.actor = module.network
    loaded = save_and_load(module.state_dict(), tmp_path / "a.pt", layout)
    assert loaded["network.weight"] is loaded["actor.weight"]
    assert loaded["network.weight"] is not loaded["network.bias"]


@LAYOUTS
def test_different_views_of_one_storage_do_not_share_memory(tmp_path, layout):
    base = torch.arange(6.0)
    loaded = save_and_load([base[:3], base[3:]], tmp_path / "a.pt", layout)
    loaded[0][:] = -1
    np.testing.assert_array_equal(loaded[1], [3, 4, 5])


@LAYOUTS
def test_meta_tensors_come_back_without_values(tmp_path, layout):
    module = torch.nn.Linear(3, 2, device="meta")
    values = {"model": {**module.state_dict(), "parameter": module.weight}}
    loaded = save_and_load(values, tmp_path / "a.pt", layout)["model"]
    assert loaded["weight"] == MetaTensor((2, 3), "float32")
    assert loaded["parameter"] == MetaTensor((2, 3), "float32")
    assert loaded["bias"] == MetaTensor((2,), "float32")


@LAYOUTS
@pytest.mark.parametrize("tag", ["cuda:0", "cuda:7", "meta", "mps", "anything"])
def test_location_of_a_storage_does_not_matter(tmp_path, monkeypatch, layout, tag):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: tag)
    values = {"w": torch.arange(6.0).reshape(2, 3)}
    assert_same(save_and_load(values, tmp_path / "a.pt", layout), values)
    assert tag.encode() in (tmp_path / "a.pt").read_bytes()


def test_storage_on_meta_without_data_is_a_meta_tensor(tmp_path):
    path = write_zip(tmp_path / "a.pt", tensor((2, 2), (2, 1), location="meta"))
    assert load_torch_file(path) == MetaTensor((2, 2), "float32")


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@LAYOUTS
def test_bare_storage_is_a_flat_array(tmp_path, layout):
    floats = torch.arange(3.0)
    loaded = save_and_load(floats.storage(), tmp_path / "a.pt", layout)
    np.testing.assert_array_equal(loaded, np.arange(3, dtype=np.float32), strict=True)
    loaded = save_and_load(floats.untyped_storage(), tmp_path / "b.pt", layout)
    np.testing.assert_array_equal(loaded.view(np.float32), floats.numpy())


def test_sample_of_the_reference_equals_what_torch_reads():
    assert b"cuda:0" in SAMPLE.read_bytes()
    expected = torch.load(SAMPLE, map_location="cpu", weights_only=True)
    assert_same(load_torch_file(SAMPLE), expected)
    assert expected["epoch"] == 200


def test_old_rebuild_function_is_read(tmp_path):
    whole = tensor((2, 2), (1, 2)).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor")
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    assert hooks in whole
    path = write_zip(tmp_path / "a.pt", whole.replace(hooks, b""), data_0=FLOATS)
    np.testing.assert_array_equal(load_torch_file(path), [[0, 2], [1, 3]])


def rewrite(source: Path, target: Path, change) -> Path:
    """Copies a zip; `change(name, data)` returns the new name and data, or None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            if changed := change(name, old.read(name)):
                new.writestr(*changed)
    return target


@pytest.mark.parametrize(
    "dropped",
    [
        ("byteorder",),
        (".format_version", ".storage_alignment", "serialization_id", "byteorder"),
    ],
)
def test_layouts_of_older_torch_lack_entries(tmp_path, dropped):
    values = {"w": torch.arange(3.0)}
    torch.save(values, tmp_path / "new.pt")
    path = rewrite(
        tmp_path / "new.pt",
        tmp_path / "old.pt",
        lambda name, data: None if name.endswith(dropped) else (name, data),
    )
    assert_same(load_torch_file(path), values)


def test_root_folder_of_the_archive_may_have_any_name(tmp_path):
    values = {"w": torch.arange(3.0)}
    torch.save(values, tmp_path / "state_12.pt")
    assert (
        zipfile.ZipFile(tmp_path / "state_12.pt").namelist()[0] == "state_12/data.pkl"
    )
    assert_same(load_torch_file(tmp_path / "state_12.pt"), values)
    path = rewrite(
        tmp_path / "state_12.pt",
        tmp_path / "other.pt",
        lambda name, data: (name.replace("state_12/", "ä b/"), data),
    )
    assert_same(load_torch_file(path), values)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.int64, torch.bfloat16, torch.bool, torch.complex64]
)
def test_big_endian_archive(tmp_path, dtype):
    values = torch.tensor([1, 0, -3, 5]).to(dtype)
    torch.save(values, tmp_path / "little.pt")
    width = 4 if dtype == torch.complex64 else values.element_size()

    def swap(name, data):
        if name.endswith("byteorder"):
            return name, b"big"
        if name.endswith("data/0"):
            data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
        return name, data

    path = rewrite(tmp_path / "little.pt", tmp_path / "big.pt", swap)
    assert_same(load_torch_file(path), values)


def test_reading_needs_no_torch(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "new.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "old.pt", **OLD)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from util.torch_file import load_torch_file, save_torch_file\n"
        "save_torch_file(load_torch_file(sys.argv[1]), sys.argv[3])\n"
        "print([load_torch_file(p)['w'].sum() for p in sys.argv[1:]])"
    )
    names = [str(tmp_path / f"{name}.pt") for name in ("new", "old", "copy")]
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("2.0") == 3
