import re

import numpy as np
import pytest

from agent.common.row_file import RowFile


def rows(*numbers):
    x = np.array(numbers, np.float32)
    return {"x": x, "flag": np.stack([x > 2, x > 3], axis=1)}


def written(folder, *pieces):
    """A file whose first row has the number 10."""
    file = RowFile(folder)
    file.begin(10, pieces[0])
    for piece in pieces:
        file.append([piece])
    return file


def restored(file):
    other = RowFile(file.folder)
    other.set_state(file.get_state())
    return other


def read(file, start=10, per_piece=2):
    pieces = list(file.read(start, per_piece))
    return [number for piece in pieces for number in piece["x"].tolist()]


def test_rows_come_back_with_their_types(tmp_path):
    file = restored(written(tmp_path, rows(1, 2), rows(3, 4)))
    assert (file.first, file.rows, file.end) == (10, 4, 14)
    (piece,) = file.read(10, 9)
    assert piece["x"].dtype == np.float32
    assert piece["flag"].dtype == bool
    assert piece["flag"].tolist() == [[0, 0], [0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("per_piece", [1, 2, 3, 9])
def test_rows_may_be_read_from_any_number_on(tmp_path, per_piece):
    file = written(tmp_path, rows(1, 2), rows(3, 4, 5))
    for start in range(10, 15):
        assert read(file, start, per_piece) == [1, 2, 3, 4, 5][start - 10 :]


def test_what_lies_behind_the_last_row_is_overwritten(tmp_path):
    file = written(tmp_path, rows(1, 2))
    other = restored(file)
    file.append([rows(3, 4, 5)])
    assert read(other) == [1, 2]
    other.append([rows(9)])
    assert read(other) == [1, 2, 9]


def test_failed_writing_changes_nothing(tmp_path):
    file = written(tmp_path, rows(1, 2))

    def pieces():
        yield rows(3)
        raise OSError("no space")

    with pytest.raises(OSError, match="free"):
        file.append(pieces())
    assert read(file) == [1, 2]
    file.append([rows(4)])
    assert read(restored(file)) == [1, 2, 4]


def test_a_new_file_has_a_new_name_and_settling_removes_others(tmp_path):
    file = written(tmp_path, rows(1))
    (tmp_path / "rows_7").write_bytes(b"")
    (tmp_path / "rows_of_mine").write_bytes(b"")
    file.begin(20, rows(1))
    file.append([rows(2)])
    assert file.name == "rows_8"
    file.settle()
    assert {path.name for path in tmp_path.iterdir()} == {"rows_8", "rows_of_mine"}


def test_missing_file_is_named(tmp_path):
    file = written(tmp_path, rows(1))
    (tmp_path / "rows_0").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "rows_0"))):
        read(file)


def test_cut_file_is_refused(tmp_path):
    file = written(tmp_path, rows(1, 2, 3))
    path = tmp_path / "rows_0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="must have 3 rows, it is cut"):
        read(file)


@pytest.mark.parametrize("place", [0, -1])
def test_other_content_is_refused(tmp_path, place):
    file = written(tmp_path, rows(1, 2, 3))
    path = tmp_path / "rows_0"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not have the content that was saved"):
        read(file)
