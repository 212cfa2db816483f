"""Files of arrays that are broken, as a source and as a dynamic memory."""

import functools
import io
import pathlib

import fuzzing
import numpy as np

import visual_memory as vm
from visual_memory import files
from visual_memory.dual_memory import dynamic_memory


@functools.cache
def sound(packed: bool) -> bytes:
  """A source of three pictures."""
  buffer = io.BytesIO()
  save = np.savez_compressed if packed else np.savez
  save(
    buffer, images=np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3),
    labels=np.array([0, 1, 0]), ids=np.array(["a", "b", "c"]),
    class_names=np.array(["x", "y"]),
  )  # fmt: skip
  return buffer.getvalue()


def check(seed: int, folder: pathlib.Path) -> str:
  """One file."""
  rng = fuzzing.random_of(seed)
  path = folder / "data.npz"
  if rng.random() < 0.3:
    return memory(path, rng)
  path.write_bytes(fuzzing.mutated(sound(rng.random() < 0.5), rng))
  try:
    found = vm.open_source("npz", path=str(path))
  except ValueError as error:
    return fuzzing.assert_clear(error)
  for row in range(len(found)):
    example = found[row]
    assert example.image.dtype == np.uint8 and example.label < 2
  return "read"


def memory(path: pathlib.Path, rng) -> str:
  """A dynamic memory, of which every array must fit the others."""
  made = dynamic_memory.empty_memory(
    num_classes=2, num_slots=3, dim=4, keep_log=True
  )
  dynamic_memory.save(made, path)
  path.write_bytes(fuzzing.mutated(path.read_bytes(), rng))
  try:
    files.read_arrays(path)
    dynamic_memory.load(path)
  except ValueError as error:
    return fuzzing.assert_clear(error)
  return "read"
