"""Rows of a buffer on disk: only new ones are written, old ones are never touched.

An extra file next to `replay.py`. A checkpoint refers to the first rows of a file.
Later saves append behind them, so it stays valid whatever is written until the next
checkpoint has replaced it: a process may be killed at any moment. When most rows of a
file have left the buffer, or when some were changed, another file is begun; `settle`
removes the first one as soon as no checkpoint refers to it.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from util.torch_file_writer import explain_write_error, sync_folder

Rows = dict[str, np.ndarray]

_NAME = re.compile(r"rows_(\d+)")


class RowFile:
    """The file that is appended to.

    Args:
        folder: Holds nothing else; made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name: str | None = None
        self.dtype = np.dtype([])
        # Number of the first row among all rows, rows in the file, their checksum.
        self.first, self.rows, self.crc32 = 0, 0, 0

    @property
    def end(self) -> int:
        """The number of the row that comes next."""
        return self.first + self.rows

    def begin(self, first: int, columns: Mapping[str, np.ndarray]) -> None:
        """Turns to another file, which does not exist yet.

        Args:
            first: Number of its first row.
            columns: Arrays (N, ...) of rows, for their types.
        """
        numbers = [int(_NAME.fullmatch(p.name)[1]) for p in self._files()]  # type: ignore[index]
        self.name = f"rows_{max(numbers, default=-1) + 1}"
        fields = [(key, v.dtype, v.shape[1:]) for key, v in columns.items()]
        self.dtype = np.dtype(fields)
        self.first, self.rows, self.crc32 = first, 0, 0

    def _files(self) -> list[Path]:
        return [p for p in self.folder.glob("rows_*") if _NAME.fullmatch(p.name)]

    def append(self, pieces: Iterable[Rows]) -> None:
        """Writes rows behind those that are there, and waits for the disk.

        Raises:
            OSError: Writing failed; says how much space is free.
        """
        path = self.folder / str(self.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if self.rows else "wb") as stream:
                # Behind it may be rows of a save that no checkpoint followed.
                stream.seek(self.rows * self.dtype.itemsize)
                stream.truncate()
                rows, crc32 = self.rows, self.crc32
                for piece in pieces:
                    data = self._packed(piece)
                    stream.write(data)
                    crc32 = zlib.crc32(data, crc32)
                    rows += len(data) // self.dtype.itemsize
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(self.folder)
        except OSError as error:
            raise explain_write_error(error, path) from error
        self.rows, self.crc32 = rows, crc32

    def _packed(self, rows: Rows) -> bytes:
        packed = np.empty(len(next(iter(rows.values()))), self.dtype)
        for key, value in rows.items():
            packed[key] = value
        return packed.tobytes()

    def read(self, start: int, per_piece: int) -> Iterator[Rows]:
        """Rows from number `start` on, some at a time.

        Raises:
            FileNotFoundError: The file is not there.
            ValueError: It is shorter than it was, or has other content.
        """
        path = self.folder / str(self.name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, which holds the replay buffer of the checkpoint "
                "beside it; the two folders belong together."
            )
        crc32, number = 0, self.first
        with path.open("rb") as stream:
            while number < self.end:
                count = min(per_piece, self.end - number)
                data = stream.read(count * self.dtype.itemsize)
                crc32 = zlib.crc32(data, crc32)
                if len(data) < count * self.dtype.itemsize:
                    raise ValueError(f"{path} must have {self.rows} rows, it is cut.")
                rows = np.frombuffer(data, self.dtype)[max(start - number, 0) :]
                number += count
                if len(rows):
                    yield {name: rows[name] for name in self.dtype.names or ()}
        if crc32 != self.crc32:
            raise ValueError(f"{path} does not have the content that was saved.")

    def settle(self) -> None:
        """Removes other files; called when a checkpoint refers to this one."""
        for path in self._files():
            if path.name != self.name:
                path.unlink()

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint needs to find the rows."""
        fields = [
            (name, self.dtype[name].base.str, list(self.dtype[name].shape))
            for name in self.dtype.names or ()
        ]
        own = {"file": self.name, "first": self.first, "rows": self.rows}
        return {**own, "crc32": self.crc32, "columns": fields}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`."""
        self.name, self.first = state["file"], state["first"]
        self.rows, self.crc32 = state["rows"], state["crc32"]
        fields = [(name, kind, tuple(shape)) for name, kind, shape in state["columns"]]
        self.dtype = np.dtype(fields)
