"""The taxonomy of a memory's classes, from settings."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from visual_memory.data import taxonomy
from visual_memory.data.image_source import ImageSource
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaxonomySettings:
  """Where the taxonomy comes from.

  Attributes:
    source: nested folders, a table, names that spell it out, or `rows`.
    path: of the table.
    rows: for each class, its path from the top.
    levels: their names; empty: as the source has them.
  """

  source: Literal["folders", "csv", "joined_names", "rows"]
  path: str
  rows: tuple[tuple[str, ...], ...]
  levels: tuple[str, ...]

  def paths(self) -> list[str]:
    """The table that has to be there."""
    return [self.path] if self.source == "csv" else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class HierarchySettings:
  """Rows of the curves, and queries and bins of the descent; 0: all."""

  exemplars: tuple[int, ...]
  rows_per_class: int
  descent_queries: int
  num_bins: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory and the taxonomy of its classes."""

  taxonomy: TaxonomySettings
  hierarchy: HierarchySettings


def require_placed(
  tree: taxonomy.Taxonomy, labels: np.ndarray, class_names: Sequence[str]
) -> None:
  """Raises ValueError for queries that a memory's taxonomy cannot place."""
  lost = labels[(labels < 0) | (labels >= tree.num_classes)]
  if len(lost):
    what = f"the class {class_names[lost[0]]!r}" if lost[0] >= 0 else "no class"
    raise ValueError(
      f"{len(lost)} queries are of {what}, which is not in the memory's"
      " taxonomy: leave them out (data.classes), or give the memory their"
      " classes."
    )


def open_taxonomy(
  section: TaxonomySettings, source: ImageSource | None
) -> taxonomy.Taxonomy:
  """The taxonomy that settings describe, of a source's classes.

  Raises:
    ValueError: the source has no nested folders, where they are asked for, or
      a class of it has no path.
  """
  names = {"levels": section.levels} if section.levels else {}
  if section.source == "folders":
    paths = getattr(source, "taxonomy", None)
    if not paths:
      raise ValueError(
        "The memory's source has no nested folders to be a taxonomy: name"
        " another taxonomy.source."
      )
    return taxonomy.from_paths(paths, **names)
  if section.source == "csv":
    return taxonomy.from_csv(section.path, class_names=source.class_names)
  if section.source == "joined_names":
    return taxonomy.from_joined_names(source.class_names, **names)
  of_class = {path[-1]: path for path in section.rows}
  lost = [name for name in source.class_names if name not in of_class]
  if lost:
    raise ValueError(
      f"taxonomy.rows ends in {', '.join(map(repr, of_class))}; there is no"
      f" path for the class {lost[0]!r}."
    )
  return taxonomy.from_paths(
    [of_class[name] for name in source.class_names], **names
  )
