"""Removals, one after the other: their time, utility and forgetting."""

import dataclasses
import shutil
import time

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import unlearning
from visual_memory.data.selection import id_hash
from visual_memory.reports.sections import unlearning as sections
from visual_memory.retrieval import exact
from visual_memory.store.store import Store
from visual_memory.voting.vote import predict


def main(config, workdir, mesh) -> None:
  """Removes from memory and store alike, and compares with a rebuilt memory."""
  study = open_study(config, workdir, mesh)
  choice = stages.chosen(config, study)
  path = workdir.path / "store"
  shutil.rmtree(path, ignore_errors=True)
  build = lambda rows: stages.exact_memory(rows, mesh, config.retrieval)
  with study.clock("store"):
    store = Store.create(path, study.embedded)
  state = _State(study, choice, build(study.embedded), study.embedded)
  removals = []
  for name, ids in _cases(config.removals, study.embedded):
    with study.clock(name):
      removals.append(state.remove(name, ids, store, build))
      workdir.log(removal=name, complete=removals[-1].forgetting.complete)
  with study.clock("verify"):
    checked = store.verify()
  shutil.rmtree(path)
  finish_study(
    workdir,
    config,
    study,
    sections=[sections.removals(removals, choice, checked)],
    values={"removals": [sections.values(removal) for removal in removals]},
  )


class _State:
  """The memory so far, and what it answers."""

  def __init__(self, study, choice, memory, rows):
    self._study, self._choice = study, choice
    self._memory, self._rows = memory, rows
    self._near = study.near.first(choice.k)

  def remove(self, name, ids, store, build) -> sections.Removal:
    """Removes these rows everywhere, and compares before, after, rebuilt."""
    gone = stages.among(self._rows.ids, ids)
    self._memory.remove(ids)  # Compiles.
    start = time.perf_counter()
    memory = self._memory.remove(ids)
    memory.rows.labels.block_until_ready()
    memory_s = time.perf_counter() - start
    start = time.perf_counter()
    receipt = store.remove(ids)
    store_s = time.perf_counter() - start
    rows = self._rows.take(~gone)
    start = time.perf_counter()
    rebuilt = build(rows)
    rebuilt.rows.labels.block_until_ready()
    rebuild_s = time.perf_counter() - start
    before, after = self._near, self._search(memory)
    forgotten = ~stages.among(self._study.labels, set(rows.labels.tolist()))
    removal = sections.Removal(
      name=name,
      rows_after=len(memory),
      memory_s=memory_s,
      store_s=store_s,
      rebuild_s=rebuild_s,
      forgetting=unlearning.forgetting(
        before, after, self._search(rebuilt), removed=ids
      ),
      utility=unlearning.utility(
        self._predict(before),
        self._predict(after),
        self._study.labels,
        forgotten=forgotten,
      ),
      receipt=dataclasses.asdict(receipt),
    )
    self._memory, self._rows, self._near = memory, rows, after
    return removal

  def _search(self, memory):
    return exact.search(
      self._study.queries.embeddings, memory, k=self._choice.k
    )

  def _predict(self, near):
    return predict(
      near,
      [self._choice.setting],
      ks=(self._choice.k,),
      num_classes=self._study.num_classes,
    )[0, 0]


def _cases(section, embedded):
  """The removals: {name: ids}; none shares a row with another."""
  order = id_hash(embedded.ids, salt="unlearning").argsort()
  is_class = embedded.labels == embedded.class_names.index(section.label)
  others = embedded.ids[order[~is_class[order]]]
  count = max(1, round(section.fraction * len(embedded)))
  yield "one row", others[:1]
  yield f"{section.fraction:.0%} of the rows", others[1 : 1 + count]
  yield f"the class {section.label}", embedded.ids[is_class]
