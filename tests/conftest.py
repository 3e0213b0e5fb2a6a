"""Fixtures of tests in several folders."""

import pytest


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    from matplotlib import figure

    made = []

    class Recorded(figure.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(figure, "Figure", Recorded)
    return made
