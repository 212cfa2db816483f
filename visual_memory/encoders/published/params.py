"""Published checkpoints to params, whatever file they come in.

  params = load("dinov2_vits14", "dinov2_vits14_pretrain.pth")
  params = load("clip_vitb32", "ViT-B-32.pt")
  params = load("dinov2_vits14", "facebook/dinov2-small")    # hub id, online
  params = load("dinov2_vits14", fetch("dinov2_vits14"))     # downloads once

  checkpoints.save("mine", params); params = load("dinov2_vits14", "mine")

Understood are the authors' .pth files, OpenAI's TorchScript .pt archives,
Hugging Face safetensors (a file, a directory or a hub id) and directories
that `checkpoints.save` wrote. PyTorch is not needed for any of them.
"""

import hashlib
import importlib
import json
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

from visual_memory import checkpoints
from visual_memory.encoders import vit
from visual_memory.encoders.published import naming, torch_pickle
from visual_memory.encoders.published.convert import convert
from visual_memory.encoders.published.download import fetch

__all__ = ["convert", "fetch", "fingerprint", "load", "load_tower", "read"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
"""Of a mistyped file, for which the hub need not be asked."""
_SAFETENSORS = "model.safetensors"


def load(name: str, weights: str | os.PathLike) -> dict[str, Any]:
  """The params of a published image tower, as float32 host arrays.

  Args:
    name: a key of `vit.CONFIGS`.
    weights: a file, a directory or a hub id; see the module.

  Returns:
    Nested dicts that `vit.forward` takes. float16 values are widened exactly.

  Raises:
    ValueError: unknown name; a file of no known format, damaged, or holding
      something other than tensors; tensors missing, unexpected or misshapen,
      all listed in one message.
    FileNotFoundError: there is no such file or directory.
    ImportError: the format needs an extra that is not installed.
  """
  if name not in vit.CONFIGS:
    known = ", ".join(vit.CONFIGS)
    raise ValueError(f"Unknown image tower {name!r}; known: {known}.")
  is_clip = name.startswith("clip_")
  return load_tower(
    weights,
    template=vit.shapes(vit.CONFIGS[name]),
    namings=naming.CLIP_IMAGE if is_clip else naming.DINO,
    others=naming.CLIP_TEXT if is_clip else (),
  )


def load_tower(
  weights: str | os.PathLike,
  *,
  template: Any,
  namings: tuple[naming.Naming, ...],
  others: tuple[naming.Naming, ...] = (),
) -> dict[str, Any]:
  """The params of any tower: `load` for settings of one's own.

  Args:
    weights: a file, a directory or a hub id; see the module.
    template: the params' tree with shapes, such as `vit.shapes(config)`.
    namings: the namings that the file may follow (`names.DINO`, ...).
    others: namings of another tower that may be in the same file.

  Raises:
    As `load`.
  """
  if checkpoints.is_checkpoint(weights):
    return checkpoints.restore(weights, template)
  tensors = read(weights)
  try:
    return convert(tensors, template=template, namings=namings, others=others)
  except ValueError as error:
    raise ValueError(f"{weights}: {error}") from error


def read(weights: str | os.PathLike) -> dict[str, np.ndarray]:
  """The tensors of a published file by their published names.

  Raises:
    As `load`, except for what depends on the model.
  """
  path = pathlib.Path(weights)
  if path.is_dir():
    return _read_directory(path)
  if path.is_file():
    if path.suffix == ".safetensors":
      return _read_safetensors(path)
    return torch_pickle.read(path)
  if _HUB_ID.fullmatch(str(weights)) and path.suffix not in _SUFFIXES:
    return _read_hub(str(weights))
  raise FileNotFoundError(f"There is no file or directory {weights}.")


def fingerprint(params: Any) -> str:
  """sha256 of the params' names, dtypes, shapes and values, in hexadecimal."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
    leaf = np.asarray(leaf)
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    digest.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
    digest.update(np.ascontiguousarray(leaf).view(np.uint8))
  return digest.hexdigest()


def _read_directory(path: pathlib.Path) -> dict[str, np.ndarray]:
  """A Hugging Face directory: one safetensors file, or shards and an index."""
  index = path / f"{_SAFETENSORS}.index.json"
  if index.is_file():
    tensors = {}
    for shard in _shards(index):
      tensors |= _read_safetensors(path / shard)
    return tensors
  if (path / _SAFETENSORS).is_file():
    return _read_safetensors(path / _SAFETENSORS)
  raise ValueError(
    f"{path} holds neither {_SAFETENSORS} nor a saved checkpoint: pass the"
    " weights' file itself."
  )


def _shards(index: pathlib.Path) -> list[str]:
  """The files that an index says the tensors are in."""
  try:
    return sorted(set(json.loads(index.read_text())["weight_map"].values()))
  except (ValueError, KeyError, AttributeError) as error:
    raise ValueError(f"{index} is damaged; download it again.") from error


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  safetensors = _extra("safetensors")
  load_file = importlib.import_module("safetensors.numpy").load_file
  try:
    return load_file(path)
  except safetensors.SafetensorError as error:
    raise ValueError(
      f"{path} is damaged or cut short; download it again ({error})."
    ) from error


def _read_hub(repository: str) -> dict[str, np.ndarray]:
  hub = _extra("huggingface_hub")
  try:
    return _read_safetensors(
      pathlib.Path(hub.hf_hub_download(repository, _SAFETENSORS))
    )
  except (OSError, hub.errors.HfHubHTTPError) as error:
    raise FileNotFoundError(
      f"There is no file or directory {repository!r}, and {_SAFETENSORS} of"
      f" that name could not be fetched from the Hugging Face hub: {error}"
    ) from error


def _extra(package: str) -> Any:
  """An optional package, or one sentence on how to get it."""
  try:
    return importlib.import_module(package)
  except ImportError as error:
    raise ImportError(
      f"This format needs {package}: pip install 'visual_memory[pretrained]'."
    ) from error
