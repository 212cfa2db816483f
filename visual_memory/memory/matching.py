"""The rules that a memory and a store share: which rows, which classes.

They take values (names, ids, slots), never a memory or a store; `holder` is
what the sentence of an error calls it.
"""

import operator
from collections.abc import Sequence

import numpy as np

from visual_memory.checks import (
  Ids,
  as_embeddings,
  as_ids,
  as_list,
  check_unique,
  shown,
)
from visual_memory.types import UNLABELED, EmbeddedSet


def match_classes(
  class_names: tuple[str, ...], embedded: EmbeddedSet
) -> tuple[tuple[str, ...], np.ndarray]:
  """Class names extended by an EmbeddedSet's, and its labels among them."""
  if embedded.class_names == class_names:
    return class_names, embedded.labels.astype(np.int32)
  position = {name: index for index, name in enumerate(class_names)}
  for name in embedded.class_names:
    position.setdefault(name, len(position))
  lookup = np.array(
    [position[name] for name in embedded.class_names] + [UNLABELED], np.int32
  )
  return tuple(position), lookup[embedded.labels]


def label_index(
  class_names: Sequence[str], label: int | np.integer | str, *, holder: str
) -> int:
  """The index of a class given by index (UNLABELED too) or by name.

  Raises:
    ValueError: no such class, or neither an integer nor a str.
  """
  if isinstance(label, str):
    return class_index(class_names, label, holder=holder)
  return _checked_index(label, len(class_names))


def class_index(class_names: Sequence[str], name: str, *, holder: str) -> int:
  """The index of a class given by its name.

  Raises:
    ValueError: no class of this name, or a name that is no str.
  """
  if not isinstance(name, str):
    raise ValueError(f"A class is named by a str here; got {shown(name)}.")
  if name not in class_names:
    raise ValueError(
      f"No class {shown(name)}; the {holder}'s classes are"
      f" {', '.join(map(shown, class_names[:6]))}."
    )
  return class_names.index(name)


def label_indices(
  class_names: tuple[str, ...],
  labels: Sequence[int | str] | np.ndarray,
  *,
  count: int,
) -> tuple[tuple[str, ...], np.ndarray]:
  """Labels for so many rows; a name that is unknown becomes a new class.

  Args:
    class_names: of the classes that there are.
    labels: indices of those (or UNLABELED) or names, [count].
    count: how many rows they are for.

  Returns:
    The class names, new ones at the end, and the labels, int32 [count].

  Raises:
    ValueError: names the first label that is neither.
  """
  values = as_list(labels, "labels")
  if len(values) != count:
    raise ValueError(f"{count} ids but {len(values)} labels.")
  position = {name: index for index, name in enumerate(class_names)}
  indices = [
    position.setdefault(str(value), len(position))
    if isinstance(value, str)
    else _checked_index(value, len(class_names))
    for value in values
  ]
  return tuple(position), np.array(indices, np.int32)


def distinct_ids(ids: Ids) -> np.ndarray:
  """The ids of one edit, each given once (object array).

  Raises:
    ValueError: something else than a list of strings, or one of them twice.
  """
  ids = as_ids(ids)
  check_unique(ids)
  return ids


def check_found(ids: Ids, slots: np.ndarray, *, holder: str) -> np.ndarray:
  """The slots, after raising a KeyError that names ids whose slot is -1."""
  if (slots < 0).any():
    missing = [i for i, slot in zip(ids, slots, strict=True) if slot < 0]
    first = ", ".join(map(shown, missing[:3]))
    raise KeyError(
      f"{len(missing)} of {len(slots)} ids are not in the {holder}: {first}"
      f"{', ...' if len(missing) > 3 else ''}."
    )
  return slots


def check_absent(ids: Ids, slots: np.ndarray, *, holder: str) -> None:
  """Raises ValueError if the slot of an id is not -1: it is there already."""
  present = slots >= 0
  if present.any():
    row = int(np.argmax(present))
    raise ValueError(
      f"{present.sum()} of {len(slots)} ids are already in the {holder}, for"
      f" example {shown(ids[row])} (row {row}): remove them first, or give the"
      " new rows ids of their own."
    )


def check_fitting(
  embedded: EmbeddedSet, *, fingerprint: str, dim: int, holder: str
) -> None:
  """Raises an error unless the rows are of the holder's kind.

  Raises:
    TypeError: it is no EmbeddedSet.
    ValueError: another encoder, or another dimension.
  """
  check_set(embedded)
  if embedded.fingerprint != fingerprint:
    raise ValueError(
      f"The rows come from encoder {shown(embedded.fingerprint)}, the {holder}"
      f" from {shown(fingerprint)}: embed them with the {holder}'s encoder."
    )
  found = as_embeddings(embedded.embeddings).shape[1]
  if found != dim:
    raise ValueError(
      f"The rows have dimension {found}, the {holder} has {dim}."
    )


def check_set(embedded: EmbeddedSet) -> None:
  """Raises TypeError for what is no EmbeddedSet."""
  if not isinstance(embedded, EmbeddedSet):
    raise TypeError(
      f"The rows must be an EmbeddedSet, not a {type(embedded).__name__}: make"
      " one with `embed` or `embedded_set`."
    )


def _checked_index(label: int | np.integer, num_classes: int) -> int:
  """A label given as an integer."""
  try:
    if isinstance(label, (bool, np.bool_)):
      raise TypeError
    index = operator.index(label)
  except TypeError:
    raise ValueError(
      f"The label {shown(label)} is neither a class's index nor a name."
    ) from None
  if not UNLABELED <= index < num_classes:
    raise ValueError(
      f"Label {index} is out of range: there are {num_classes} classes."
    )
  return index
