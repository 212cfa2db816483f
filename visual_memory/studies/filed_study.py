"""A study that comes from neighbor files alone: no images, no encoder.

`config.neighbors.queries` names the neighbors of the test queries,
`config.neighbors.rows` those of the memory's own rows, which tuning and
pruning need; published JSON or the compact form of `neighbor_records`.
"""

import os
import pathlib

import numpy as np
from jax.sharding import Mesh

from visual_memory.reports.workdir import Clock, Workdir
from visual_memory.retrieval import recording
from visual_memory.retrieval.neighbor_records import load_records
from visual_memory.retrieval.published_files import read_published
from visual_memory.studies import cached_search, opening
from visual_memory.studies.study_settings import StudySettings
from visual_memory.types import EmbeddedSet


def study_fields(
  config: StudySettings,
  workdir: Workdir,
  mesh: Mesh,
  *,
  max_k: int,
  tune: bool,
  rows_near: bool,
) -> dict:
  """The fields of a Study; see `open_study`.

  Raises:
    ValueError: a broken file, files of different memories, too few neighbors
      in them, or no rows file where one is needed.
  """
  clock = Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  paths = config.neighbors
  if rows_near and not paths.rows:
    raise ValueError(
      "This analysis needs the neighbors of the memory's own rows: name their"
      " file as neighbors.rows."
    )
  with clock("read"):
    asked = _read(paths.queries)
    about_rows = None
    if paths.rows:
      about_rows = _read(paths.rows)
      ids, labels = about_rows.query_ids, about_rows.query_labels
      about_rows = recording.among_rows(about_rows, ids, labels)
      if (about_rows.row_ids[about_rows.positions] == ids[:, None]).any():
        about_rows = about_rows.without_self()
      asked = recording.among_rows(asked, ids, labels)
  embedded = _without_embeddings(asked, asked.row_ids, asked.row_labels)
  tuning = tune_near = all_near = None
  if about_rows is not None:
    all_near = _first(about_rows, max_k, paths.rows)
    if tune:
      mask = opening.tuning_mask(config, embedded.ids)
      tuning, tune_near = embedded.take(mask), all_near.take(mask)
  return dict(
    encoder=None,
    rows_source=None,
    queries_source=None,
    embedded=embedded,
    queries=_without_embeddings(asked, asked.query_ids, asked.query_labels),
    labels=np.asarray(asked.query_labels),
    class_names=asked.class_names,
    near=_first(asked, max_k, paths.queries),
    tune=tuning,
    tune_near=tune_near,
    rows_near=all_near if rows_near else None,
    search=cached_search.NoSearch(),
    embed_reports=(),
    clock=clock,
    env=env,
  )


def _read(path):
  """The records in a file of either form."""
  if pathlib.Path(path).suffix == ".json":
    return read_published(path)
  return load_records(path)


def _first(records, k, path):
  """The first k neighbors."""
  if records.k < k:
    raise ValueError(
      f"{os.fspath(path)!r} holds {records.k} neighbors of each query, but"
      f" {k} are needed: lower voting.ks (or the margin beyond them)."
    )
  return records.near.first(k)


def _without_embeddings(records, ids, labels):
  """An EmbeddedSet of dimension 0."""
  return EmbeddedSet(
    embeddings=np.zeros((len(ids), 0), np.float32),
    labels=np.asarray(labels, np.int32),
    ids=ids,
    class_names=records.class_names,
    fingerprint=records.featurizer,
  )
