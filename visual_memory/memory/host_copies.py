"""The int8 copy of rows that lie in the host's memory, by compiled code.

It is there before a program of XLA could be read from the disk and loaded.
"""

import jax
import numpy as np
from jaxtyping import Float

from visual_memory import distributed, parallel
from visual_memory.memory import buffers, coarse
from visual_memory.native import library
from visual_memory.types import Array


def int8_copy(embeddings: Float[Array, "N D"]) -> coarse.Coarse | None:
  """The coarse copy of row-sharded rows; None if the host cannot make it."""
  if library.functions() is None or not buffers.reachable(embeddings):
    return None
  sharding = embeddings.sharding
  shards = buffers.views(embeddings)
  parts = [rows[part] for _, rows in shards for part in parallel.parts(rows)]
  heads = [rows[: coarse.SAMPLE_ROWS] for _, rows in shards]
  sample = np.concatenate(heads)[: coarse.SAMPLE_ROWS]
  made = np.empty(sample.shape, np.int8), np.empty(len(sample), np.float32)

  def mean_error(scale: np.float32) -> np.float32:
    _copy(sample, scale, *made)
    return made[1].mean()

  scale = coarse.int8_scale(max(parallel.run(_largest, parts)), mean_error, np)
  values, residuals = [], []
  for device, rows in shards:
    copies = buffers.Buffer(rows.shape, np.int8, device)
    errors = buffers.Buffer(rows.shape[:1], np.float32, device)

    def copy(part, rows=rows, copies=copies, errors=errors):
      _copy(rows[part], scale, copies.rows[part], errors.rows[part])
      errors.rows[part] *= coarse.ROUND_UP

    parallel.run(copy, parallel.parts(rows))
    values.append(copies.on_device())
    residuals.append(errors.on_device())
  make = jax.make_array_from_single_device_arrays
  return coarse.Coarse(
    values=make(embeddings.shape, sharding, values),
    scale=distributed.replicate(np.asarray(scale), sharding.mesh),
    residuals=make(embeddings.shape[:1], sharding, residuals),
  )


def _copy(rows, scale, values, lengths):
  """Fills in the int8 values of rows, and the lengths of their errors."""
  library.functions().int8_copy(
    rows.ctypes.data, *rows.shape, scale, values.ctypes.data,
    lengths.ctypes.data,
  )  # fmt: skip


def _largest(rows: np.ndarray) -> np.float32:
  """The largest magnitude of an entry, without copies of them."""
  return max(rows.max(), -rows.min())
