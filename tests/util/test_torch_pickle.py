import builtins
import copyreg
import functools
import io
import operator
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from tests.util.pt_files import number, numbers, tensor, text, write_legacy, write_zip
from util.torch_file import load_torch_file
from util.torch_pickle import (
    Dtype,
    MetaTensor,
    Storage,
    Tensor,
    expect,
    load_pickle,
    show,
)

ORDERED_DICT = b"ccollections\nOrderedDict\n"
WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy])


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments, state=None):
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self):
        return self.function, self.arguments, self.state


def loads(data: bytes):
    return load_pickle(io.BytesIO(data))[0]


def calls(marker: str) -> dict[str, tuple[str, object]]:
    """Returns objects that, unpickled, make the file `marker`."""
    code = f"__import__('pathlib').Path({marker!r}).touch()"
    touch = Call(os.system, f"touch {marker}")
    nested = OrderedDict(a=1)
    nested._metadata = OrderedDict(a={"version": touch})
    return {
        "system": ("posix.system", touch),
        "eval": ("builtins.eval", Call(eval, code)),
        "exec": ("builtins.exec", Call(exec, code)),
        "open": ("io.open", Call(open, marker, "w")),
        "attrgetter": ("operator.attrgetter", Call(operator.attrgetter, "a.b")),
        "partial": ("functools.partial", Call(functools.partial, print)),
        "import": ("builtins.__import__", Call(builtins.__import__, "os")),
        "in build state": ("posix.system", nested),
        "as a value": ("posix.system", {"model": OrderedDict(w=[touch])}),
        "bytearray": ("builtins.bytearray", bytearray(b"a")),
        "array": ("_reconstruct", np.arange(3)),
    }


@WRITERS
@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("name", list(calls("")))
def test_hostile_object_is_refused_by_name_and_nothing_runs(
    tmp_path, write, protocol, name
):
    marker = tmp_path / "ran"
    culprit, obj = calls(str(marker))[name]
    path = write(tmp_path / "evil.pt", pickle.dumps(obj, protocol))
    with pytest.raises(ValueError, match="refused") as caught:
        load_torch_file(path)
    assert str(path) in str(caught.value)
    spoken = str(caught.value).replace("__builtin__", "builtins")
    assert culprit.rpartition(".")[2] in spoken
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [0, 1])
def test_hostile_text_pickle_is_refused(tmp_path, protocol):
    marker = tmp_path / "ran"
    evil = pickle.dumps(Call(os.system, f"touch {marker}"), protocol)
    with pytest.raises(ValueError, match="refused"):
        load_torch_file(write_zip(tmp_path / "evil.pt", evil))
    assert not marker.exists()


def test_hostile_calls_would_run_in_a_plain_unpickler(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(calls(str(marker))["system"][1]))
    assert marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict.__init__"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("collections", "abc"),
        ("collections.OrderedDict", ""),
        ("torch", "load"),
        ("torch", "hub.load"),
        ("torch", "FloatStorage.__class__"),
        ("torch", "EvilStorage"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch._utils", "__builtins__"),
        ("torch._utils", "_rebuild_wrapper_subclass"),
        ("util.torch_pickle", "pickle"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "load"),
        ("builtins", "getattr"),
        ("__builtin__", "eval"),
        ("nt", "system"),
        ("os", "system"),
        ("", ""),
    ],
)
def test_any_other_global_is_refused_in_both_spellings(module, name):
    spoken = f"refused: the file refers to the global {module}.{name}"
    stacked = b"\x80\x04" + text(module) + text(name) + b"\x93."
    lines = f"c{module}\n{name}\n.".encode()
    for data in (stacked, lines):
        with pytest.raises(ValueError, match="refused") as caught:
            loads(data)
        assert str(caught.value) == spoken


def test_global_names_that_are_no_strings_are_refused():
    with pytest.raises(pickle.UnpicklingError, match="STACK_GLOBAL"):
        loads(b"\x80\x04" + number(1) + number(2) + b"\x93.")


