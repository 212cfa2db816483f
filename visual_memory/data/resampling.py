"""Kernels, and bicubic resizing as tf.image.resize computes it, in NumPy.

Nothing here imports JAX: worker processes that only read images stay small.

Float in the middle, float at the end: nothing is rounded, and overshoot
beyond [0, 255] is kept. With antialiasing the kernel widens with the
reduction; without, four pixels are read wherever the sample falls.

Reference: TensorFlow's image/scale_and_translate_op.cc (antialias) and
image/resize_bicubic_op.cc, half-pixel centers (no antialias).
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

TABLE_SIZE = 1024
"""Without antialiasing TensorFlow looks weights up at this resolution."""


def resize_bicubic(
  image: UInt8[np.ndarray, "H W 3"],
  *,
  rows: tuple[int, slice],
  columns: tuple[int, slice],
  antialias: bool,
) -> Float32[np.ndarray, "h w 3"]:
  """A window of a resized image; what lies outside it is never computed.

  Args:
    image: any size from 1 x 1.
    rows: the height to resize to, and the rows of the result to return.
    columns: the width to resize to, and the columns to return.
    antialias: widen the kernel when shrinking.
  """
  height, width, _ = image.shape
  down = cubic_weights(height, *rows, antialias=antialias)
  across = cubic_weights(width, *columns, antialias=antialias)
  planes = np.moveaxis(image, -1, 0).astype(np.float32)  # [3, H, W]
  planes = (down @ planes) @ across.T  # [3, h, w]
  return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def cubic_weights(
  size_in: int, size_out: int, window: slice, *, antialias: bool
) -> Float32[np.ndarray, "window size_in"]:
  """What each input sample contributes to each output sample; rows sum to 1.

  Keys' kernel (a = -0.5) at half-pixel centers. Samples outside the image
  have no weight, and the rest is normalized again.

  Args:
    size_in: input samples.
    size_out: output samples of the whole line.
    window: those whose weights are wanted.
    antialias: widen the kernel when shrinking.
  """
  scale = np.float32(size_in) / np.float32(size_out)
  # In units of input samples, whose centers lie at 0, 1, 2, ...
  out = np.arange(size_out, dtype=np.float32)[window]
  center = (out + np.float32(0.5)) * scale - np.float32(0.5)
  if antialias:
    stretch = max(float(scale), 1.0)
  else:
    stretch = 1.0
    whole = np.floor(center)
    center = whole + np.rint((center - whole) * TABLE_SIZE) / TABLE_SIZE
  distance = np.arange(size_in) - center[:, None].astype(np.float64)
  weights = keys_kernel(distance / stretch)
  weights /= weights.sum(axis=1, keepdims=True)
  return weights.astype(np.float32)


def pillow_weights(
  size_in: int, size_out: int, window: slice, *, interpolation: str
) -> tuple[Int32[np.ndarray, "window"], Int32[np.ndarray, "window K"]]:
  """The whole numbers by which Pillow resizes a line of samples of 8 bits.

  A sample of the result is the sum of K samples times their weights, divided by
  2**22, rounded and clipped.

  Args:
    size_in: input samples.
    size_out: output samples of the whole line.
    window: those whose weights are wanted.
    interpolation: a key of PILLOW_KERNELS.

  Returns:
    The first input sample of each, and the weights from there on; zero beyond
    the line's end.

  Reference: libImaging/Resample.c, precompute_coeffs and
  normalize_coeffs_8bpc.
  """
  kernel, support = PILLOW_KERNELS[interpolation]
  scale = size_in / size_out
  stretch = max(scale, 1.0)
  support *= stretch
  center = (np.arange(size_out, dtype=np.float64)[window] + 0.5) * scale
  first = np.maximum((center - support + 0.5).astype(np.int64), 0)
  end = np.minimum((center + support + 0.5).astype(np.int64), size_in)
  at = first[:, None] + np.arange(2 * math.ceil(support) + 1)
  weights = kernel((at - center[:, None] + 0.5) * (1 / stretch))
  weights = np.where(at < end[:, None], weights, 0.0)
  weights /= np.cumsum(weights, axis=1)[:, -1:]  # One by one, as Pillow sums.
  whole = np.trunc(weights * (1 << 22) + np.where(weights < 0, -0.5, 0.5))
  return first.astype(np.int32), whole.astype(np.int32)


def keys_kernel(x: Float[Any, "..."], a: float = -0.5) -> Float[Any, "..."]:
  """Cubic convolution with free parameter a; zero from a distance of 2 on.

  Pillow, TensorFlow, and torch with antialiasing have a = -0.5; torch without
  has -0.75. (Keys 1981, equations 9 and 15.)

  Args:
    x: distances, of NumPy or JAX.
    a: the slope at a distance of 1.
  """
  where, x = x.__array_namespace__().where, abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
  return where(x < 1, near, where(x < 2, far, 0.0))


def triangle_kernel(x: Float[Any, "..."]) -> Float[Any, "..."]:
  """Linear interpolation: 1 at a distance of 0, zero from 1 on."""
  return x.__array_namespace__().maximum(1 - abs(x), 0.0)


PILLOW_KERNELS = {
  "bicubic": (keys_kernel, 2.0),
  "bilinear": (triangle_kernel, 1.0),
}
"""Kernels by Pillow's names, and how far they reach."""
