"""The comparison finds what it is meant to find."""

from pathlib import Path

import numpy as np
import pytest

from tests.parity.case import Case, load_case, regenerate, summarise_array
from tests.parity.compare import compare


def make_case(arrays, **meta):
    return Case(Path("area/case.npz"), {"area": "area", **meta}, arrays)


def ratio(expected, got):
    expected = np.asarray(expected, np.float32)
    report = compare(make_case({"out/y": expected}), {"out/y": np.asarray(got)})
    return report.outputs.ratio


def test_tolerance_of_outputs_by_hand():
    # 2e-5 * max(1, 4) = 8e-5 and 2e-5 * max(1, 0.5) = 2e-5.
    assert ratio([4.0, 1.0], [4.0, 1.0 + 4e-5]) == pytest.approx(0.5, rel=0.01)
    assert ratio([0.5], [0.5 + 1e-5]) == pytest.approx(0.5, rel=0.01)


def test_tolerance_never_exceeds_one_percent_of_the_largest_value():
    assert ratio([1e-4, 0.0], [1e-4, 2e-6]) == pytest.approx(2.0, rel=0.01)
    assert ratio([0.0], [1e-12]) == np.inf


def test_a_variable_of_a_run_has_one_largest_value():
    arrays = {"out/update/0/kl": np.float64(0.0), "out/update/1/kl": np.float64(1e-3)}
    report = compare(make_case(arrays), {**arrays, "out/update/0/kl": 5e-6})
    assert report.outputs.ratio == pytest.approx(0.5)


def test_nan_and_infinities_must_be_at_the_same_places():
    assert ratio([np.nan, -np.inf], [np.nan, -np.inf]) == 0.0
    assert ratio([np.nan, 1.0], [1.0, 1.0]) == np.inf
    assert ratio([1.0, 1.0], [np.nan, 1.0]) == np.inf
    assert ratio([np.inf], [-np.inf]) == np.inf


def test_integers_flags_and_names_must_be_equal():
    arrays = {"out/n": np.array([1, 2]), "out/s": np.array(["a"])}
    assert compare(make_case(arrays), arrays).passed
    assert not compare(make_case(arrays), {**arrays, "out/n": np.array([1, 3])}).passed
    assert not compare(make_case(arrays), {**arrays, "out/s": np.array(["b"])}).passed


def test_missing_arrays_and_other_shapes_are_problems():
    arrays = {"out/y": np.zeros((2, 1), np.float32)}
    assert compare(make_case(arrays), {}).problems == ["missing out/y"]
    assert not compare(make_case(arrays), {"out/y": np.zeros(2)}).passed
    report = compare(make_case(arrays), {}, by_choice=["out/y"])
    assert report.passed
    assert report.left_out == ["out/y"]


def test_gradients_share_the_tolerance_of_the_largest_one():
    arrays = {"grad/a": np.array([10.0]), "grad/b": np.array([0.0])}
    report = compare(make_case(arrays), {**arrays, "grad/b": np.array([5e-4])})
    assert report.gradients.ratio == pytest.approx(0.5)
    assert report.gradients.name == "grad/b"


def test_a_gradient_that_the_reference_lacks_must_be_zero():
    arrays = {"grad/a": np.ones(2)}
    assert compare(make_case(arrays), {**arrays, "grad/b": np.zeros(2)}).passed
    assert not compare(make_case(arrays), {**arrays, "grad/b": np.ones(2)}).passed


def test_digests_stand_for_whole_gradients():
    value = np.linspace(-1.0, 1.0, 30)
    arrays = {"gradsum": summarise_array(value)[None]}
    case = make_case(arrays, gradsum_keys=["w"])
    assert compare(case, {"grad/w": value}).passed
    assert not compare(case, {"grad/w": value * 1.001}).passed
    assert compare(case, {}).problems == ["missing grad/w"]


def test_digest_of_an_array_by_hand():
    row = summarise_array(np.array([3.0, -4.0]))
    np.testing.assert_array_equal(row[:5], [-1.0, 5.0, 4.0, 3.0, -4.0])
    assert np.isnan(row[5:]).all()


def test_seeded_parameters_follow_the_recorded_rule():
    source = {
        "type": "numpy.random.RandomState",
        "seed": 0,
        "scales": {"a": [1.0, 0.5], "b": None},
        "shapes": {"a": [2], "b": [1]},
    }
    values = regenerate(source, {"b": np.array([7.0])})
    # The first two uniform draws of RandomState(0) are 0.5488135 and 0.71518937.
    np.testing.assert_allclose(values["a"], [1.0488135, 1.2151894], rtol=1e-6)
    assert values["b"] == 7.0
    with pytest.raises(ValueError, match=r"param_source\.type"):
        regenerate({**source, "type": "torch"}, {})


def test_a_file_without_meta_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", y=np.zeros(1))
    with pytest.raises(ValueError, match="has no 'meta'"):
        load_case(tmp_path / "x.npz")


def test_files_of_a_case_are_looked_for_beside_it_first(tmp_path):
    case = Case(tmp_path / "c.npz", {"area": "dataset/data"}, {})
    assert case.find("train.npz").parent.name == "data"
    (tmp_path / "train.npz").touch()
    assert case.find("train.npz") == tmp_path / "train.npz"
    with pytest.raises(FileNotFoundError, match=r"other\.npz"):
        case.find("other.npz")