@pytest.mark.parametrize(
    ("data", "operation"),
    [
        (b"(X\x01\x00\x00\x00aicollections\nOrderedDict\n.", "INST"),
        (b"(" + ORDERED_DICT + b"o.", "OBJ"),
        (b"\x80\x02" + ORDERED_DICT + b")\x81.", "NEWOBJ"),
        (b"\x80\x04" + ORDERED_DICT + b")}\x92.", "NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02\x83\x01\x00.", "EXT2"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Pstorage\n.", "PERSID"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
    ],
)
def test_operations_that_torch_never_writes_are_refused(data, operation):
    with pytest.raises(ValueError, match=f"operation {operation}$"):
        loads(data)


def test_instance_operation_names_the_hostile_class():
    with pytest.raises(ValueError, match=r"global os\.system"):
        loads(b"(X\x01\x00\x00\x00aios\nsystem\n.")


def test_registered_extension_is_not_called(tmp_path):
    marker = tmp_path / "ran"
    copyreg.add_extension("posix", "system", 240)
    try:
        command = text(f"touch {marker}") + b"\x85R."
        with pytest.raises(ValueError, match="EXT1"):
            loads(b"\x80\x02\x82\xf0" + command)
    finally:
        copyreg.remove_extension("posix", "system", 240)
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        ORDERED_DICT,
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch\nfloat32\n",
    ],
)
def test_what_a_global_stands_for_cannot_be_changed(target):
    state = b"}" + text("function") + b"Ns"
    with pytest.raises(ValueError, match="tries to change"):
        loads(b"\x80\x02" + target + state + b"b.")
    with pytest.raises(ValueError, match="tries to change"):
        loads(b"\x80\x02" + target + b"}" + state + b"\x86b.")
    assert isinstance(loads(tensor((4,), (1,))), Tensor)


def test_tensor_cannot_be_changed_by_build():
    state = b"}" + text("shape") + numbers((9,)) + b"s"
    with pytest.raises(ValueError, match="tries to change a Tensor"):
        loads(tensor((4,), (1,))[:-1] + state + b"b.")


def test_attributes_of_an_ordered_dict_are_dropped():
    state = b"}" + text("items") + ORDERED_DICT + b"s"
    loaded = loads(b"\x80\x02" + ORDERED_DICT + b")R" + state + b"b.")
    assert loaded == OrderedDict()
    assert vars(loaded) == {}


@pytest.mark.parametrize(
    "data",
    [
        text("storage") + b"Q.",
        b"(" + text("module") + ORDERED_DICT + b"NNtQ.",
        b"(" + text("storage") + ORDERED_DICT + text("0") + text("cpu") + b"K\x01tQ.",
        b"(" + text("storage") + b"ctorch\nFloatStorage\nN" + text("c") + b"K\x01tQ.",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + b"NK\x01tQ.",
    ],
)
def test_persistent_id_that_is_no_storage_is_refused(data):
    with pytest.raises(ValueError, match=r"persistent id|must be a"):
        loads(b"\x80\x02" + data)


def test_storage_view_is_refused():
    view = b"(" + text("0") + number(0) + number(1) + b"t"
    pid = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
    with pytest.raises(ValueError, match="storage views"):
        loads(b"\x80\x02" + pid + text("cpu") + number(1) + view + b"tQ.")


