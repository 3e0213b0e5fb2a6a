"""Parts of networks that look at images."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from util.torch_to_tf import (
    nn_Dropout,
    nn_LayerNorm,
    nn_Linear,
    nn_Module,
    nn_Parameter,
    nn_ReLU,
    nn_Sequential,
)
from util.torch_to_tf.init import generator, normal


class SpatialEmb(nn_Module):
    """Compresses features of image patches with learned weights (Hu et al., 2023).

    z = sum_e weight_e * ReLU(LayerNorm(Linear([patches_e, prop]))), where patches_e are
    feature e of all patches.

    Args:
        num_patch: Patches P.
        patch_dim: Features of a patch.
        prop_dim: Width of what else is known; 0 leaves it out.
        proj_dim: Width of the result.
        dropout: Probability with which an entry of the result is dropped.
    """

    def __init__(
        self,
        num_patch: int,
        patch_dim: int,
        prop_dim: int,
        proj_dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.prop_dim = prop_dim
        self.weight = nn_Parameter(normal((1, patch_dim, proj_dim)))
        self.input_proj = nn_Sequential(
            nn_Linear(num_patch + prop_dim, proj_dim), nn_LayerNorm(proj_dim), nn_ReLU()
        )
        self.dropout = nn_Dropout(dropout)

    def call(self, feat: tf.Tensor, prop: tf.Tensor) -> tf.Tensor:
        """Features (B, proj_dim).

        Args:
            feat: Of all patches, (B, P, patch_dim).
            prop: What else is known, (B, prop_dim).
        """
        rows = tf.transpose(feat, [0, 2, 1])
        if self.prop_dim > 0:
            known = tf.repeat(prop[:, None], rows.shape[1], axis=1)
            rows = tf.concat([rows, known], axis=-1)
        weighted = tf.convert_to_tensor(self.weight) * self.input_proj(rows)
        return self.dropout(tf.reduce_sum(weighted, axis=1))


class RandomShiftsAug(nn_Module):
    """Shifts images at random by up to `pad` pixels (Yarats et al., 2021, DrQ-v2).

    Pixels that come in from outside repeat the nearest one inside. A shift by whole
    pixels is a choice of rows and columns, so values stay exact and may be bytes; the
    reference interpolates, which rounds them.

    Args:
        pad: Largest shift.
        rng: Source of shifts; by default a generator of its own.
    """

    def __init__(self, pad: int, rng: tf.random.Generator | None = None) -> None:
        super().__init__()
        if pad < 0:
            raise ValueError(f"pad must be >= 0, got {pad}.")
        self.pad = pad
        self.generator = rng or tf.random.Generator.from_seed(
            int(generator().integers(2**31))
        )

    def call(self, x: tf.Tensor, shifts: tf.Tensor | None = None) -> tf.Tensor:
        """Shifted images; type and shape (B, C, H, W) stay.

        Args:
            x: Images.
            shifts: For each image how far to go along x and along y, whole numbers in
                0..2 pad (pad is no shift), (B, 2) or any shape of as many; drawn if
                None.
        """
        if shifts is None:
            shifts = self.generator.uniform(
                [tf.shape(x)[0], 2], maxval=2 * self.pad + 1, dtype=tf.int32
            )
        return shift_images(x, tf.reshape(shifts, [-1, 2]), self.pad)


def shift_images(x: tf.Tensor, shifts: tf.Tensor, pad: int) -> tf.Tensor:
    """Shifted images, see `RandomShiftsAug`.

    Args:
        x: Images (B, C, H, W).
        shifts: Along x and along y, whole numbers in 0..2 pad, (B, 2).
        pad: Largest shift; one of as much is none.
    """
    shifts = tf.cast(shifts, tf.int32) - pad
    for axis, shift in ((2, shifts[:, 1]), (3, shifts[:, 0])):
        last = x.shape[axis] - 1
        places = np.arange(last + 1, dtype=np.int32) + shift[:, None]
        places = tf.clip_by_value(places, 0, last)
        x = tf.gather(x, places, axis=axis, batch_dims=1)
    return x
