"""The int8 copy of rows that lie in the host's memory, made by the host.

It is there before a compiled program could be read from the disk and loaded:
for rows of at most `buffers.LARGE_BYTES`.
"""

import jax
import numpy as np
from jaxtyping import Float

from visual_memory import distributed, parallel
from visual_memory.memory import buffers, coarse
from visual_memory.types import Array

_ROWS = 128
"""Copied at once: what comes in between stays in a cache."""


def int8_copy(embeddings: Float[Array, "N D"]) -> coarse.Coarse:
  """The coarse copy of row-sharded rows that the host can reach."""
  sharding = embeddings.sharding
  shards = buffers.views(embeddings)
  parts = [rows[part] for _, rows in shards for part in parallel.parts(rows)]
  heads = [rows[: coarse.SAMPLE_ROWS] for _, rows in shards]
  scale = coarse.int8_scale(
    max(parallel.run(_largest, parts)),
    np.concatenate(heads)[: coarse.SAMPLE_ROWS],
    np,
  )
  values, residuals = [], []
  for device, rows in shards:
    copies = buffers.Buffer(rows.shape, np.int8, device)
    errors = buffers.Buffer(rows.shape[:1], np.float32, device)

    def copy(part, rows=rows, copies=copies, errors=errors):
      for start in range(part.start, min(part.stop, len(rows)), _ROWS):
        some = slice(start, min(start + _ROWS, part.stop))
        made = coarse.coarsen(rows[some], scale, "int8")
        copies.rows[some], errors.rows[some] = made.values, made.residuals

    parallel.run(copy, parallel.parts(rows))
    values.append(copies.on_device())
    residuals.append(errors.on_device())
  make = jax.make_array_from_single_device_arrays
  return coarse.Coarse(
    values=make(embeddings.shape, sharding, values),
    scale=distributed.replicate(np.asarray(scale), sharding.mesh),
    residuals=make(embeddings.shape[:1], sharding, residuals),
  )


def _largest(rows: np.ndarray) -> np.float32:
  """The largest magnitude of an entry, without copies of them."""
  return max(rows.max(), -rows.min())
