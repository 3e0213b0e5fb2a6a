from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from util.plotting import Curve, plot_curves

X = np.array([0.0, 50_000.0, 100_000.0])
Y = np.array([1.0, 2.0, 4.0])


def test_a_png_of_seven_inches_at_150_dpi_is_written(tmp_path):
    path = tmp_path / "new" / "curve.png"
    plot_curves([Curve("a", X, Y)], path, "env steps", "reward")
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1050, 675)
    assert [p.name for p in path.parent.iterdir()] == ["curve.png"]


def test_labels_legend_grid_and_interval_are_drawn(tmp_path, figures):
    curves = [Curve("a", X, Y, Y - 1, Y + 1), Curve("b", X, 2 * Y)]
    plot_curves(curves, tmp_path / "c.png", "env steps", "reward", title="hopper")
    (axes,) = figures[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("env steps", "reward")
    assert axes.get_title() == "hopper"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["a", "b"]
    assert any(line.get_visible() for line in axes.get_xgridlines())
    (band,) = axes.collections
    low, high = band.get_paths()[0].get_extents().intervaly
    assert (low, high) == (0.0, 5.0)
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), 2 * Y)


def test_large_steps_are_written_short(tmp_path, figures):
    plot_curves([Curve("a", X, Y)], tmp_path / "c.png", "env steps", "reward")
    (axes,) = figures[0].axes
    assert axes.xaxis.get_major_formatter()(50_000) == "50k"


@pytest.mark.parametrize(
    ("y", "scale"),
    [
        (np.array([100.0, 10, 1]), "log"),
        (np.array([3.0, 2, 1]), "linear"),
        (np.array([100.0, 10, -1]), "linear"),
    ],
)
def test_log_axis_is_used_where_it_helps(tmp_path, figures, y, scale):
    plot_curves([Curve("a", X, y)], tmp_path / "c.png", "epoch", "loss", log_y=True)
    assert figures[0].axes[0].get_yscale() == scale


def test_pyplot_is_not_touched():
    code = (
        "import sys, pathlib, tempfile, numpy as np\n"
        "from util.plotting import Curve, plot_curves\n"
        "x = np.arange(3.0)\n"
        "path = pathlib.Path(tempfile.mkdtemp()) / 'c.png'\n"
        "plot_curves([Curve('a', x, x)], path, 'x', 'y')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("curves", [[], [Curve("a", X[:0], Y[:0])]])
def test_nothing_to_draw_is_refused(tmp_path, curves):
    with pytest.raises(ValueError, match="at least one point"):
        plot_curves(curves, tmp_path / "c.png", "x", "y")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "parts",
    [(X, Y[:2]), (X, Y, Y), (X, Y, Y, Y[:1]), (X[:, None], Y[:, None])],
)
def test_parts_of_a_curve_that_do_not_fit_are_refused(parts):
    with pytest.raises(ValueError, match="a: x, y, low and high"):
        Curve("a", *parts)


def test_a_file_that_cannot_be_written_is_an_oserror(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="c.png"):
        plot_curves([Curve("a", X, Y)], tmp_path / "file" / "c.png", "x", "y")
