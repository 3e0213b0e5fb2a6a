import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.util.pt_files import number, tensor, text, write_legacy, write_zip
from util.torch_file import load_torch_file

FLOATS = np.arange(4, dtype="<f4").tobytes()
OLD = {"_use_new_zipfile_serialization": False}
LAYOUTS = pytest.mark.parametrize("layout", [{}, OLD])


def refuse(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_torch_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (5,), "stride": (1,)}, "needs element 4, there are 4"),
        ({"size": (2,), "stride": (4,)}, "needs element 4, there are 4"),
        ({"size": (1,), "stride": (1,), "offset": 4}, "needs element 4"),
        ({"size": (2, 2), "stride": (2**62, 1)}, "needs element"),
        ({"size": (2**40,), "stride": (0,)}, "absurdly larger"),
        ({"size": (2**40,) * 3, "stride": (0, 0, 0)}, "absurdly larger"),
        ({"size": (4,), "stride": (1,), "numel": 5}, "must have 20 bytes, has 16"),
        ({"size": (4,), "stride": (1,), "numel": 2**60}, "must have .* has 16"),
        ({"size": (0, 2**70), "stride": (1, 1)}, "corrupt|dimension|big"),
    ],
)
def test_tensor_that_leaves_its_storage_is_refused(tmp_path, changes, message):
    refuse(write_zip(tmp_path / "a.pt", tensor(**changes), data_0=FLOATS), message)


def test_tensors_that_fit_one_by_one_but_not_together_are_refused(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("util.torch_file._MAX_EXPANDED_BYTES", 10_000)
    shapes = [(n, 250) for n in range(1, 6)]
    parts = [tensor(shape, (0, 0))[2:-1] for shape in shapes]
    for count in (2, 5):
        data = b"\x80\x02(" + b"".join(parts[:count]) + b"t."
        path = write_zip(tmp_path / "a.pt", data, data_0=FLOATS)
        if count == 2:
            assert [array.shape for array in load_torch_file(path)] == shapes[:2]
        else:
            refuse(path, "absurdly larger")


def test_storage_without_data_is_refused(tmp_path):
    refuse(write_zip(tmp_path / "a.pt", tensor((4,), (1,))), "storage '0' is missing")
    refuse(
        write_legacy(tmp_path / "b.pt", tensor((4,), (1,))), "storage '0' is missing"
    )


def test_legacy_storage_of_another_size_is_refused(tmp_path):
    torch.save(torch.arange(3.0), tmp_path / "a.pt", **OLD)
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(data[:-20] + b"\x04" + data[-19:])
    refuse(tmp_path / "b.pt", "has 4 of 3 elements")
    keys = data.index(pickle.dumps(None, 2)[:2], data.index(b"_rebuild_tensor"))
    unknown = data[:keys] + pickle.dumps(["5"], 2)
    (tmp_path / "c.pt").write_bytes(unknown)
    refuse(tmp_path / "c.pt", "KeyError: '5'")


@LAYOUTS
def test_truncated_file_is_refused_wherever_it_ends(tmp_path, layout):
    torch.save(
        {"w": torch.arange(50.0), "b": torch.ones(3)}, tmp_path / "a.pt", **layout
    )
    data = (tmp_path / "a.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refuse(path, "cannot read PyTorch file")


@LAYOUTS
def test_damaged_file_gives_an_error_or_the_right_values(tmp_path, layout):
    values = {"w": torch.arange(50.0), "b": torch.ones(3)}
    torch.save(values, tmp_path / "a.pt", **layout)
    data = (tmp_path / "a.pt").read_bytes()
    draw = random.Random(0)
    path = tmp_path / "damaged.pt"
    errors = []
    for _ in range(300):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_torch_file(path)
        except ValueError as error:
            errors.append(str(error))
        else:
            if layout is not OLD:  # the old layout has no check sum
                for key, value in values.items():
                    np.testing.assert_array_equal(loaded[key], value)
    assert len(errors) > 50
    assert all(str(path) in error for error in errors)


def test_flipped_bit_in_the_values_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.pt", tensor((4,), (1,)), data_0=FLOATS)
    data = path.read_bytes()
    path.write_bytes(data.replace(FLOATS, FLOATS[:-1] + b"\x00"))
    refuse(path, "CRC")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"PK\x03\x04",
        b"hello, this is a text file\n" * 20,
        b"\x93NUMPY\x01\x00",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        bytes(1000),
        pickle.dumps({"w": 1}, 2),
        pickle.dumps(0x1950A86A20F9469CFC6C, 2),
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1000, 2),
    ],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    refuse(tmp_path / "a.pt", r"not a PyTorch file|zip archive is truncated")


def test_zip_that_is_no_checkpoint_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    refuse(tmp_path / "a.npz", "not a PyTorch file: the zip has no single")
    path = write_zip(tmp_path / "b.pt", b"N.", data_0=FLOATS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"N.")
    refuse(path, "no single")


def test_suspicious_zips_are_refused(tmp_path):
    path = write_zip(tmp_path / "order.pt", tensor((4,), (1,)), byteorder=b"middle")
    refuse(path, "byteorder must be little or big")
    path = write_zip(tmp_path / "twice.pt", tensor((4,), (1,)), data_0=FLOATS)
    with (
        zipfile.ZipFile(path, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("archive/data/0", bytes(16))
    refuse(path, "two entries of the same name")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor((4,), (1,)))
        archive.writestr("archive/data/0", bytes(2**20))
    refuse(tmp_path / "bomb.pt", "compressed")


def test_zip_whose_entries_overlap_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.pt", tensor((4,), (1,)), data_0=FLOATS)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"archive/data/0") - 46
    size = (2**20).to_bytes(4, "little")
    data[entry + 20 : entry + 28] = size + size
    path.write_bytes(data)
    refuse(path, "claims more bytes than the file has")


def test_object_that_contains_itself_is_refused(tmp_path):
    refuse(write_zip(tmp_path / "a.pt", b"\x80\x02]q\x00h\x00a."), "contains itself")


def test_deep_nesting_is_refused_and_repetition_is_not(tmp_path):
    deep = b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
    refuse(write_zip(tmp_path / "deep.pt", deep), "RecursionError")
    laughs = b"\x80\x02(]q\x00"
    for index in range(60):
        get = b"h" + bytes([index])
        laughs += b"]q" + bytes([index + 1]) + get + b"a" + get + b"a"
    path = write_zip(tmp_path / "laughs.pt", laughs + b"1h" + bytes([60]) + b".")
    loaded = load_torch_file(path)
    assert loaded[0] is loaded[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02ccollections\nOrderedDict\n.", "bare _Function"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "bare _StorageType"),
        (b"\x80\x02})" + number(1) + b"s.", r"dict key \(\) must be"),
        (b"\x80\x02}]" + number(1) + b"s.", "unhashable"),
        (b"\x80\x02X\xff\xff\xff\x7fab.", "expected 2147483647 bytes"),
        (b"\x80\x02" + text("a"), "exhausted"),
        (b"\x80\x02.", "corrupt"),
        (b"\x80\x7fN.", "unsupported pickle protocol"),
    ],
)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_senseless_pickle_is_refused(tmp_path, write, data, message):
    refuse(write(tmp_path / "a.pt", data), message)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        load_torch_file(tmp_path / "nothing.pt")
    with pytest.raises(IsADirectoryError, match=os.path.basename(tmp_path)):
        load_torch_file(tmp_path)
