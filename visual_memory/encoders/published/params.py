"""The tensors of a checkpoint, whatever file they come in; their fingerprint.

  tensors = read("dinov2_vits14_pretrain.pth")
  loaded = load_tower("ViT-B-32.pt", template=vit.shapes(config), namings=...)

Understood are the authors' .pth files, OpenAI's TorchScript .pt archives,
Hugging Face's and open_clip's files (one, a directory or a hub id; whole or in
shards) and directories that `checkpoints.save` wrote. PyTorch is not needed.
"""

import hashlib
import os
import pathlib
from typing import Any

import jax
import numpy as np

from visual_memory import checkpoints
from visual_memory.checks import shown
from visual_memory.encoders.published import torch_pickle
from visual_memory.encoders.published.convert import (
  Converted,
  DoesNotFitError,
  convert,
)
from visual_memory.encoders.published.naming import Naming
from visual_memory.encoders.published.places import Place, extra, find_place

_WRAPPERS = ("teacher.", "state_dict.", "model.")
"""Keys under which training scripts save weights, the wanted first."""


def load_tower(
  weights: str | os.PathLike | Place,
  *,
  template: Any,
  namings: tuple[Naming, ...],
  others: tuple[Naming, ...] = (),
  unused: tuple[str, ...] = (),
) -> Converted:
  """The params of one tower, and whose layout its file has.

  Args:
    weights: a file, a directory or a hub id; see the module.
    template: the params' tree with shapes, such as `vit.shapes(config)`.
    namings: the namings that the file may follow.
    others: namings of another tower that may be in the same file.
    unused: patterns of further tensors that may be there.

  Raises:
    ValueError: a file of no known format, damaged, or holding something other
      than tensors; tensors missing, unexpected or misshapen (DoesNotFitError).
    FileNotFoundError: there is no such file or directory.
    ImportError: the format needs an extra that is not installed.
  """
  if not isinstance(weights, Place):
    if checkpoints.is_checkpoint(weights):
      return Converted(checkpoints.restore(weights, template), "saved")
    weights = find_place(weights)
  tensors = read(weights)
  try:
    return convert(
      tensors, template=template, namings=namings, others=others, unused=unused
    )
  except DoesNotFitError as error:
    raise DoesNotFitError(f"{weights.name}: {error}") from error


def read(weights: str | os.PathLike | Place) -> dict[str, np.ndarray]:
  """The tensors of a checkpoint by their published names.

  Raises:
    As `load_tower`, except for what depends on the model.
  """
  place = weights if isinstance(weights, Place) else find_place(weights)
  tensors = {}
  for path in place.weights():
    safe = path.suffix == ".safetensors"
    found = (
      _read_safetensors(path) if safe else _unwrapped(torch_pickle.read(path))
    )
    if twice := sorted(tensors.keys() & found.keys()):
      raise ValueError(
        f"{path} has the tensor {shown(twice[0])}, as has another part of"
        f" {place.name}: download it again."
      )
    tensors |= found
  return tensors


def _unwrapped(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The weights of a training checkpoint, without optimizers and counters.

  Of a teacher and a student the teacher is what its authors evaluate.
  """
  for wrapper in _WRAPPERS:
    inside = {
      name.removeprefix(wrapper): value
      for name, value in tensors.items()
      if name.startswith(wrapper)
    }
    if inside:
      return _unwrapped(inside)
  return tensors


def fingerprint(params: Any) -> str:
  """sha256 of the params' names, dtypes, shapes and values, in hexadecimal."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    leaf = np.asarray(leaf)
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
    digest.update(np.ascontiguousarray(leaf).view(np.uint8))
  return digest.hexdigest()


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  safetensors = extra("safetensors")
  load_file = extra("safetensors.numpy").load_file
  try:
    return load_file(path)
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path} is damaged or cut short; download it again ({error})."
    ) from error
