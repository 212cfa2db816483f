"""What an editable memory is, in one run: build, ask, add, remove, explain.

A memory of some classes of the bundled digits is asked about all of them; the
missing classes are added, then one class is removed again. Nothing is trained.
"""

import time

from experiments import stages
from visual_memory import distributed
from visual_memory.data import selection
from visual_memory.reports import page, results
from visual_memory.reports.sections import evaluation
from visual_memory.retrieval import exact
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint
from visual_memory.voting import metrics, weighting
from visual_memory.voting.vote import predict


def main(config, workdir, mesh) -> None:
  """Tells the story and writes its report into the workdir."""
  clock = stages.Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  encoder = stages.load_encoder(config.encoder)
  rows_source = stages.open_source(config.memory)
  queries_source = stages.open_source(config.data)
  cache_dir = workdir.path / "cache"
  with clock("embed"):
    rows, rows_report = stages.embed(
      encoder, rows_source, mesh, cache_dir, config.embed
    )
    queries, queries_report = stages.embed(
      encoder, queries_source, mesh, cache_dir, config.embed
    )
  story = _Story(config, queries)
  late = selection.only_classes(rows_source, config.late_classes).ids
  known = ~stages.among(rows.ids, late)
  memory = stages.exact_memory(rows.take(known), mesh, config.retrieval)
  late_names = " and ".join(config.late_classes)
  story.tell(
    f"{len(memory)} images of {rows.num_classes - len(config.late_classes)}"
    f" classes are in memory; {late_names} are unknown to it.",
    memory,
  )
  memory = story.edit(
    f"add {late_names}", memory, lambda m: m.add(rows.take(~known))
  )
  near, found = story.results(memory)
  _explain_one(story, near, found)
  story.edit(
    f"remove {config.removed_class}",
    memory,
    lambda m: m.remove(m.ids_with_label(config.removed_class)),
  )
  items = stages.explain(
    near,
    weighting.weights(near.similarities[:, : found.k], story.setting),
    found,
    queries,
    rows_source=rows_source,
    queries_source=queries_source,
    **config.gallery,
  )
  if workdir.lead:
    page.write_page(
      workdir.path,
      page.Page(
        title=config.title,
        sections=tuple(
          evaluation.sections(found, edits=story.edits, gallery=items)
        ),
        config=config.to_dict(),
        tiles=evaluation.tiles(found),
        timings=clock.seconds,
        counts=found.counts()
        | {"memory_rows": len(memory), "redone_queries": near.num_redone},
        skipped=page.skipped(rows_report, queries_report),
        fingerprint=found.neighbors_fingerprint,
        env=env,
      ),
      evaluation.values(found, edits=story.edits),
    )


class _Story:
  """Asks the same questions after every edit, and keeps the answers."""

  def __init__(self, config, queries):
    self.setting = weighting.setting(config.voting.voter)
    self.queries = queries
    self.edits = []
    self._ks = tuple(config.voting.ks)
    self._k = config.voting.k
    names = queries.class_names
    watched = {*config.late_classes, config.removed_class}
    others = [name for name in names if name not in watched]
    self._groups = {
      "the others": others,
      " and ".join(config.late_classes): list(config.late_classes),
      config.removed_class: [config.removed_class],
    }

  def tell(self, text, memory):
    """Prints a sentence and the accuracy of every group of queries."""
    groups = self.accuracies(memory)
    if distributed.is_lead():
      print(text)
      told = ", ".join(f"{name}: {value:.1%}" for name, value in groups.items())
      print(f"  accuracy by class  {told}")
    return groups

  def edit(self, name, memory, change):
    """Applies one edit to the memory, and tells what it did."""
    before, rows_before = self.accuracies(memory), len(memory)
    start = time.monotonic()
    memory = change(memory)
    memory.rows.labels.block_until_ready()
    seconds = time.monotonic() - start
    after = self.tell(
      f"Edit: {name}. {rows_before} -> {len(memory)} images,"
      f" {seconds * 1e3:.0f} ms, nothing trained.",
      memory,
    )
    self.edits.append(
      evaluation.Edit(
        name=name,
        rows_before=rows_before,
        rows_after=len(memory),
        before=before,
        after=after,
        seconds=seconds,
      )
    )
    return memory

  def accuracies(self, memory):
    """The accuracy of each group of queries."""
    _, found = self.results(memory)
    right, total = metrics.count_per_class(
      found.predictions, found.labels, num_classes=len(found.class_names)
    )
    at = {name: i for i, name in enumerate(found.class_names)}
    return {
      group: float(
        sum(right[at[n]] for n in names) / sum(total[at[n]] for n in names)
      )
      for group, names in self._groups.items()
    }

  def results(self, memory):
    """All queries' neighbors and what they make of them."""
    near = exact.search(self.queries.embeddings, memory, k=max(self._ks))
    names = self.queries.class_names
    predictions = predict(
      near, [self.setting], ks=self._ks, num_classes=len(names)
    )
    found = results.summarize(
      {self.setting.voter: predictions[0]},
      self.queries.labels,
      ks=self._ks,
      class_names=names,
      voter=self.setting.voter,
      k=self._k,
      chosen_by="config",
      fingerprint=neighbors_fingerprint(near),
    )
    return near, found


def _explain_one(story, near, found) -> None:
  """Prints why one query got its class."""
  if not distributed.is_lead():
    return
  wrong = (found.predictions != found.labels).nonzero()[0]
  query = int(wrong[0]) if len(wrong) else 0
  weights = weighting.weights(near.similarities[:, : found.k], story.setting)
  names = found.class_names
  print(
    f"Why is {story.queries.ids[query]}, of class {names[found.labels[query]]},"
    f" taken for {names[found.predictions[query]]}? The nearest rows:"
  )
  for i in range(min(5, near.k)):
    print(
      f"  {near.ids[query, i]:<12} class {names[near.labels[query, i]]}"
      f"  similarity {near.similarities[query, i]:.4f}"
      f"  weight {weights[query, i]:.2f}"
    )
