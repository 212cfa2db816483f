"""The nearest rows of some queries, encoder by encoder, and why they are."""

import dataclasses

from jax.sharding import Mesh

from visual_memory.reports.sections import galleries as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import linear_probes, opening, shown
from visual_memory.studies.study import finish_study, needs_images, open_study
from visual_memory.studies.study_settings import (
  StudySettings,
  replaced,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """How many there are of what.

  Attributes:
    k: neighbors of a query.
    per_class: queries of a class.
    count: queries in all.
  """

  k: int
  per_class: int
  count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """The encoders, and what of them is shown.

  Attributes:
    shown: how much.
    probe: whose logit the maps are of; without strengths they are of the
      similarity with the neighbors.
  """

  shown: Shown
  probe: linear_probes.RegressionSettings


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Retrieves by every encoder; shows the same queries for all."""
  first, found, agreements = None, {}, {}
  for name, encoder in opening.named_encoders(config.encoders).items():
    study = open_study(
      replaced(config, encoder=encoder), workdir, mesh,
      max_k=config.shown.k, tune=bool(config.probe.strengths),
    )  # fmt: skip
    needs_images(study)
    first = first or study
    chosen = sections.choose(
      first.labels, per_class=config.shown.per_class, count=config.shown.count
    )
    agreements[name] = sections.agreement(study.labels, study.near.labels)
    with study.clock(f"maps of {name}"):
      probe = None
      if config.probe.strengths:
        probe = linear_probes.lbfgs(config.probe, study, seed=config.seed)
      found[name] = shown.found_by(study, chosen, probe and probe.fitted)
  image = shown.image_of(first.queries_source)
  items = [
    sections.Shown(
      id=first.queries.ids[query],
      label=shown.class_name(first.class_names, first.labels[query]),
      picture=image(first.queries.ids[query]),
      found={name: by_query[place] for name, by_query in found.items()},
    )
    for place, query in enumerate(chosen)
  ]
  finish_study(
    workdir, config, first,
    sections=sections.sections(
      items, agreements, of_logit=bool(config.probe.strengths)
    ),
    values=sections.values(items, agreements),
  )  # fmt: skip
