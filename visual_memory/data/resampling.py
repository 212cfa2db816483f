"""Bicubic resizing as tf.image.resize computes it, in NumPy.

Float in the middle, float at the end: nothing is rounded, and overshoot
beyond [0, 255] is kept. With antialiasing the kernel widens with the
reduction; without, four pixels are read wherever the sample falls.

Reference: TensorFlow's image/scale_and_translate_op.cc (antialias) and
image/resize_bicubic_op.cc, half-pixel centers (no antialias).
"""

import numpy as np
from jaxtyping import Float, Float32, UInt8

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


def keys_kernel(distance: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
  """Cubic convolution with a = -0.5 (Keys 1981, equation 15)."""
  x = np.abs(distance)
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return np.where(x < 1, near, np.where(x < 2, far, 0.0))
