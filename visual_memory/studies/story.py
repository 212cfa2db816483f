"""Edit a memory, ask it the same again, and tell what changed.

story = Story(queries, groups={"dogs": ["dog"]}, setting=..., ks=..., k=10)
memory = story.edit("remove dogs", memory, lambda m: m.remove(ids))
"""

import time
from collections.abc import Callable, Mapping, Sequence

from visual_memory import distributed
from visual_memory.memory.memory import VisualMemory
from visual_memory.reports import results
from visual_memory.reports.results import Results
from visual_memory.reports.sections import evaluation
from visual_memory.retrieval import exact
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint
from visual_memory.types import EmbeddedSet, Neighbors
from visual_memory.voting import metrics, weighting
from visual_memory.voting.vote import predict


class Story:
  """Asks the same questions after every edit, and keeps the answers."""

  def __init__(
    self,
    queries: EmbeddedSet,
    *,
    groups: Mapping[str, Sequence[str]],
    setting: weighting.Setting,
    ks: Sequence[int],
    k: int,
  ):
    """Nothing is asked yet.

    Args:
      queries: that are asked every time.
      groups: class names by what to call them together.
      setting: the voter.
      ks: numbers of neighbors that vote.
      k: the one to quote.
    """
    self.setting = setting
    self.queries = queries
    self.edits = []
    self._ks, self._k, self._groups = tuple(ks), k, groups

  def tell(self, text: str, memory: VisualMemory) -> dict[str, float]:
    """Prints a sentence and the accuracy of every group of queries."""
    groups = self.accuracies(memory)
    if distributed.is_lead():
      print(text)
      told = ", ".join(f"{name}: {value:.1%}" for name, value in groups.items())
      print(f"  accuracy by class  {told}")
    return groups

  def edit(
    self,
    name: str,
    memory: VisualMemory,
    change: Callable[[VisualMemory], VisualMemory],
  ) -> VisualMemory:
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

  def accuracies(self, memory: VisualMemory) -> dict[str, float]:
    """The accuracy of each group that has queries."""
    _, found = self.results(memory)
    counts = metrics.count_per_class(
      found.predictions, found.labels, num_classes=len(found.class_names)
    )
    at = {name: i for i, name in enumerate(found.class_names)}
    told = {
      group: [each[[at[name] for name in names]].sum() for each in counts]
      for group, names in self._groups.items()
    }
    return {
      group: float(right / total)
      for group, (right, total) in told.items()
      if total
    }

  def results(self, memory: VisualMemory) -> tuple[Neighbors, Results]:
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

  def explain_one(self, near: Neighbors, found: Results) -> None:
    """Prints why one query got its class."""
    if not distributed.is_lead():
      return
    wrong = (found.predictions != found.labels).nonzero()[0]
    query = int(wrong[0]) if len(wrong) else 0
    weights = weighting.weights(near.similarities[:, : found.k], self.setting)
    names = found.class_names
    print(
      f"Why is {self.queries.ids[query]}, of class"
      f" {names[found.labels[query]]},"
      f" taken for {names[found.predictions[query]]}? The nearest rows:"
    )
    for i in range(min(5, found.k)):
      print(
        f"  {near.ids[query, i]:<12} class {names[near.labels[query, i]]}"
        f"  similarity {near.similarities[query, i]:.4f}"
        f"  weight {weights[query, i]:.2f}"
      )
