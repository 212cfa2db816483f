"""What a memory's own pictures say about its answers: how sure, how far.

Every row (or 2,000 of them, evenly spread) is asked of all the others. Their
vote shares become probabilities by the fit of analysis/probabilities.py, and
the similarity that nearly all of them have to their nearest neighbor is where
"unknown" begins. It is kept with the store until the next edit.
"""

import contextlib
import dataclasses
import json

import numpy as np

from visual_memory.analysis.probabilities import (
  ProbabilityModel,
  fit_probabilities,
  published_model,
)
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store
from visual_memory.types import UNLABELED, EmbeddedSet, Neighbors
from visual_memory.voting.queries import held_out_queries, tuning_queries
from visual_memory.voting.shares import shares
from visual_memory.voting.weighting import VOTERS, Setting

MOST_ROWS = 2000
UNKNOWN_SHARE = 0.02
"""How many of the memory's own pictures may be farther than "unknown"."""
_LEAST_FITTED = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
  """How answers are read.

  Attributes:
    min_similarity: what is farther from every row is unknown; None where too
      few rows say anything.
    temperature: of the probabilities; see ProbabilityModel.
    smoothing: likewise.
    num_rows: rows that were asked.
  """

  min_similarity: float | None
  temperature: float
  smoothing: float
  num_rows: int

  @property
  def model(self) -> ProbabilityModel:
    """From shares to probabilities."""
    return ProbabilityModel(
      temperature=self.temperature, smoothing=self.smoothing
    )


def calibrate(
  store: Store, memory: VisualMemory, setting: Setting, *, k: int
) -> Calibration:
  """The calibration of a memory, made once for each of its generations.

  Args:
    store: of the memory.
    memory: loaded from it.
    setting: the voter.
    k: how many neighbors vote.
  """
  if setting.voter not in VOTERS:  # One's own function may change.
    return _made(store.embedded(), memory, setting, k=k)
  hyper = "-".join(f"{name}{value:g}" for name, value in setting.hyper.items())
  name = f"calibration-{setting.voter}-{hyper}-{k}.json"
  if (kept := store.derived(name)) is not None:
    return Calibration(**json.loads(kept))
  generation = store.contents.generation
  made = _made(store.embedded(), memory, setting, k=k)
  data = json.dumps(dataclasses.asdict(made)).encode()
  with contextlib.suppress(StoreError, OSError):  # Edited, or not writable.
    store.put_derived(name, data, generation=generation)
  return made


def _made(
  rows: EmbeddedSet, memory: VisualMemory, setting: Setting, *, k: int
) -> Calibration:
  """The calibration, by leaving each row out of its own neighbors."""
  plain = published_model(k)
  nothing = Calibration(
    min_similarity=None,
    temperature=plain.temperature,
    smoothing=plain.smoothing,
    num_rows=0,
  )
  if len(rows) < _LEAST_FITTED:
    return nothing
  asked = spread(rows, MOST_ROWS)
  near = leave_one_out(asked, memory, k=k)
  nearest = np.asarray(near.similarities)[:, 0]
  found = dataclasses.replace(
    nothing,
    min_similarity=float(np.quantile(nearest, UNKNOWN_SHARE, method="lower")),
    num_rows=len(asked),
  )
  labelled = asked.labels != UNLABELED
  if len(np.unique(asked.labels[labelled])) < 2:
    return found
  none = held_out_queries(near.take([]), np.zeros(0, np.int32), [])
  tuning = tuning_queries(near, asked.labels, asked.ids, held_out=none)
  model = fit_probabilities(
    shares(near, setting, k=near.k), tuning, num_classes=rows.num_classes
  )
  return dataclasses.replace(
    found, temperature=model.temperature, smoothing=model.smoothing
  )


def spread(rows: EmbeddedSet, most: int) -> EmbeddedSet:
  """So many of the rows at the most, evenly spread."""
  count = min(len(rows), most)
  return rows.take(np.unique(np.linspace(0, len(rows) - 1, count).astype(int)))


def leave_one_out(
  rows: EmbeddedSet, memory: VisualMemory, *, k: int
) -> Neighbors:
  """The neighbors of rows of a memory, each without itself.

  Raises:
    ValueError: a memory of fewer than two rows.
  """
  if len(memory) < 2:
    raise ValueError(
      f"The memory holds {len(memory)} images: with two or more, each can be"
      " asked of the others."
    )
  k = min(k, len(memory) - 1)
  return exact.search(rows.embeddings, memory, k=k, exclude_self=rows.ids)
