"""PyTorch files whose pickle, storages or archive are broken."""

import functools
import io
import pathlib
import zipfile

import fuzzing
import numpy as np
import torch_files

from visual_memory.encoders.published import torch_pickle

TENSORS = {
  "blocks.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
  "blocks.0.bias": np.arange(3, dtype=np.float16),
  "steps": np.array(7),
}


@functools.cache
def sound(kind: str) -> tuple[bytes, dict[str, bytes]]:
  """A file, and its entries."""
  buffer = io.BytesIO()
  write = {
    "pth": torch_files.write_pth, "script": torch_files.write_torchscript
  }[kind]  # fmt: skip
  write(buffer, TENSORS)
  with zipfile.ZipFile(buffer) as archive:
    entries = {name: archive.read(name) for name in archive.namelist()}
  return buffer.getvalue(), entries


def check(seed: int, folder: pathlib.Path) -> str:
  """One file."""
  rng = fuzzing.random_of(seed)
  data, entries = sound(rng.choice(["pth", "script"]))
  path = folder / "model.pth"
  if rng.random() < 0.3:
    path.write_bytes(fuzzing.mutated(data, rng))
  else:
    pickled = "archive/data.pkl"
    name = pickled if rng.random() < 0.8 else rng.choice(list(entries))
    entries = entries | {name: fuzzing.mutated(entries[name], rng)}
    with zipfile.ZipFile(path, "w") as archive:
      for name, content in entries.items():
        archive.writestr(name, content)
  try:
    found = torch_pickle.read(path)
  except ValueError as error:
    return fuzzing.assert_clear(error)
  for name, value in found.items():
    assert isinstance(name, str) and isinstance(value, np.ndarray)
    assert value.nbytes < 1 << 20
    value.tobytes()  # A view that left its storage would read anything.
  return "read"
