"""Whether something fits on the devices, asked before it is allocated."""

from typing import Any

from jax.sharding import Mesh

from visual_memory.memory.row_table import ROW_BYTES

_COARSE_BYTES = {"float32": 0, "bfloat16": 2, "int8": 1}


def row_bytes(
  num_slots: int, dim: int, precision: str, *, whitened: bool = False
) -> int:
  """The bytes of this many slots: embedding, label, serial, coarse copy.

  A coarse copy has a float32 residual for every row beside its values. Whitened
  rows lie beside what they were made of.
  """
  coarse = _COARSE_BYTES[precision] * dim
  embedding = 4 * dim * (2 if whitened else 1)
  return num_slots * (embedding + 8 + (coarse + 4 if coarse else 0))


def host_bytes(num_slots: int) -> int:
  """What each process's table of ids takes, for ids of at most 15 bytes."""
  return num_slots * ROW_BYTES


def item_bytes(precision: str) -> int:
  """The bytes of one entry in the first pass of a search."""
  return _COARSE_BYTES[precision] or 4


def check_rows(
  capacity: int,
  dim: int,
  precision: str,
  mesh: Mesh,
  *,
  whitened: bool = False,
) -> None:
  """Raises MemoryError if so many slots do not fit on the mesh."""
  check(
    row_bytes(capacity // mesh.size, dim, precision, whitened=whitened),
    mesh,
    f"A memory of {capacity:,} slots of {dim} dimensions ({precision} first"
    f" pass), over {mesh.size} devices,",
    "use more devices, or keep the rows on disk (retrieval/streaming.py);"
    " `python -m experiments.plan` tells what would do",
  )


def check(needed: int, mesh: Mesh, what: str, remedy: str) -> None:
  """Raises MemoryError if a device of this process has too little room.

  Args:
    needed: bytes on each device.
    mesh: the devices.
    what: needs them.
    remedy: what to do if it does not fit.
  """
  for device in mesh.local_devices:
    free = free_bytes(device)
    if free is not None and device.platform == "cpu":
      free //= len(mesh.local_devices)  # They share the host's memory.
    if free is not None and needed > free:
      raise MemoryError(
        f"{what} needs {needed / 1e9:,.2f} GB on each device, but {device} has"
        f" {free / 1e9:,.2f} GB free: {remedy}."
      )


def free_bytes(device: Any) -> int | None:
  """The bytes that a jax.Device has free; None where nothing tells.

  For a CPU, those that the host has for all of its devices together.
  """
  stats = device.memory_stats()
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
  if device.platform != "cpu":
    return None
  try:
    with open("/proc/meminfo") as file:
      line = next(line for line in file if line.startswith("MemAvailable"))
  except (OSError, StopIteration):
    return None
  return int(line.split()[1]) * 1024
