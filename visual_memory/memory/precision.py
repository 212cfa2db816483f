"""Which first pass of a search a memory is laid out for.

"auto" is what the devices do fast, and never slower than "float32": it decides
what lies beside the rows, not what is found.
"""

import jax
from jax.sharding import Mesh

from visual_memory.memory import room
from visual_memory.memory.coarse import LARGEST_INT8_DIM, PRECISIONS
from visual_memory.native import library

CHOICES = ("auto", *PRECISIONS)

_CACHED_BYTES = 1 << 25
"""Rows of fewer bytes are read from a cache, as fast as their copies."""
VNNI_ROWS = 300_000
"""From here, XLA's int8 search is the faster one with AVX-512 VNNI (a Xeon's
two cores, D = 384, 512 queries: 327,680 rows 0.31 s either way)."""


def choose(
  precision: str,
  *,
  capacity: int,
  dim: int,
  mesh: Mesh,
  whitened: bool = False,
) -> str:
  """The precision that "auto" stands for; others are what they say.

  On a GPU or TPU bfloat16, whose products are many times as fast as float32's.
  On CPUs int8 copies, a fourth of the bytes: compiled code (native/) reads them
  for single queries, XLA for batches where AVX-512 VNNI is there. Nothing
  for rows that fit into a cache, for CPUs of several processes (which must
  agree, whatever each has), and where the copy does not fit beside the rows.

  Args:
    precision: "auto", or one of coarse.PRECISIONS.
    capacity: slots.
    dim: D.
    mesh: the devices.
    whitened: whether the rows before whitening lie beside them.

  Raises:
    ValueError: none of these.
    MemoryError: the slots do not fit on the devices.
  """
  if precision not in CHOICES:
    raise ValueError(f"precision = {precision!r}: choose one of {CHOICES}.")
  chosen = fast(capacity, dim, mesh) if precision == "auto" else precision
  try:
    room.check_rows(capacity, dim, chosen, mesh, whitened=whitened)
  except MemoryError:
    if chosen == "float32" or precision != "auto":
      raise
    chosen = "float32"
    room.check_rows(capacity, dim, chosen, mesh, whitened=whitened)
  return chosen


def fast(capacity: int, dim: int, mesh: Mesh) -> str:
  """What is fast, whether or not there is room for it."""
  if 4 * capacity * dim < _CACHED_BYTES:
    return "float32"
  if mesh.devices.flat[0].platform != "cpu":
    return "bfloat16"
  if jax.process_count() > 1 or dim > LARGEST_INT8_DIM:
    return "float32"
  vnni = "avx512_vnni" in library.instructions() and capacity >= VNNI_ROWS
  return "int8" if vnni or library.functions() is not None else "float32"
