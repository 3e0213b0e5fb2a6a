"""Choosing a renderer, and pictures of two simulations side by side."""

import os
import sys

import numpy as np
import pytest

from env import rendering
from env.rendering import (
    OffscreenRenderer,
    RenderingError,
    choose_renderer,
    is_rendering_started,
)
from tests.rendering import need_renderer, run_in_its_own_process


@pytest.fixture
def working(monkeypatch):
    """Lets only the named renderers work; returns the list of those that were tried."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    tried = []

    def let_work(*names):
        def fake(name):
            tried.append(name)
            return None if name in names else "no library"

        monkeypatch.setattr(rendering, "_try", fake)
        return tried

    return let_work


def test_egl_is_preferred_and_becomes_the_choice_of_workers(working):
    assert working("egl", "osmesa") == []
    assert choose_renderer() == "egl"
    assert os.environ["MUJOCO_GL"] == "egl"
    assert os.environ["LP_NUM_THREADS"] == "0"


def test_osmesa_is_taken_where_egl_does_not_work(working):
    tried = working("osmesa")
    assert choose_renderer() == "osmesa"
    assert tried == ["egl", "osmesa"]


def test_a_renderer_that_is_set_is_respected(working, monkeypatch):
    tried = working("egl", "glfw")
    monkeypatch.setenv("MUJOCO_GL", "GLFW")
    monkeypatch.setenv("LP_NUM_THREADS", "3")
    assert choose_renderer() == "glfw"
    assert tried == ["glfw"]
    assert os.environ["LP_NUM_THREADS"] == "3"


def test_packages_are_named_where_none_works(working):
    working()
    with pytest.raises(RenderingError, match=r"libegl1 .* or libosmesa6; see"):
        choose_renderer()


def test_a_set_renderer_that_does_not_work_is_not_replaced(working, monkeypatch):
    working("egl")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(RenderingError, match="libosmesa6 or unset MUJOCO_GL"):
        choose_renderer()


def test_a_name_that_is_no_renderer_is_refused(working, monkeypatch):
    working("egl")
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(ValueError, match="one of egl, osmesa, glfw.*got 'vulkan'"):
        choose_renderer()


def test_a_process_forked_after_rendering_is_told_so(monkeypatch):
    monkeypatch.setattr(rendering, "_owner", os.getpid() + 1)
    assert not is_rendering_started()
    with pytest.raises(RenderingError, match="context='forkserver'"):
        rendering._start()


def test_software_is_refused_beside_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    rendering._refuse_beside_tensorflow("NVIDIA H200/PCIe/SSE2")
    with pytest.raises(RenderingError, match="TensorFlow .* env.use_image_obs=True"):
        rendering._refuse_beside_tensorflow("llvmpipe (LLVM 15.0.6, 256 bits)")


@pytest.mark.full
def test_why_a_renderer_does_not_work_is_the_last_line_of_its_error():
    assert rendering._try("vulkan").startswith("RuntimeError: invalid value for")


def simulation(colour):
    import mujoco

    text = f"""<mujoco><worldbody>
      <geom type="sphere" size="0.3" pos="0 0.5 0" rgba="{colour} 1"/>
    </worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = 3.0, 90.0, -90.0
    return model, data, camera


@pytest.fixture
def renderer():
    """Makes a simulation of a coloured ball and its renderer, and closes it."""
    need_renderer()
    made = []

    def make(colour, width=32, height=24):
        model, data, camera = simulation(colour)
        made.append(OffscreenRenderer(model, width, height, camera))
        return made[-1], data

    yield make
    for each in made:
        each.close()


@pytest.mark.full
def test_a_picture_is_upright_bytes(renderer):
    red, data = renderer("1 0 0")
    picture = red.render(data)
    assert picture.shape == (24, 32, 3)
    assert picture.dtype == np.uint8
    rows = np.flatnonzero((picture[:, :, 0] > 100).any(axis=1))
    assert rows.max() < 12  # y = 0.5 is in the upper half


@pytest.mark.full
def test_renderers_keep_to_their_own_simulation(renderer):
    red, red_data = renderer("1 0 0")
    blue, blue_data = renderer("0 0 1", 48, 48)
    first = red.render(red_data)
    assert blue.render(blue_data).max(axis=(0, 1)).argmax() == 2
    np.testing.assert_array_equal(red.render(red_data), first)
    blue.close()
    np.testing.assert_array_equal(red.render(red_data), first)
    assert is_rendering_started()


@pytest.mark.full
def test_a_closed_renderer_refuses_and_may_be_closed_again(renderer):
    red, data = renderer("1 0 0")
    red.close()
    red.close()
    with pytest.raises(RenderingError, match="closed"):
        red.render(data)


@pytest.mark.full
def test_the_models_own_camera_is_the_default(renderer):
    red, data = renderer("1 0 0")
    free = OffscreenRenderer(red._model, 32, 24)
    assert free.render(data).shape == (24, 32, 3)
    assert (free.render(data) != red.render(data)).any()
    rendering._close_all()
    assert free._context is None


@pytest.mark.full
def test_pictures_in_a_process_of_their_own():
    run_in_its_own_process(__file__)
