"""Makes .pt files by hand, to test what torch.save would never write."""

import pickle
import struct
import zipfile
from pathlib import Path

MAGIC = 0x1950A86A20F9469CFC6C


def write_zip(path: Path, data_pkl: bytes, **entries: bytes) -> Path:
    """Writes a zip .pt; entry names use "_" for "/": data_0 is data/0."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/version", b"3\n")
        for name, data in entries.items():
            archive.writestr("archive/" + name.replace("_", "/"), data)
    return path


def write_legacy(path: Path, data_pkl: bytes) -> Path:
    """Writes the format of PyTorch before 1.6, without storages."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, 2) for part in (MAGIC, 1001, facts)]
    path.write_bytes(b"".join([*parts, data_pkl, pickle.dumps([], 2)]))
    return path


def text(value: str) -> bytes:
    """Returns the opcodes that push a string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Returns the opcodes that push an integer."""
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    """Returns the opcodes that push a tuple of integers."""
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *,
    offset: int = 0,
    numel: int = 4,
    location: str = "cpu",
) -> bytes:
    """Returns a whole pickle of one float32 tensor in storage "0"."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
    storage += text(location) + number(numel) + b"tQ"
    arguments = storage + number(offset) + numbers(size) + numbers(stride) + b"\x89"
    hooks = b"ccollections\nOrderedDict\n)R"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return b"\x80\x02" + rebuild + arguments + hooks + b"tR."
