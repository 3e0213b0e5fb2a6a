import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.env_cases import DIFFERENT_BY_CHOICE, replay

FILES = sorted((Path(__file__).parents[2] / "parity" / "env").glob("*.npz"))


def test_there_are_cases_of_every_class():
    names = [path.stem for path in FILES]
    for start, count in (
        ("multistep", 16),
        ("wrapper_mujoco", 2),
        ("wrapper_d3il", 2),
        ("async", 2),
    ):
        assert sum(name.startswith(start) for name in names) == count


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_references_numbers_are_reproduced(path):
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    expected = {k: v for k, v in arrays.items() if k.startswith("out/")}
    result = replay(meta, arrays)
    assert expected.keys() - result.keys() <= DIFFERENT_BY_CHOICE.keys()
    assert result.keys() <= expected.keys()
    for name, value in result.items():
        if value.dtype.kind == "f":
            tolerance = 1e-7 if value.dtype == np.float32 else 1e-15
            np.testing.assert_allclose(
                value, expected[name], tolerance, tolerance, err_msg=name
            )
        else:
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_an_unknown_class_is_refused():
    with pytest.raises(ValueError, match="class must be one of MultiStep"):
        replay({"class": "env.Unknown"}, {})
