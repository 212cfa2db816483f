"""Reads the tensors of a PyTorch file without PyTorch, and nothing but tensors.

  tensors = read("dinov2_vits14_pretrain.pth")    # {name: array}

Two layouts of the same zip archive are understood: what torch.save writes, and
a TorchScript archive (OpenAI's CLIP). In both, data.pkl is a pickle that refers
to raw little-endian storages beside it. A pickle can call any function that it
names; this reader resolves only the handful of names below, to stand-ins of
its own, so a hostile file can do no more than fail. What it may cost is bound
by the file's size: storages lie uncompressed and are read once, and a value
that is reached in many ways is not followed for ever.
"""

import math
import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from visual_memory import files
from visual_memory.encoders.published import inert_pickle
from visual_memory.encoders.published.inert_pickle import (
  Function,
  UnsafeFileError,
  checked_key,
)

__all__ = ["UnsafeFileError", "read"]

_LEAST_WORK = 1 << 20
"""Bytes and characters that a small file may take."""

_SHOWN = 300
"""Characters of what a file says that an error repeats."""

_MOST_AXES = 32

_STORAGES = {
  "FloatStorage": np.dtype(np.float32),
  "HalfStorage": np.dtype(np.float16),
  "BFloat16Storage": np.dtype(jnp.bfloat16),
  "DoubleStorage": np.dtype(np.float64),
  "LongStorage": np.dtype(np.int64),
  "IntStorage": np.dtype(np.int32),
  "BoolStorage": np.dtype(bool),
}


_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How a file begins that torch wrote before version 1.6."""


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Every tensor of a PyTorch file, by its dotted name, in its stored dtype.

  Args:
    path: a file written by torch.save (version 1.6 or later) or by
      torch.jit.save.

  Raises:
    UnsafeFileError: the pickle names code, or a type that is not a tensor.
    ValueError: not such a file, or a truncated or inconsistent one.
  """
  with open(path, "rb") as file:  # What fails from here on is the content.
    if file.read(len(_LEGACY)) == _LEGACY:
      raise ValueError(
        f"{path} is of torch before 1.6 and not read here. Convert it with"
        f" torch.save(torch.load({str(path)!r}, map_location='cpu'), NEW_PATH)."
      )
    try:
      return _tensors(file)
    except UnsafeFileError as error:
      raise UnsafeFileError(f"{path}: {str(error)[:_SHOWN]}") from None
    except Exception as error:  # A damaged file can break a parser anywhere.
      raise ValueError(
        f"{path} is no PyTorch file (torch >= 1.6), or is damaged or cut short;"
        f" download it again. ({files.reason(error)})"
      ) from error


def _tensors(file: BinaryIO) -> dict[str, np.ndarray]:
  size = os.fstat(file.fileno()).st_size
  with zipfile.ZipFile(file) as archive:
    content = _File(archive, max(size, _LEAST_WORK))
    tree = inert_pickle.load(
      content.entry("data.pkl"), resolve=_resolve, refer=content.storage
    )
    tensors = {}
    for name, value in _flatten(tree, "", content.work):
      if name in tensors:
        raise ValueError(f"it has two tensors of the name {name}.")
      tensors[name] = value
    return tensors


def _root(archive: zipfile.ZipFile) -> str:
  """The archive's own folder: the name is whatever the file was once called."""
  for name in archive.namelist():
    folder, _, rest = name.partition("/")
    if rest == "data.pkl":
      return f"{folder}/"
  raise ValueError("a zip file without data.pkl.")


class _Work:
  """What reading may still take."""

  def __init__(self, left: int):
    self._left = left

  def spend(self, amount: int) -> None:
    """Counts bytes or characters.

    Raises:
      ValueError: more than the file's size accounts for.
    """
    self._left -= amount
    if self._left < 0:
      raise ValueError("it unpacks to more than its size accounts for.")


