"""Rows that mislead: counted, then removed or discounted, by every voter.

What is counted comes from the memory's rows beside the tuning rows, each left
out of its own neighbors; thresholds and k are chosen on the tuning rows; the
test queries are scored once. The published protocol stands beside it.
"""

from jax.sharding import Mesh

from visual_memory.analysis import choosing, influence, pruned_votes, pruning
from visual_memory.data import selection
from visual_memory.reports.sections import pruning as pruning_sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies.finishing import write_edits
from visual_memory.studies.pruning import (
  Settings,
  as_published,
  search_without,
)
from visual_memory.studies.shown import image_of
from visual_memory.studies.study import finish_study, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  options = config.pruning
  study = open_study(
    config, workdir, mesh, rows_near=True,
    max_k=max(config.voting.ks) + options.margin,
  )  # fmt: skip
  ks = study.usable(config.voting.ks, beyond=1)
  row_ids, num_classes = study.embedded.ids, study.num_classes
  settings = config.voting.settings()
  counting = ~selection.among(row_ids, study.tune.ids)
  if not counting.any():  # A memory of a few rows is tuned on all of them.
    counting[:] = True
  near = study.rows_near.take(counting)
  labels = study.embedded.labels[counting]
  with study.clock("count"):
    wrong_of = {
      k: pruning.wrong_counts(near, labels, row_ids, k=min(k, near.k))[0]
      for k in (options.hard_k, options.soft_k)
    }
  chosen = choosing.choose(
    study.tuning, settings=settings, ks=ks, num_classes=num_classes
  )
  with study.clock("effects of removal"):
    effects = influence.removal_effects(
      near, labels, row_ids, chosen.setting, k=chosen.k,
      num_classes=num_classes,
    )  # fmt: skip
  treatments = {
    "none": [pruned_votes.NOTHING],
    "hard": pruned_votes.hard(wrong_of[options.hard_k], options.thresholds),
    "soft": pruned_votes.soft(
      wrong_of[options.soft_k],
      scales=options.scales,
      exponents=options.exponents,
    ),
    "by decisions": pruned_votes.hard(
      effects.gain, options.net_harms, symbol="net harm"
    ),
  }
  treatments, left_out = pruned_votes.feasible(
    treatments, (study.tuning.near, study.near), k=max(ks),
    searchable=study.embedded.embeddings.shape[1] > 0,
  )  # fmt: skip
  with study.clock("prune"):
    found = pruned_votes.compare(
      study.tuning, study.held_out, treatments, row_ids=row_ids,
      settings=settings, ks=ks, num_classes=num_classes, seed=config.seed,
      search=search_without(config, workdir, mesh, study),
    )  # fmt: skip
  with study.clock("prune as published"):
    published, silent = as_published(study, options, ks)
  sections, values = pruning_sections.sections(
    found, published, wrong=wrong_of[options.hard_k], effects=effects,
    chosen=chosen, row_ids=row_ids, k=min(options.hard_k, near.k),
    row_image=image_of(study.rows_source), seed=config.seed,
    links=write_edits(workdir, remove=row_ids[pruned_votes.to_remove(found)]),
  )  # fmt: skip
  left_out |= silent
  finish_study(
    workdir, config, study, sections=sections,
    values=values | {"left_out": left_out},
    notes=[f"Left out: {what}: {why}." for what, why in left_out.items()],
  )  # fmt: skip
