"""From the tensors of a published checkpoint to our params, strictly.

Every tensor of the file must be used (or known not to be needed), every leaf
must be filled, and every shape must be the one expected; otherwise one error
says what is wrong.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from visual_memory.encoders.published import naming as naming_lib
from visual_memory.encoders.published.naming import Naming, Source

_ALL_LISTED = 8
"""Up to so many problems are listed; of more, the first few."""
_SOME_LISTED = 3


class DoesNotFitError(ValueError):
  """The tensors are not those of the model."""


@dataclasses.dataclass(frozen=True)
class Converted:
  """One tower.

  Attributes:
    params: nested dicts of float32 arrays.
    origin: whose layout the file has; see `Naming`.
  """

  params: dict[str, Any]
  origin: str


def convert(
  tensors: Mapping[str, np.ndarray],
  *,
  template: Any,
  namings: tuple[Naming, ...],
  others: tuple[Naming, ...] = (),
  unused: tuple[str, ...] = (),
) -> Converted:
  """The params of one tower.

  Args:
    tensors: what the file holds, by name; any floating-point dtype.
    template: the params' tree, with shapes in place of arrays.
    namings: the namings that the file may follow; the best match is taken.
    others: namings of another tower in the same file, whose tensors may be
      there and are not used.
    unused: patterns of further tensors that may be there.

  Raises:
    DoesNotFitError: missing, unexpected or misshapen tensors; or tensors that
      are not floating-point or not finite.
  """
  tensors = {without_prefix(name): value for name, value in tensors.items()}
  leaves = _leaves(template)
  naming = max(namings, key=lambda known: _fit(tensors, leaves, known))
  sources = {leaf: _source(leaf, naming) for leaf in leaves}
  _check(tensors, leaves, sources, others, unused)
  converted = {
    leaf: _build(sources[leaf], tensors, shape)
    for leaf, shape in leaves.items()
  }
  paths, structure = jax.tree_util.tree_flatten_with_path(template)
  params = jax.tree.unflatten(
    structure, [converted[_dotted(path)] for path, _ in paths]
  )
  return Converted(params, naming.origin)


def without_prefix(name: str) -> str:
  """A tensor's name without the wrappers that it was saved from."""
  shorter = name
  for prefix in naming_lib.PREFIXES:
    shorter = shorter.removeprefix(prefix)
  return shorter if shorter == name else without_prefix(shorter)


def _dotted(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator=".")


def _leaves(template: Any) -> dict[str, tuple[int, ...]]:
  """The shape of each leaf by its dotted path."""
  paths, _ = jax.tree_util.tree_flatten_with_path(template)
  return {_dotted(path): tuple(leaf.shape) for path, leaf in paths}


def _source(leaf: str, naming: Naming) -> Source | None:
  """Where a leaf comes from, with the number of its block filled in."""
  index = re.search(r"\bblocks\.(\d+)\.", leaf)
  if index is None:
    return naming.sources.get(leaf)
  source = naming.sources.get(leaf.replace(index[0], "blocks.{i}.", 1))
  if source is None:
    return None
  filled = tuple(name.replace("{i}", index[1]) for name in source.tensors)
  return dataclasses.replace(source, tensors=filled)


def _fit(
  tensors: Mapping[str, np.ndarray],
  leaves: Mapping[str, tuple[int, ...]],
  naming: Naming,
) -> tuple[int, int]:
  """How many tensors of the file a naming knows, and how many shapes fit."""
  found, fitting = set(), 0
  table = leaves.get("patch_position", (0, 0))
  for leaf, shape in leaves.items():
    source = _source(leaf, naming)
    if source is None:
      continue
    there = {name: tensors[name] for name in source.tensors if name in tensors}
    shapes = _expected(source, shape, table, list(there.values()))
    for name, expected in zip(source.tensors, shapes, strict=True):
      if name in there:
        found.add(name)
        fitting += _squeezed(there[name].shape) == _squeezed(expected)
  return len(found), fitting


def _check(
  tensors: Mapping[str, np.ndarray],
  leaves: Mapping[str, tuple[int, ...]],
  sources: Mapping[str, Source | None],
  others: tuple[Naming, ...],
  unused: tuple[str, ...],
) -> None:
  """Raises one error that says what does not fit."""
  problems, used = {}, set()
  table = leaves.get("patch_position", (0, 0))
  for leaf, source in sources.items():
    if source is None:
      problems[leaf] = f"missing: nothing in this layout gives {leaf}"
      continue
    found = [tensors[name] for name in source.tensors if name in tensors]
    shapes = _expected(source, leaves[leaf], table, found)
    for name, expected in zip(source.tensors, shapes, strict=True):
      used.add(name)
      if name not in tensors:
        problems[name] = f"missing: {name} {list(expected)}"
      elif problem := _problem(tensors[name], expected):
        problems[name] = f"{name} {problem}"
  for name in tensors.keys() - used:
    if naming_lib.is_unused(name, unused) or naming_lib.belongs(name, others):
      continue
    problems[name] = f"unexpected: {name} {list(tensors[name].shape)}"
  if not problems:
    return
  lines = sorted(problems.values())
  text = "tensor does" if len(lines) == 1 else "tensors do"
  text = f"{len(lines)} {text} not fit this model"
  if len(lines) <= _ALL_LISTED:
    raise DoesNotFitError(f"{text}:\n  " + "\n  ".join(lines))
  raise DoesNotFitError(f"{text}: {'; '.join(lines[:_SOME_LISTED])}; ...")


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
  source: Source,
  shape: tuple[int, ...],
  table: tuple[int, ...],
  found: list[np.ndarray],
) -> list[tuple[int, ...]]:
  """The shape of each of the source's tensors, from the leaf's shape.

  Pieces put side by side are alike, unless those of the file add up otherwise
  (a query beside a key and value in one).
  """
  parts = len(source.tensors)
  match source.how:
    case "linear" | "side":
      rest = shape[:1] if source.how == "linear" else ()
      rows = [len(piece) for piece in found if piece.ndim]
      if len(rows) != parts or sum(rows) != shape[-1]:
        rows = [shape[-1] // parts] * parts
      return [(count, *rest) for count in rows]
    case "gapped":
      return [(shape[0] // 3,)] * parts
    case "conv":
      if len(shape) == 2:  # A row of values for each patch.
        side = math.isqrt(shape[0] // 3)
        shape = (side, side, 3, shape[1])
      return [(shape[3], shape[2], *shape[:2])]
    case "first_row" | "grid":
      return [(source.skip + table[0] * table[1], shape[-1])]
    case _:
      return [shape] * parts


def _build(
  source: Source, tensors: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
  """One leaf from its tensors, whose shapes have been checked."""
  values = [np.asarray(tensors[name], np.float32) for name in source.tensors]
  match source.how:
    case "linear":
      leaf = np.concatenate(values).T
    case "side":
      leaf = np.concatenate(values)
    case "gapped":
      first, last = values
      leaf = np.concatenate([first, np.zeros_like(first), last])
    case "masked":
      leaf = values[0] * values[1]
    case "conv":
      leaf = values[0].transpose(2, 3, 1, 0)
    case "first_row":
      leaf = values[0].reshape(-1, shape[-1])[0]
    case "grid":
      leaf = values[0].reshape(-1, shape[-1])[source.skip :]
    case "zeros":
      leaf = np.zeros(shape, np.float32)
    case _:
      leaf = values[0]
  # Not ascontiguousarray, which makes a vector of a scalar.
  return np.asarray(leaf.reshape(shape), order="C")
