"""Cases move from the pending list into the tested folder when they pass."""

import shutil

import pytest

from tests.parity import inventory
from tests.parity.case import HERE

CASE = HERE / "networks" / "mlp_relu.npz"


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """An inventory of its own: two pending cases, one of which exists."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "all" / "networks").mkdir(parents=True)
    shutil.copyfile(CASE, tmp_path / "all" / "networks" / "mlp_relu.npz")
    monkeypatch.setattr(inventory, "HERE", here)
    monkeypatch.setattr(inventory, "PENDING", here / "pending.txt")
    inventory.write_pending(
        [
            inventory.Pending("networks/mlp_relu", 5, ("model.common.mlp.MLP",)),
            inventory.Pending("networks/other", 6, ("a.B", "c.D")),
        ]
    )
    return tmp_path


def test_passing_cases_are_adopted_and_leave_the_list(lists, capsys):
    assert inventory.read_limit() == 2
    assert inventory.main([str(lists / "all")]) == 0
    assert "1 cases adopted, 1 pending" in capsys.readouterr().out
    assert (lists / "here" / "networks" / "mlp_relu.npz").is_file()
    assert [str(e) for e in inventory.read_pending()] == [
        "networks/other  issue 6  a.B, c.D"
    ]
    assert inventory.read_limit() == 1


def test_failing_cases_stay(lists, monkeypatch):
    monkeypatch.setattr(inventory, "passes", lambda path: False)
    assert inventory.adopt(lists / "all") == []
    assert inventory.read_limit() == 2


def test_a_list_without_a_limit_is_refused(lists):
    inventory.PENDING.write_text("a/b  issue 5  c.D\n")
    with pytest.raises(ValueError, match="limit"):
        inventory.read_limit()
