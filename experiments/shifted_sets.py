"""One memory, several test sets of other images, every protocol."""

import dataclasses

import numpy as np

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import choosing, shifted_sets
from visual_memory.data import relabeling
from visual_memory.memory.matching import match_classes
from visual_memory.reports.sections import shifted_sets as sections
from visual_memory.voting.label_sets import label_sets


def main(config, workdir, mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  study = open_study(config, workdir, mesh)
  ks = tuple(config.voting.ks)
  choices = choosing.choose_each(
    study.tuning,
    settings=stages.voter_settings(config.voting),
    ks=ks,
    num_classes=study.num_classes,
  )
  found, counts = {}, {}
  for name, section in config.sets.items():
    with study.clock(name):
      queries, truth = _open_set(config, workdir, mesh, study, section)
      found[name] = [
        shifted_sets.score_set(
          near,
          truth,
          protocol=protocol,
          choices=choices,
          ks=ks,
          num_competing=competing,
          num_classes=study.num_classes,
          seed=config.seed,
          min_max=section.layout == "real",
        )
        for protocol, near, competing in _protocols(
          config,
          workdir,
          mesh,
          study,
          queries,
          truth,
          max(ks),
          every_class=section.layout == "real",
        )
      ]
    counts[name] = {
      "queries": len(queries),
      "without a label, dropped": truth.num_empty,
    }
  parts, values = sections.sections(found, counts)
  finish_study(workdir, config, study, sections=parts, values=values)


def _open_set(config, workdir, mesh, study, section):
  """The embedded queries of a set and their right labels."""
  names = study.embedded.class_names
  source = stages.open_source(section)
  if section.layout == "numbers":
    source = relabeling.numbered(source, class_names=names)
  cache_dir = config.cache_dir or workdir.path / "cache"
  queries, _ = stages.embed(
    study.encoder, source, mesh, cache_dir, config.embed
  )
  if section.layout == "real":
    sets = (
      relabeling.real_labels(
        section.labels, queries.ids, num_classes=len(names)
      )
      if section.labels
      else relabeling.tfds_label_sets(source)
    )
    return queries, label_sets(sets)
  class_names, labels = match_classes(names, queries)
  return (
    dataclasses.replace(queries, labels=labels, class_names=class_names),
    shifted_sets.truth_of(labels),
  )


def _protocols(config, workdir, mesh, study, queries, truth, k, *, every_class):
  """(name, neighbors, competing classes) of every protocol."""
  near = study.search(queries, k, leave_one_out=False)
  present = np.unique(study.embedded.labels)
  yield "all classes", near, len(present)
  own = np.intersect1d(np.unique(truth.labels), present)
  if every_class or len(own) == len(present):
    return
  yield "own classes, votes", shifted_sets.only_classes(near, own), len(own)
  rows = study.embedded.take(np.isin(study.embedded.labels, own))
  search = stages.Search(
    rows, mesh, config.cache_dir or workdir.path / "cache", config.retrieval
  )
  yield (
    "own classes, rows",
    search(queries, k, leave_one_out=False),
    len(own),
  )
