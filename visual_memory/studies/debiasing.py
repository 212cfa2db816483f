"""A bias that is planted, found by whom it misleads, and taken out.

Some rows of one class are marked, as are pictures of other classes that are
asked about: the mark then speaks for that class. Of the tuning rows, which are
in no memory, one half tells how often each row is retrieved for another class,
the other half chooses from which count on rows are removed; the test queries
are scored once before and after.

Reference: Geirhos et al., ICML 2025, appendix P, names removing a biased subset
as a use of an editable memory, without an experiment.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool

from visual_memory.analysis import pruned_votes, pruning
from visual_memory.data import relabeling, selection
from visual_memory.memory.matching import class_index
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import cached_search, opening
from visual_memory.studies.pruning import search_without
from visual_memory.studies.study import Study
from visual_memory.studies.study_settings import StudySettings
from visual_memory.voting import queries as queries_lib

_MARGIN = 50
"""Neighbors beyond those that vote, to refill from where rows are removed."""

PLANTED, FOUND = "all planted rows removed", "found rows removed"
AT_RANDOM = "as many rows of the class, at random"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasSettings:
  """What is planted, and how it is looked for.

  Attributes:
    label: the class that the mark speaks for.
    fraction: of its rows that bear the mark.
    asked: fraction of the other classes' queries and tuning rows that bear it.
    k: neighbors that count.
    thresholds: counts from which on a row is removed, to choose from.
  """

  label: str
  fraction: float
  asked: float
  k: int
  thresholds: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and the bias that is planted in it."""

  bias: BiasSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Biased:
  """A study of marked pictures.

  Attributes:
    study: its memory is without the tuning rows; of these it has the half that
      chooses.
    complaining: the other half, with their neighbors.
    label: the class that the mark speaks for.
    planted: the rows that bear the mark, [N].
    marked: the queries that do, none of them of that class, [Q].
  """

  study: Study
  complaining: queries_lib.TuningQueries
  label: int
  planted: Bool[np.ndarray, "N"]
  marked: Bool[np.ndarray, "Q"]


def planted(
  config: Settings, workdir: Workdir, mesh: Mesh, study: Study
) -> Biased:
  """The study with the bias in it.

  Raises:
    ValueError: no such class, or too few tuning rows to split.
  """
  options = config.bias
  label = class_index(
    study.embedded.class_names, options.label, holder="memory"
  )
  tuned = study.tune.ids

  def marks(source, tuning):
    """Which pictures bear the mark: of the class, or of others asked about."""
    drawn = selection.id_hash(source.ids, salt=f"bias/{config.seed}")
    called = np.array([*source.class_names, None], object)
    of_class = called[source.labels] == options.label
    asked = ~of_class & (drawn < options.asked)
    if tuning is None:
      return asked
    rows = selection.among(source.ids, tuning)
    return np.where(rows, asked, of_class & (drawn < options.fraction))

  sources, embedded, marked = [], [], []
  cache_dir = opening.cache_dir(config, workdir)
  for source, tuning in (
    (study.rows_source, tuned), (study.queries_source, None)
  ):  # fmt: skip
    bear = marks(source, tuning)
    source = relabeling.mark(source, rows=bear)
    found, _ = opening.embed(
      study.encoder, source, mesh, cache_dir, config.embed
    )
    sources.append(source)
    embedded.append(found)
    marked.append(selection.among(found.ids, np.asarray(source.ids)[bear]))
  is_tune = selection.among(embedded[0].ids, tuned)
  rows, tune = embedded[0].take(~is_tune), embedded[0].take(is_tune)
  first = selection.id_hash(tune.ids, salt="complaining") < 0.5
  if first.all() or not first.any() or not len(rows):
    raise ValueError(
      f"{len(tune)} tuning rows and {len(rows)} others are too few to find a"
      " bias: give the memory more rows."
    )
  k = min(max(*config.voting.ks, options.k) + _MARGIN, len(rows))
  search = cached_search.Search(rows, mesh, cache_dir, config.retrieval)
  near = search(embedded[1], k, leave_one_out=False)
  held_out = queries_lib.held_out_queries(near, study.labels, embedded[1].ids)
  halves = [
    queries_lib.tuning_queries(
      search(half, k, leave_one_out=False), half.labels, half.ids,
      held_out=held_out,
    )
    for half in (tune.take(first), tune.take(~first))
  ]  # fmt: skip
  biased = dataclasses.replace(
    study, rows_source=sources[0], queries_source=sources[1], embedded=rows,
    queries=embedded[1], near=near, tune=tune.take(~first),
    tune_near=halves[1].near, search=search,
  )  # fmt: skip
  return Biased(
    study=biased, complaining=halves[0], label=label,
    planted=marked[0][~is_tune], marked=marked[1],
  )  # fmt: skip


def treated(
  config: Settings, workdir: Workdir, mesh: Mesh, biased: Biased
) -> tuple[str, dict[str, pruned_votes.Pruned], np.ndarray]:
  """The voter, how it does with each treatment, and the counts, [N].

  The voter is the one that the tuning rows prefer before anything is removed.
  """
  options, study = config.bias, biased.study
  rows, asked = study.embedded, biased.complaining
  counts, _ = pruning.wrong_counts(
    asked.near, asked.labels, rows.ids, k=min(options.k, asked.near.k)
  )
  ks = study.usable(config.voting.ks, beyond=1)
  settings = config.voting.settings()

  def compare(treatments, settings):
    kept, _ = pruned_votes.feasible(
      treatments, (study.tune_near, study.near), k=max(ks), searchable=True
    )
    return pruned_votes.compare(
      study.tuning, study.held_out, kept, row_ids=rows.ids, settings=settings,
      ks=ks, num_classes=study.num_classes, seed=config.seed,
      search=search_without(config, workdir, mesh, study),
    )  # fmt: skip

  before = compare({"before": [pruned_votes.NOTHING]}, settings)["before"]
  voter = max(before, key=lambda name: before[name].tuning_accuracy)
  own = {voter: settings[voter]}
  found = {"before": before[voter]} | _of(
    voter,
    compare(
      {
        FOUND: pruned_votes.hard(counts, options.thresholds),
        PLANTED: [
          pruned_votes.Treatment(name="planted", excluded=biased.planted)
        ],
      },
      own,
    ),
  )
  if FOUND in found:
    number = found[FOUND].treatment.num_excluded
    drawn = selection.id_hash(rows.ids, salt=f"at random/{config.seed}")
    drawn[rows.labels != biased.label] += 1  # These come last.
    chosen = np.zeros(len(rows), bool)
    chosen[np.argsort(drawn)[:number]] = True
    found |= _of(
      voter,
      compare(
        {AT_RANDOM: [pruned_votes.Treatment(name="random", excluded=chosen)]},
        own,
      ),
    )
  return voter, found, counts


def to_remove(found: Mapping[str, pruned_votes.Pruned]) -> np.ndarray:
  """Positions of the rows that were found, if any were."""
  own = {kind: found[kind] for kind in ("before", FOUND) if kind in found}
  return pruned_votes.to_remove({kind: {"": x} for kind, x in own.items()})


def _of(voter, found):
  """One voter's results, by treatment."""
  return {kind: results[voter] for kind, results in found.items()}
