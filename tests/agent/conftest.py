import pytest

from tests.agent.tiny import eagerly


@pytest.fixture
def eager():
    """Compiled functions of this test run line by line."""
    with eagerly():
        yield


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    """Learning curves are not drawn: that takes longer than a tiny run."""
    monkeypatch.setattr("util.metrics.plot_curves", lambda *args, **kwargs: None)
