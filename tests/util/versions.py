"""States that know their version, to test that a state is of one piece."""

from pathlib import Path

import numpy as np

from util.state_folder import load_state, save_state


def versioned(version: int) -> dict:
    """Returns a state of this version."""
    return {"version": version, "a": np.full(500, version), "b": np.full(3, version)}


def load_version(folder: Path) -> int:
    """Returns the version that a folder holds, after checking that it is one."""
    state, meta = load_state(folder)
    version = state["version"]
    assert meta == {"version": version}
    np.testing.assert_array_equal(state["a"], np.full(500, version))
    np.testing.assert_array_equal(state["b"], np.full(3, version))
    return version


def save_version(folder: Path, version: int) -> None:
    """Writes a state of this version."""
    save_state(folder, versioned(version), {"version": version})