class _File:
  """The entries of the archive, each of which is read once."""

  def __init__(self, archive: zipfile.ZipFile, size: int):
    self._archive = archive
    self._root = _root(archive)
    self._storages: dict[str, np.ndarray] = {}
    self._reads = _Work(size)
    self.work = _Work(size)
    names = archive.namelist()
    if f"{self._root}byteorder" in names and (
      self.entry("byteorder") != b"little"
    ):
      raise ValueError("big-endian files are not supported.")

  def entry(self, name: str) -> bytes:
    """The content of one entry."""
    info = self._archive.getinfo(self._root + name)
    if info.compress_type != zipfile.ZIP_STORED:
      raise ValueError(f"{name} is compressed, which PyTorch never does.")
    self._reads.spend(info.file_size)
    return self._archive.read(info)

  def storage(self, reference: Any) -> np.ndarray:
    """The raw storage that tensors view."""
    kind, dtype, key, _, count = reference
    if kind != "storage" or not isinstance(dtype, np.dtype):
      raise UnsafeFileError("a reference to something that is no storage.")
    key = checked_key(key)
    if key not in self._storages:
      self._storages[key] = self.entry(f"data/{key}")
    raw = self._storages[key]
    if len(raw) != count * dtype.itemsize:
      raise ValueError(
        f"storage {key} has {len(raw)} bytes instead of"
        f" {count * dtype.itemsize}."
      )
    return np.frombuffer(raw, dtype)


def _resolve(module: str, name: str) -> Any:
  """The stand-in for a global of the pickle."""
  if module == "torch" and name in _STORAGES:
    return _STORAGES[name]
  if (module, name) in _GLOBALS:
    return _GLOBALS[module, name]
  if module.split(".")[0] == "__torch__":
    return Function(_Node)  # A module of a TorchScript archive.
  raise UnsafeFileError(
    f"the file wants to use {module}.{name}, and only tensors and"
    " containers of tensors are read. Save its state_dict alone."
  )


class _Node:
  """A module of a TorchScript archive: its attributes, and no behavior."""

  __slots__ = ("children",)

  def __init__(self):
    self.children: dict[str, Any] = {}

  def take_state(self, state: Any) -> None:
    """Keeps the attributes, once."""
    if type(state) is not dict or self.children:
      raise UnsafeFileError("a module's state is no dict.")
    self.children = state


def _tensor(
  storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any
) -> np.ndarray:
  """A view of a storage, after checking that it stays inside."""
  if len(shape) > _MOST_AXES:
    raise ValueError(f"a tensor of {len(shape)} axes.")
  if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
    raise ValueError("a tensor has no storage, or strides that do not fit.")
  if min((offset, *shape, *strides)) < 0:
    raise ValueError("a tensor has a negative offset, size or stride.")
  steps = zip(shape, strides, strict=True)
  end = offset + sum((size - 1) * stride for size, stride in steps)
  if 0 in shape:
    return np.zeros(shape, storage.dtype)
  if end >= len(storage) or math.prod(shape) > len(storage):
    raise ValueError(
      f"a tensor of shape {shape} reaches beyond its storage of"
      f" {len(storage)} values."
    )
  return np.lib.stride_tricks.as_strided(
    storage[offset:],
    shape,
    [stride * storage.itemsize for stride in strides],
    writeable=False,
  )


class _Dict(dict):
  """A dict that forgets the attributes that a pickle gives it.

  A state_dict's _metadata, which follows it, has nowhere to go.
  """

  __slots__ = ()

  def take_state(self, state: Any) -> None:
    """Nothing."""
    del state


def _ordered_dict(items: Any = ()) -> _Dict:
  """A fresh dict; protocols before 2 give its items as one list of pairs."""
  if len(items):
    raise UnsafeFileError("a dict of a layout before PyTorch 1.6.")
  return _Dict()


def _same(value: Any, *_: Any) -> Any:
  """The first argument: a parameter's tensor, a list's values."""
  return value


_GLOBALS = {
  ("collections", "OrderedDict"): Function(_ordered_dict),
  ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
  ("torch._utils", "_rebuild_parameter"): Function(_same),
  ("torch.jit._pickle", "build_intlist"): Function(_same),
  ("torch.jit._pickle", "build_doublelist"): Function(_same),
  ("torch.jit._pickle", "build_boollist"): Function(_same),
  ("torch.jit._pickle", "build_tensorlist"): Function(_same),
}


def _flatten(
  node: Any, name: str, work: _Work
) -> Iterator[tuple[str, np.ndarray]]:
  """The tensors of nested dicts and modules, with dotted names."""
  work.spend(1 + len(name))
  if isinstance(node, np.ndarray):
    yield name, node
  elif isinstance(node, _Node):
    yield from _flatten(node.children, name, work)
  elif isinstance(node, dict):
    for key, child in node.items():
      yield from _flatten(child, f"{name}.{key}" if name else str(key), work)
