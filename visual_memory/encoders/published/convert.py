"""From the tensors of a published checkpoint to our params, strictly.

Every tensor of the file must be used (or known not to be needed), every leaf
must be filled, and every shape must be the one expected; otherwise one error
lists all that is wrong.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from visual_memory.encoders.published import naming as naming_lib

_MOST_LISTED = 400


def convert(
  tensors: Mapping[str, np.ndarray],
  *,
  template: Any,
  namings: tuple[naming_lib.Naming, ...],
  others: tuple[naming_lib.Naming, ...] = (),
) -> dict[str, Any]:
  """The params of one tower, as nested dicts of float32 arrays.

  Args:
    tensors: what the file holds, by name; any floating-point dtype.
    template: the params' tree, with shapes in place of arrays.
    namings: the namings that the file may follow; the best match is taken.
    others: namings of another tower in the same file, whose tensors may be
      there and are not used.

  Raises:
    ValueError: missing, unexpected or misshapen tensors, all listed; or
      tensors that are not floating-point or not finite.
  """
  tensors = {_without_prefix(name): value for name, value in tensors.items()}
  leaves = _leaves(template)
  naming = max(namings, key=lambda known: _num_found(tensors, leaves, known))
  sources = {leaf: _source(leaf, naming) for leaf in leaves}
  _check(tensors, leaves, sources, others)
  converted = {
    leaf: _build(sources[leaf], tensors, shape)
    for leaf, shape in leaves.items()
  }
  paths, structure = jax.tree_util.tree_flatten_with_path(template)
  return jax.tree.unflatten(
    structure, [converted[_dotted(path)] for path, _ in paths]
  )


def _dotted(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator=".")


def _leaves(template: Any) -> dict[str, tuple[int, ...]]:
  """The shape of each leaf by its dotted path."""
  paths, _ = jax.tree_util.tree_flatten_with_path(template)
  return {_dotted(path): tuple(leaf.shape) for path, leaf in paths}


def _without_prefix(name: str) -> str:
  for prefix in naming_lib.PREFIXES:
    name = name.removeprefix(prefix)
  return name


def _source(leaf: str, naming: naming_lib.Naming) -> naming_lib.Source | None:
  """Where a leaf comes from, with the number of its block filled in."""
  index = re.match(r"blocks\.(\d+)\.", leaf)
  if index is None:
    return naming.get(leaf)
  source = naming.get(re.sub(r"\.\d+\.", ".{i}.", leaf, count=1))
  if source is None:
    return None
  filled = tuple(name.replace("{i}", index[1]) for name in source.tensors)
  return naming_lib.Source(filled, source.how)


def _num_found(
  tensors: Mapping[str, np.ndarray],
  leaves: Mapping[str, tuple[int, ...]],
  naming: naming_lib.Naming,
) -> int:
  sources = (_source(leaf, naming) for leaf in leaves)
  return sum(
    name in tensors for source in sources if source for name in source.tensors
  )


def _check(
  tensors: Mapping[str, np.ndarray],
  leaves: Mapping[str, tuple[int, ...]],
  sources: Mapping[str, naming_lib.Source | None],
  others: tuple[naming_lib.Naming, ...],
) -> None:
  """Raises one ValueError that lists everything that does not fit."""
  problems, used = {}, set()
  table = leaves.get("patch_position", (0, 0))
  rows = 1 + table[0] * table[1]
  for leaf, source in sources.items():
    if source is None:
      problems[leaf] = f"missing: nothing in this layout gives {leaf}"
      continue
    expected = _expected(source, leaves[leaf], rows)
    for name in source.tensors:
      used.add(name)
      if name not in tensors:
        problems[name] = f"missing: {name} {list(expected)}"
      elif problem := _problem(tensors[name], expected):
        problems[name] = f"{name} {problem}"
  for name in tensors.keys() - used:
    if not naming_lib.is_unused(name) and not naming_lib.belongs(name, others):
      problems[name] = f"unexpected: {name} {list(tensors[name].shape)}"
  if problems:
    lines = sorted(problems.values())
    rest = len(lines) - _MOST_LISTED
    lines = lines[:_MOST_LISTED] + ([f"and {rest} more"] if rest > 0 else [])
    raise ValueError(
      f"{len(problems)} tensors do not fit this model:\n  " + "\n  ".join(lines)
    )


def _problem(tensor: np.ndarray, expected: tuple[int, ...]) -> str | None:
  """What is wrong with one tensor, or None."""
  if _squeezed(tensor.shape) != _squeezed(expected):
    return f"has shape {list(tensor.shape)}, expected {list(expected)}"
  if not jnp.issubdtype(tensor.dtype, jnp.floating):
    return f"is {tensor.dtype}, expected floating point"
  if not np.isfinite(tensor.astype(np.float32)).all():
    return "holds NaN or infinity"
  return None


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
  """The shape without leading ones: files differ in how many they write."""
  shape = tuple(shape)
  while shape and shape[0] == 1:
    shape = shape[1:]
  return shape


def _expected(
  source: naming_lib.Source, shape: tuple[int, ...], rows: int
) -> tuple[int, ...]:
  """The shape of each of the source's tensors, from the leaf's shape."""
  parts = len(source.tensors)
  match source.how:
    case "linear":
      return shape[1] // parts, shape[0]
    case "side":
      return (shape[0] // parts,)
    case "conv":
      side = math.isqrt(shape[0] // 3)
      return shape[1], 3, side, side
    case "first_row" | "grid":
      return rows, shape[-1]
    case _:
      return shape


def _build(
  source: naming_lib.Source,
  tensors: Mapping[str, np.ndarray],
  shape: tuple[int, ...],
) -> np.ndarray:
  """One leaf from its tensors, whose shapes have been checked."""
  values = [np.asarray(tensors[name], np.float32) for name in source.tensors]
  match source.how:
    case "linear":
      leaf = np.concatenate(values).T
    case "side":
      leaf = np.concatenate(values)
    case "conv":
      leaf = values[0].transpose(2, 3, 1, 0)
    case "first_row":
      leaf = values[0].reshape(-1, shape[-1])[0]
    case "grid":
      leaf = values[0].reshape(-1, shape[-1])[1:]
    case _:
      leaf = values[0]
  # Not ascontiguousarray, which makes a vector of a scalar.
  return np.asarray(leaf.reshape(shape), order="C")
