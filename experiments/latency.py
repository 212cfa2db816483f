"""How fast a memory answers and changes, and how much room it takes."""

import os
import shutil

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory import files
from visual_memory.analysis.latency import time_calls
from visual_memory.reports.sections import latency as sections
from visual_memory.retrieval import exact
from visual_memory.store.store import Store


def main(config, workdir, mesh) -> None:
  """Times queries and edits of one memory, and weighs its files."""
  study = open_study(config, workdir, mesh, tune=False)
  memory = stages.exact_memory(study.embedded, mesh, config.retrieval)
  with study.clock("queries"):
    answered = {
      size: time_calls(
        lambda asked=study.queries.embeddings[:size]: exact.search(
          asked, memory, k=study.near.k
        ),
        repeats=repeats,
        per_call=size,
      )
      for size, repeats in config.timing.batches
      if size <= len(study.queries)
    }
  path = workdir.path / "store"
  shutil.rmtree(path, ignore_errors=True)
  with study.clock("store"):
    store = Store.create(path, study.embedded)
  with study.clock("edits"):
    edited = {
      place: _edits(where, study.embedded, config.timing.edits)
      for place, where in (("memory", _Held(memory)), ("store", store))
    }
  room = {
    "images as they came": _size(config.memory.options.path),
    "embeddings, float32": study.embedded.embeddings.nbytes,
    "the store (with ids, labels, checksums)": _size(path),
  }
  shutil.rmtree(path)
  finish_study(
    workdir,
    config,
    study,
    sections=sections.latency(
      answered, edited, room, num_rows=len(study.embedded)
    ),
    values=sections.values(answered, edited, room),
  )


class _Held:
  """A memory that edits in place, as a store does."""

  def __init__(self, memory):
    self._memory = memory

  def add(self, rows):
    """Adds rows."""
    self._keep(self._memory.add(rows, donate=True))

  def remove(self, ids):
    """Removes rows."""
    self._keep(self._memory.remove(ids, donate=True))

  def relabel(self, ids, labels):
    """Relabels rows."""
    self._keep(self._memory.relabel(ids, labels, donate=True))

  def _keep(self, memory):
    memory.rows.labels.block_until_ready()
    self._memory = memory


def _edits(where, embedded, repeats):
  """The latency of one row removed and added again, and relabelled."""
  row = embedded.take([len(embedded) // 2])

  def there_and_back():
    where.remove(row.ids)
    where.add(row)

  return {
    "remove a row and add it again": time_calls(
      there_and_back, repeats=repeats, per_call=2
    ),
    "relabel a row": time_calls(
      lambda: where.relabel(row.ids, row.labels), repeats=repeats, per_call=1
    ),
  }


def _size(path):
  """Bytes of a file or of everything below a directory; None without one."""
  if not path or not os.path.exists(path):
    return None
  return files.bytes_below(path)
