"""Whether distance tells what the memory does not know."""

import dataclasses
from collections.abc import Mapping

from jax.sharding import Mesh

from visual_memory.analysis import ood
from visual_memory.reports.sections import ood as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import SourceSettings, StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and what it does not know."""

  outside: Mapping[str, SourceSettings]


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Asks one memory about its own kind and about other sources."""
  study = open_study(config, workdir, mesh, tune=False)
  cache_dir = opening.cache_dir(config, workdir)
  ks = study.usable(config.voting.ks)
  outside, near = {}, {}
  for name, section in config.outside.items():
    if section.source:
      with study.clock(f"search {name}"):
        outside[name], _ = opening.embed(
          study.encoder,
          opening.open_source(section),
          mesh,
          cache_dir,
          config.embed,
        )
        near[name] = study.search(outside[name], max(ks), leave_one_out=False)
  with study.clock("detect"):
    found = {
      name: ood.detect_each(study.near, there, ks=ks)
      for name, there in near.items()
    }
    by_k = {
      name: ood.auroc_by_k(study.near, there) for name, there in near.items()
    }
    classes = {
      name: ood.auroc_by_class(
        study.near,
        there,
        outside[name].labels,
        k=max(ks),
        class_names=outside[name].class_names,
      )
      for name, there in near.items()
    }
  scores = {
    name: ood.distance_scores(there, k=max(ks))
    for name, there in {"inside": study.near, **near}.items()
  }
  finish_study(
    workdir,
    config,
    study,
    sections=[
      sections.distances(scores, k=max(ks)),
      sections.detection(found, by_k),
      *(sections.by_class(name, auroc) for name, auroc in classes.items()),
    ],
    values={"outside": sections.values(found, by_k, classes)},
  )
