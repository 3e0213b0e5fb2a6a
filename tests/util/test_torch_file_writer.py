import errno
import os
import resource
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from util.torch_file import load_torch_file
from util.torch_file_writer import (
    STORAGE_DTYPES,
    explain_write_error,
    open_aside,
    save_torch_file,
    sync_folder,
)

DTYPES = sorted(set(STORAGE_DTYPES.values()) - {"bfloat16"})


def save_and_torch_load(obj, path, **options):
    save_torch_file(obj, path)
    return torch.load(path, weights_only=True, **options)


@pytest.fixture
def small_files_only():
    """Lets writing fail after 20 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_reads_every_dtype(tmp_path, dtype, mmap):
    array = np.array([[0, 1, 2], [3, 100, 0]]).astype(dtype)
    loaded = save_and_torch_load({"w": array}, tmp_path / "a.pt", mmap=mmap)["w"]
    np.testing.assert_array_equal(loaded.numpy(), array, strict=True)
    assert loaded.is_contiguous()


def test_torch_reads_nested_python_values(tmp_path):
    values = {
        "epoch": 200,
        "big": 2**80,
        "negative": -(2**31),
        "beyond 32 bits": 2**31,
        "float": -0.25,
        "inf": float("inf"),
        "list": [1, [2.5, None], ()],
        "tuple": (True, False, "ä\N{SNOWMAN}"),
        7: "integer key",
        "ordered": OrderedDict(b=1, a=[]),
        "empty": {},
    }
    loaded = save_and_torch_load(values, tmp_path / "a.pt")
    assert loaded == values
    assert type(loaded["ordered"]) is OrderedDict
    assert load_torch_file(tmp_path / "a.pt") == values


@pytest.mark.parametrize(
    "array",
    [
        np.array(2.5, np.float32),
        np.zeros((2, 0, 3), np.float32),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.float32)[::-3],
        np.arange(3, dtype=">f4"),
        np.array([np.inf, -np.inf, np.nan]),
    ],
)
def test_torch_reads_arrays_of_any_layout(tmp_path, array):
    loaded = save_and_torch_load([array], tmp_path / "a.pt")[0]
    native = array.astype(array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(loaded.numpy(), native, strict=True)


def test_numpy_scalars_become_python_numbers(tmp_path):
    values = [np.float32(0.5), np.int64(3), np.bool_(True)]
    loaded = save_and_torch_load(values, tmp_path / "a.pt")
    assert loaded == [0.5, 3, True]
    assert [type(value) for value in loaded] == [float, int, bool]


def test_array_that_occurs_twice_is_stored_once(tmp_path):
    array = np.ones(1000, np.float32)
    values = {"a": array, "b": array, "c": array.copy()}
    loaded = save_and_torch_load(values, tmp_path / "a.pt")
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()
    assert loaded["a"].data_ptr() != loaded["c"].data_ptr()
    names = zipfile.ZipFile(tmp_path / "a.pt").namelist()
    assert [name for name in names if "/data/" in name] == [
        "archive/data/0",
        "archive/data/1",
    ]


def test_storages_are_aligned_and_files_are_reproducible(tmp_path):
    values = {f"key {i}": np.full(i, i, np.float32) for i in range(1, 9)}
    save_torch_file(values, tmp_path / "a.pt")
    save_torch_file(values, tmp_path / "b.pt")
    data = (tmp_path / "a.pt").read_bytes()
    assert data == (tmp_path / "b.pt").read_bytes()
    for value in values.values():
        assert data.index(value.tobytes()) % 64 == 0


def test_state_dict_loads_strictly_into_a_module(tmp_path):
    source, target = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        for _ in range(2)
    )
    arrays = {key: value.numpy() for key, value in source.state_dict().items()}
    target.load_state_dict(save_and_torch_load(arrays, tmp_path / "a.pt"), strict=True)
    for one, other in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"a": [1, {2}]}, r"obj\['a'\]\[1\] must be .* got set"),
        ({"a": b"bytes"}, r"obj\['a'\] must be .* got bytes"),
        ({(1, 2): 1}, r"key \(1, 2\) of obj must be"),
        ({"a": np.array(["text"])}, r"obj\['a'\] must have a dtype"),
        ((np.array([None]),), r"obj\[0\] must have a dtype of .* got object"),
        ([np.ones(1, np.uint16)], "got uint16"),
    ],
)
def test_what_torch_has_no_form_for_is_refused(tmp_path, obj, message):
    with pytest.raises(TypeError, match=message):
        save_torch_file(obj, tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def test_object_that_contains_itself_is_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="must not contain itself"):
        save_torch_file(loop, tmp_path / "a.pt")


def test_integer_beyond_the_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"obj\['n'\] must fit into 255 bytes"):
        save_torch_file({"n": 1 << 5000}, tmp_path / "a.pt")


def test_failed_write_keeps_the_old_file_and_names_the_free_space(
    tmp_path, small_files_only
):
    path = tmp_path / "a.pt"
    save_torch_file({"w": np.ones(3)}, path)
    with pytest.raises(
        OSError, match=r"cannot write .*a\.pt.*bytes are free"
    ) as caught:
        save_torch_file({"w": np.ones(30_000)}, path)
    assert caught.value.errno == errno.EFBIG
    assert load_torch_file(path)["w"].size == 3
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made_and_a_file_is_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "a.pt"
    save_torch_file([1], path)
    save_torch_file([2], str(path))
    assert load_torch_file(path) == [2]
    assert list(path.parent.iterdir()) == [path]


def test_open_aside_shows_nothing_until_it_is_complete(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with open_aside(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_open_aside_drops_what_an_exception_interrupts(tmp_path):
    def write_half():
        with open_aside(tmp_path / "a") as stream:
            stream.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_write_error_without_number_or_folder_is_explained(tmp_path):
    error = explain_write_error(OSError("disk gone"), tmp_path / "no" / "such" / "a")
    assert error.errno is None
    assert "disk gone" in str(error)
    assert "bytes are free" in str(error)
    denied = explain_write_error(PermissionError(errno.EACCES, "no"), tmp_path / "a")
    assert isinstance(denied, PermissionError)


def test_sync_folder_reaches_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    sync_folder(tmp_path)
    assert synced == [tmp_path.stat().st_ino]