def test_storage_of_two_sizes_is_refused():
    one, other = tensor((4,), (1,)), tensor((4,), (1,), numel=5)
    with pytest.raises(ValueError, match="two sizes"):
        loads(one[:-1] + other[2:-1] + b"\x86.")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (-1,), "stride": (1,)}, "size must be non-negative"),
        ({"size": (2,), "stride": (-1,)}, "stride must be non-negative"),
        ({"size": (2,), "stride": (1,), "offset": -1}, "storage offset must be"),
        ({"size": (2,), "stride": (1,), "numel": -4}, "storage size must be"),
        ({"size": (2,), "stride": (1, 1)}, "differ in length"),
        ({"size": (1,) * 65, "stride": (1,) * 65}, "size must be"),
    ],
)
def test_senseless_tensor_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        loads(tensor(**changes))


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        ("torch._utils\n_rebuild_tensor_v2", b"(NK\x00))\x89Nt", "storage must be"),
        ("torch._utils\n_rebuild_parameter", b"(N\x89Nt", "data must be a Tensor"),
        ("torch._utils\n_rebuild_meta_tensor_no_storage", b"(N))\x89t", "dtype must"),
        ("collections\nOrderedDict", b"K\x01\x85", "OrderedDict items"),
        ("torch\nSize", b"N\x85", "torch.Size must be"),
        ("torch\ndevice", b"K\x01\x85", "device must be a str"),
        ("numpy\ndtype", text("O8") + b"\x85", "dtype 'O8' is not supported"),
        ("numpy.core.multiarray\nscalar", b"NN\x86", "must be a _NumpyDtype"),
        ("_codecs\nencode", text("a") + text("rot13") + b"\x86", "'rot13' is refused"),
    ],
)
def test_allowed_call_with_senseless_arguments_is_refused(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        loads(b"\x80\x02c" + call.encode() + b"\n" + arguments + b"R.")


@pytest.mark.parametrize("state", [b"N", b")", b"(K\x03" + text("O") + b"t"])
def test_numpy_dtype_with_senseless_state_is_refused(state):
    dtype = b"cnumpy\ndtype\n" + text("f8") + b"\x85R"
    with pytest.raises(ValueError, match="state of a NumPy dtype"):
        loads(b"\x80\x02" + dtype + state + b"b.")


def test_numpy_scalar_of_wrong_length_is_refused():
    dtype = b"cnumpy\ndtype\n" + text("f8") + b"\x85R"
    scalar = b"cnumpy.core.multiarray\nscalar\n" + dtype + b"C\x02ab\x86R."
    with pytest.raises(ValueError, match="value of a NumPy scalar"):
        loads(b"\x80\x03" + scalar)


def test_tensor_with_conjugate_bit_is_refused():
    whole = tensor((4,), (1,))
    with pytest.raises(ValueError, match="conjugate"):
        loads(whole[:-3] + b"}" + text("conj") + b"\x88stR.")


def test_huge_memo_index_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match="memo index 4294967295 is out of range"):
        loads(b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".")


def test_error_stays_short_for_a_value_whose_text_explodes():
    laughs = b"(]q\x00"
    for index in range(60):
        get = b"h" + bytes([index])
        laughs += b"]q" + bytes([index + 1]) + get + b"a" + get + b"a"
    laughs += b"1h" + bytes([60])
    with pytest.raises(ValueError, match="torch.Size") as caught:
        loads(b"\x80\x02ctorch\nSize\n" + laughs + b"\x85R.")
    assert len(str(caught.value)) < 300


def test_stand_ins_say_what_was_pickled():
    loaded = loads(tensor((2, 2), (2, 1), offset=0, location="cuda:0"))
    storage = Storage("0", "float32", "cuda:0", 4)
    assert loaded == Tensor(storage, "float32", 0, (2, 2), (2, 1))
    assert storage.nbytes == 16
    assert loads(b"\x80\x02ctorch\nbfloat16\n.") == Dtype("bfloat16")
    meta = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nint64\n"
    meta += numbers((2, 3)) + numbers((3, 1)) + b"\x89tR."
    assert loads(b"\x80\x02" + meta) == MetaTensor((2, 3), "int64")


def test_stream_is_left_after_the_pickle_and_storages_are_reported():
    stream = io.BytesIO(tensor((4,), (1,)) + b"rest")
    _, storages = load_pickle(stream)
    assert stream.read() == b"rest"
    assert list(storages) == ["0"]


def test_expect_returns_the_value_or_says_what_it_is_not():
    assert expect("key", "a", str) == "a"
    with pytest.raises(ValueError, match="key must be a str, got 1"):
        expect("key", 1, str)


def test_show_shortens_long_values():
    assert show((1, "a")) == "(1, 'a')"
    assert len(show([["word"] * 9] * 9)) <= 100
