"""Pictures of a MuJoCo simulation without a screen.

The reference has no such file: it sets `MUJOCO_GL=egl` for its image tasks. Which
renderer a machine has is found out here, in one place, for all environments that
show images. They belong into processes of their own (`make_async` sees to that): what
is forked from a process that rendered hangs, and Mesa's software renderer crashes
beside TensorFlow.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # MuJoCo reads MUJOCO_GL when it is imported, so not before
    import mujoco

PACKAGES = {
    "egl": "libegl1 and libgl1-mesa-dri (or the driver of a GPU)",
    "osmesa": "libosmesa6",
    "glfw": "libglfw3, and a display",
}
"""Renderer -> Debian packages that it needs."""

_AUTOMATIC = ("egl", "osmesa")  # those that need no display, the better one first
_PROBE_SECONDS = 60.0
_PROBE = """
import importlib, sys, mujoco
context = importlib.import_module(f"mujoco.{sys.argv[1]}").GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 50).free()
context.free()
"""

_owner: int | None = None  # process in which OpenGL was started
_open: weakref.WeakSet[OffscreenRenderer] = weakref.WeakSet()


class RenderingError(RuntimeError):
    """No renderer works; says which packages are missing."""


def choose_renderer() -> str:
    """Sets `MUJOCO_GL` to a renderer that works, and returns it.

    Takes the one that `MUJOCO_GL` names already, else EGL, else OSMesa. Call this in
    the process from which workers are started: trying one takes half a second, and
    the choice is inherited.

    Raises:
        RenderingError: None works.
        ValueError: `MUJOCO_GL` names no renderer.
    """
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    if asked and asked not in PACKAGES:
        raise ValueError(
            f"MUJOCO_GL must be one of {', '.join(PACKAGES)} or unset, got {asked!r}."
        )
    reasons = {}
    for name in (asked,) if asked else _AUTOMATIC:
        reason = _try(name)
        if reason is None:
            os.environ["MUJOCO_GL"] = name
            # Mesa in software starts threads for each picture, which here are too
            # small for that: ten environments take 0.6 ms a picture instead of 6.
            os.environ.setdefault("LP_NUM_THREADS", "0")
            # PyOpenGL tells everybody that it has no compiled part, which nobody needs.
            logging.getLogger("OpenGL.acceleratesupport").setLevel(logging.WARNING)
            return name
        reasons[name] = reason
    tried = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    wanted = " or ".join(PACKAGES[name] for name in reasons)
    hint = " or unset MUJOCO_GL" if asked else ""
    raise RenderingError(
        f"images cannot be rendered ({tried}). Install the Debian packages {wanted}"
        f"{hint}; see installation/install_mujoco.md."
    )


@functools.cache
def _try(name: str) -> str | None:
    """Why a renderer does not work, or None.

    Asked in a process of its own: a library that fails to load stays half loaded, and
    OpenGL must not have been started before workers are forked.
    """
    surroundings = {k: v for k, v in os.environ.items() if k != "PYOPENGL_PLATFORM"}
    try:
        subprocess.run(
            [sys.executable, "-c", _PROBE, name],
            env=surroundings | {"MUJOCO_GL": name},
            check=True,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        return (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[
            -1
        ]
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_SECONDS:g} s"
    return None


def is_rendering_started() -> bool:
    """Whether this process has used OpenGL; what is forked from it cannot."""
    return _owner == os.getpid()


class OffscreenRenderer:
    """Renders a simulation into arrays, with an OpenGL context of its own.

    Args:
        model: What is shown; its `vis.quality` decides on shadows and samples.
        width: Of pictures, in pixels.
        height: Of pictures.
        camera: From where; the model's free camera if None.

    Raises:
        RenderingError: There is no renderer, or this process cannot use it: it was
            forked from one that rendered, or TensorFlow is loaded and there is no GPU.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        width: int,
        height: int,
        camera: mujoco.MjvCamera | None = None,
    ) -> None:
        context_class = _start()
        import mujoco

        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        self._model, self._shape = model, (height, width, 3)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._options, self._scene = mujoco.MjvOption(), mujoco.MjvScene(model, 1000)
        self._camera = camera or mujoco.MjvCamera()
        if camera is None:
            mujoco.mjv_defaultFreeCamera(model, self._camera)
        self._context: Any = context_class(width, height)
        self._context.make_current()
        self._drawing: Any = mujoco.MjrContext(
            model, mujoco.mjtFontScale.mjFONTSCALE_50.value
        )
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        _open.add(self)

    def render(self, data: mujoco.MjData) -> np.ndarray:
        """Returns a new picture, upright, (H, W, 3) uint8.

        Args:
            data: The simulation, with positions computed (`mj_forward`).
        """
        import mujoco

        if self._context is None:
            raise RenderingError("the renderer is closed.")
        self._context.make_current()  # another environment's may be current
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        mujoco.mjr_render(self._viewport, self._scene, self._drawing)
        picture = np.empty(self._shape, np.uint8)
        mujoco.mjr_readPixels(picture, None, self._viewport, self._drawing)
        return np.ascontiguousarray(picture[::-1])  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Frees the context; does nothing the second time."""
        context, self._context = self._context, None
        if context is not None and is_rendering_started():
            context.make_current()
            self._drawing.free()
            context.free()
        _open.discard(self)


def _start() -> Any:
    """The class of OpenGL contexts of the chosen renderer.

    Raises:
        RenderingError: See `OffscreenRenderer`.
    """
    global _owner
    if _owner not in (None, os.getpid()):
        raise RenderingError(
            "OpenGL was started in the process from which this one was forked, and "
            f"would hang here. {_APART}"
        )
    name = choose_renderer()
    module = __import__(f"mujoco.{name}", fromlist=["GLContext"])
    if _owner is None:
        context = module.GLContext(8, 8)
        context.make_current()
        _refuse_beside_tensorflow(_name_of_device())
        context.free()
        # Contexts must be freed before the renderer's own exit handler ends OpenGL.
        # That one is set by the first context, so this one follows it.
        atexit.register(_close_all)
        _owner = os.getpid()
    return module.GLContext


_APART = (
    "Images are rendered in worker processes of their own with env.use_image_obs=True, "
    "or AsyncVectorEnv(..., context='forkserver')."
)


def _name_of_device() -> str:
    """What the current OpenGL context draws with."""
    from OpenGL import GL

    return bytes(GL.glGetString(GL.GL_RENDERER)).decode()


def _refuse_beside_tensorflow(device: str) -> None:
    """Refuses what would end the process: two different compilers of one name.

    Mesa in software and TensorFlow each bring LLVM, and TensorFlow's is visible to all.
    """
    if "llvmpipe" in device and "tensorflow" in sys.modules:
        raise RenderingError(
            f"TensorFlow is loaded in this process, and {device} cannot be used beside "
            f"it. {_APART}"
        )


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
