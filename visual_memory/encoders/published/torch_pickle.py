"""Reads the tensors of a PyTorch file without PyTorch, and nothing but tensors.

  tensors = read("dinov2_vits14_pretrain.pth")    # {name: array}

Two layouts of the same zip archive are understood: what torch.save writes, and
a TorchScript archive (OpenAI's CLIP). In both, data.pkl is a pickle that refers
to raw little-endian storages beside it. A pickle can call any function that it
names; this reader resolves only the handful of names below, to functions of
its own, so a hostile file can do no more than fail.
"""

import os
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

_STORAGES = {
  "FloatStorage": np.dtype(np.float32),
  "HalfStorage": np.dtype(np.float16),
  "BFloat16Storage": np.dtype(jnp.bfloat16),
  "DoubleStorage": np.dtype(np.float64),
  "LongStorage": np.dtype(np.int64),
  "IntStorage": np.dtype(np.int32),
  "BoolStorage": np.dtype(bool),
}


class UnsafeFileError(ValueError):
  """The file asks for something other than tensors and containers of them."""


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Every tensor of a PyTorch file, by its dotted name, in its stored dtype.

  Args:
    path: a file written by torch.save (version 1.6 or later) or by
      torch.jit.save.

  Raises:
    UnsafeFileError: the pickle names code, or a type that is not a tensor.
    ValueError: not such a file, or a truncated or inconsistent one.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      root = _root(archive)
      with archive.open(f"{root}data.pkl") as file:
        tree = _Unpickler(file, archive, root).load()
      return dict(_flatten(tree, ""))
  except OSError:
    raise
  except UnsafeFileError as error:
    raise UnsafeFileError(f"{path}: {error}") from None
  except Exception as error:  # A damaged file can break a parser anywhere.
    raise ValueError(
      f"{path} is no PyTorch file (torch >= 1.6), or is damaged or cut short;"
      f" download it again. ({type(error).__name__}: {error})"
    ) from error


def _root(archive: zipfile.ZipFile) -> str:
  """The archive's own folder: the name is whatever the file was once called."""
  for name in archive.namelist():
    folder, _, rest = name.partition("/")
    if rest == "data.pkl":
      return f"{folder}/"
  raise ValueError("a zip file without data.pkl.")


class _Unpickler(pickle.Unpickler):
  """Resolves names to functions of this module; all others are refused."""

  def __init__(self, file: Any, archive: zipfile.ZipFile, root: str):
    super().__init__(file)
    self._archive = archive
    self._root = root
    byteorder = f"{root}byteorder"
    if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
      raise ValueError("big-endian files are not supported.")

  def find_class(self, module: str, name: str) -> Any:
    """The stand-in for a global of the pickle."""
    if module == "torch" and name in _STORAGES:
      return _STORAGES[name]
    if (module, name) in _GLOBALS:
      return _GLOBALS[module, name]
    if module.split(".")[0] == "__torch__":
      return _Node  # A module of a TorchScript archive.
    raise UnsafeFileError(
      f"the file wants to use {module}.{name}, and only tensors and"
      " containers of tensors are read. Save its state_dict alone."
    )

  def persistent_load(self, pid: Any) -> np.ndarray:
    """The raw storage that a tensor views."""
    kind, dtype, key, _, count = pid
    if kind != "storage" or not isinstance(dtype, np.dtype):
      raise UnsafeFileError(f"unknown kind of reference {kind!r}.")
    raw = self._archive.read(f"{self._root}data/{key}")
    if len(raw) != count * dtype.itemsize:
      raise ValueError(
        f"storage {key} has {len(raw)} bytes instead of"
        f" {count * dtype.itemsize}."
      )
    return np.frombuffer(raw, dtype)


class _Node:
  """A module of a TorchScript archive: its attributes, and no behavior."""

  def __setstate__(self, state: Any):
    self.children = dict(state)


def _tensor(
  storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *_: Any
) -> np.ndarray:
  """A view of a storage, after checking that it stays inside."""
  if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
    raise ValueError("a tensor has no storage, or strides that do not fit.")
  if min((offset, *shape, *strides)) < 0:
    raise ValueError("a tensor has a negative offset, size or stride.")
  steps = zip(shape, strides, strict=True)
  end = offset + sum((size - 1) * stride for size, stride in steps)
  if 0 in shape:
    return np.zeros(shape, storage.dtype)
  if end >= len(storage):
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


def _parameter(data: np.ndarray, *_: Any) -> np.ndarray:
  return data


def _list(values: list) -> list:
  return values


def _ordered_dict(*items: Any) -> dict:
  """A fresh dict; state_dict's _metadata, which follows, has nowhere to go."""
  return _Dict(*items)


class _Dict(dict):
  """A dict that forgets the attributes that a pickle gives it."""

  def __setstate__(self, state: Any):
    del state


_GLOBALS = {
  ("collections", "OrderedDict"): _ordered_dict,
  ("torch._utils", "_rebuild_tensor_v2"): _tensor,
  ("torch._utils", "_rebuild_parameter"): _parameter,
  ("torch.jit._pickle", "build_intlist"): _list,
  ("torch.jit._pickle", "build_doublelist"): _list,
  ("torch.jit._pickle", "build_boollist"): _list,
  ("torch.jit._pickle", "build_tensorlist"): _list,
}


def _flatten(node: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
  """The tensors of nested dicts and modules, with dotted names."""
  if isinstance(node, np.ndarray):
    yield name, node
  elif isinstance(node, _Node):
    yield from _flatten(node.children, name)
  elif isinstance(node, dict):
    for key, child in node.items():
      yield from _flatten(child, f"{name}.{key}" if name else str(key))
