"""Memory of a device's rows, which the host fills.

buffer = Buffer((rows, dim), np.float32, device)    # zeros
buffer.rows[some] = ...                              # by many threads at once
array = buffer.on_device()                           # never write to it again

A CPU's device can take the host's own memory as it is, but would copy all of it
in the first edit that is to reuse it. What is large lies in the device's own
memory from the beginning, where the host can reach it.

Copies are the host's own memory all the same: NumPy asks the system for huge
pages, JAX does not, and in pages of 4 KB new memory costs more than the copy.
"""

import ctypes
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from visual_memory import parallel

LARGE_BYTES = 1 << 28
"""Less is copied in a moment."""
_ALIGNMENT = 64
"""What the CPU's devices want of a host buffer to take it as it is."""


class Buffer:
  """Zeros to be filled, then an array of one device.

  Attributes:
    rows: what to fill.
  """

  def __init__(
    self, shape: tuple[int, ...], dtype: np.dtype | type, device: jax.Device
  ):
    """Memory for these rows; of a GPU or TPU, the host's for the time being."""
    self._device = device
    self._array = None
    size = np.dtype(dtype).itemsize * math.prod(shape)
    own = device.platform == "cpu" and size > LARGE_BYTES
    self.rows = _rows(np.zeros, shape, dtype, beside=own)
    if own:  # Not aligned: the device copies it, without a compiled program.
      self._array = jax.device_put(self.rows, device)
      self.rows = view(self._array)

  def on_device(self) -> jax.Array:
    """The rows as an array of the device."""
    if self._array is not None:
      return self._array
    return jax.device_put(self.rows, self._device)


def view(array: jax.Array) -> np.ndarray:
  """The memory of an array of one CPU device: for as long as that is kept."""
  address = jax.block_until_ready(array).unsafe_buffer_pointer()
  held = (ctypes.c_char * array.nbytes).from_address(address)
  return np.frombuffer(held, array.dtype).reshape(array.shape)


def views(array: jax.Array) -> list[tuple[jax.Device, np.ndarray]]:
  """Each CPU device and the memory of its shard, in order of rows."""
  shards = sorted(array.addressable_shards, key=lambda x: x.index[0].start or 0)
  return [(shard.device, view(shard.data)) for shard in shards]


def copied(
  array: jax.Array,
  change: Callable[[np.ndarray, int], None] = lambda rows, start: None,
) -> jax.Array:
  """A copy of a row-sharded array that the host can reach, changed in passing.

  Args:
    array: of any number of axes; a scalar is copied as it is.
    change: of a device's new rows, and the position of their first one.
  """
  if not array.ndim:
    return jnp.copy(array)
  start, parts = 0, []
  for device, old in views(array):
    new = _rows(np.empty, old.shape, old.dtype)

    def copy(part, old=old, new=new):
      np.copyto(new[part], old[part])

    parallel.run(copy, parallel.parts(old, copied=True))
    change(new, start)
    start += len(new)
    parts.append(jax.device_put(new, device))
  return jax.make_array_from_single_device_arrays(
    array.shape, array.sharding, parts
  )


def _rows(make, shape, dtype, *, beside: bool = False) -> np.ndarray:
  """NumPy's memory, aligned as a CPU's devices want it, or `beside` that."""
  item = np.dtype(dtype).itemsize
  size = item * math.prod(shape)
  raw = make(size + 2 * _ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % _ALIGNMENT + beside * item
  return raw[start : start + size].view(dtype).reshape(shape)


def reachable(array: jax.Array) -> bool:
  """Whether all of an array lies where the host can reach it."""
  return array.is_fully_addressable and all(
    device.platform == "cpu" for device in array.sharding.device_set
  )
