"""Taxonomies: which classes belong together, on every level.

  tree = from_paths(source.taxonomy)                  # nested folders
  tree = from_csv("species.csv", class_names=source.class_names)
  tree = from_joined_names(source.class_names)        # iNaturalist 2021
  tree.ancestors[label, 0]        # the kingdom of a class, as a node's index

Every class has one node on every level, from the top to the class itself; the
node of a class on the last level is its label.
"""

import csv
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Int32

INATURALIST_LEVELS = (
  "kingdom", "phylum", "class", "order", "family", "genus", "species",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taxonomy:
  """A tree over C classes with L levels; build one with a `from_` function.

  Attributes:
    levels: their names, from the top, [L].
    nodes: for each level, the paths of its nodes in sorted order; on the last
      level, those of the classes in order of their labels.
    ancestors: for each class, its node on every level, int32 [C, L].
  """

  levels: tuple[str, ...]
  nodes: tuple[tuple[tuple[str, ...], ...], ...]
  ancestors: Int32[np.ndarray, "C L"]

  @property
  def num_classes(self) -> int:
    """C."""
    return len(self.ancestors)

  @functools.cached_property
  def parents(self) -> tuple[Int[np.ndarray, "_"], ...]:
    """For each level, its nodes' parents on the level above (0 on top)."""
    found = [np.zeros(len(self.nodes[0]), np.int64)]
    for level in range(1, len(self.levels)):
      parent = np.empty(len(self.nodes[level]), np.int64)
      parent[self.ancestors[:, level]] = self.ancestors[:, level - 1]
      found.append(parent)
    return tuple(found)


def from_paths(
  paths: Sequence[Sequence[str]], *, levels: Sequence[str] | None = None
) -> Taxonomy:
  """The taxonomy of classes whose names from the top down are given.

  Args:
    paths: one for each class, in order of the labels, all of one length; two
      nodes of one name under different parents are different nodes.
    levels: names of the levels; by default "level 1" and so on.

  Raises:
    ValueError: no classes, an empty name, paths of different lengths, or one
      that occurs twice; names the class.
  """
  paths = [tuple(path) for path in paths]
  if not paths or not paths[0]:
    raise ValueError("A taxonomy needs at least one class with a path.")
  depth = len(paths[0])
  for path in paths:
    if len(path) != depth:
      raise ValueError(
        f"The class {'/'.join(path)!r} lies {len(path)} levels deep, but"
        f" {'/'.join(paths[0])!r} lies {depth} deep: all classes must be on"
        " the same level."
      )
    if not all(path):
      raise ValueError(
        f"The class {'/'.join(path)!r} has an empty name on level"
        f" {path.index('') + 1}: every level needs one."
      )
  if len(set(paths)) < len(paths):
    twice = next(path for path in paths if paths.count(path) > 1)
    raise ValueError(f"The class {'/'.join(twice)!r} occurs twice.")
  if levels is None:
    levels = [f"level {number + 1}" for number in range(depth)]
  if len(levels) != depth:
    raise ValueError(f"{len(levels)} names for {depth} levels.")
  nodes, ancestors = [], np.empty((len(paths), depth), np.int32)
  for level in range(depth - 1):
    known = sorted({path[: level + 1] for path in paths})
    position = {node: index for index, node in enumerate(known)}
    ancestors[:, level] = [position[path[: level + 1]] for path in paths]
    nodes.append(tuple(known))
  ancestors[:, -1] = np.arange(len(paths))
  nodes.append(tuple(paths))
  return Taxonomy(levels=tuple(levels), nodes=tuple(nodes), ancestors=ancestors)


def from_parents(
  parents: Mapping[str, str],
  *,
  class_names: Sequence[str],
  levels: Sequence[str] | None = None,
) -> Taxonomy:
  """The taxonomy of classes whose ancestors are found link by link.

  Args:
    parents: for each node the name of its parent; empty for those on top.
    class_names: the classes, in order of the labels; each a node.
    levels: as in `from_paths`.

  Raises:
    ValueError: a class or a parent that is no node (an orphan), ancestors
      that go in a circle; or as for `from_paths`. Names the node.
  """
  return from_paths(
    [_path_of(name, parents) for name in class_names], levels=levels
  )


def _path_of(name: str, parents: Mapping[str, str]) -> tuple[str, ...]:
  """The names from the top down to this one."""
  path = [name]
  if name not in parents:
    raise ValueError(
      f"The class {name!r} is an orphan: no row says its parent."
    )
  while parents[path[-1]]:
    parent = parents[path[-1]]
    if parent not in parents:
      raise ValueError(
        f"{path[-1]!r} is an orphan: no row describes its parent {parent!r}"
        " (a node on top has an empty parent)."
      )
    if parent in path:
      circle = path[path.index(parent) :] + [parent]
      raise ValueError(f"The parents go in a circle: {' -> '.join(circle)}.")
    path.append(parent)
  return tuple(reversed(path))


def from_csv(
  path: str | os.PathLike, *, class_names: Sequence[str]
) -> Taxonomy:
  """The taxonomy in a CSV file with a header, of either form.

  `child,parent`: one row for each node, parents of those on top left empty.
  Otherwise one column for each level, from the top, the last one the class:
  `kingdom,phylum,...,species`; one row for each class. Rows of classes that
  are not among class_names are left out.

  Args:
    path: the file.
    class_names: the classes, in order of the labels.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: no header, a row of another length, a node given two parents,
      a class without a row; or as for `from_parents`.
  """
  with open(path, newline="", encoding="utf-8-sig") as file:
    header, *rows = [row for row in csv.reader(file) if row] or [()]
  header = [name.strip() for name in header]
  if len(header) < 1 or not rows:
    raise ValueError(f"{path} has no header, or no row below it.")
  for number, row in enumerate(rows, start=2):
    if len(row) != len(header):
      raise ValueError(
        f"{path}, row {number}: {len(row)} cells under {len(header)} columns."
      )
  cells = [[cell.strip() for cell in row] for row in rows]
  try:
    if header == ["child", "parent"]:
      return from_parents(_links(cells), class_names=class_names)
    return _from_table(cells, header, class_names)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def _links(cells: Sequence[Sequence[str]]) -> dict[str, str]:
  """{child: parent}, each child once."""
  parents = {}
  for child, parent in cells:
    if parents.setdefault(child, parent) != parent:
      raise ValueError(
        f"{child!r} has two parents, {parents[child]!r} and {parent!r}."
      )
  return parents


def _from_table(cells, header, class_names) -> Taxonomy:
  """The taxonomy of a table with one column for each level."""
  path_of = {}
  for row in cells:
    if path_of.setdefault(row[-1], row) != row:
      raise ValueError(f"The class {row[-1]!r} has two rows that differ.")
  missing = [name for name in class_names if name not in path_of]
  if missing:
    raise ValueError(
      f"{len(missing)} classes have no row, for example {missing[0]!r}: they"
      " would be orphans."
    )
  return from_paths([path_of[name] for name in class_names], levels=header)


def from_joined_names(
  class_names: Sequence[str],
  *,
  separator: str = "_",
  skipped: int = 1,
  levels: Sequence[str] = INATURALIST_LEVELS,
) -> Taxonomy:
  """The taxonomy that class names spell out, as iNaturalist 2021's do.

  "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_
  terrestris" is the species terrestris of the genus Lumbricus, and so on up.

  Args:
    class_names: in order of the labels.
    separator: between the levels.
    skipped: parts at the front that are no level, such as a number.
    levels: names of the levels.

  Raises:
    ValueError: a name with another number of parts.
  """
  paths = []
  for name in class_names:
    parts = tuple(name.split(separator)[skipped:])
    if len(parts) != len(levels):
      raise ValueError(
        f"The class name {name!r} has {len(parts)} levels, not"
        f" {len(levels)} ({', '.join(levels)})."
      )
    paths.append(parts)
  return from_paths(paths, levels=levels)
