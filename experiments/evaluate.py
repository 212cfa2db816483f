"""A memory of one data source, asked about another: accuracy, explained.

Every voter at every k, from one retrieval. The setting to quote is chosen on
tuning queries: rows of the memory, held out by id, each searched with itself
excluded. The test queries are scored once. Without test data, the memory's
other rows are the queries, each left out too.
"""

from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.reports import results
from visual_memory.reports.sections import evaluation
from visual_memory.reports.workdir import Workdir
from visual_memory.retrieval.neighbor_files import neighbors_fingerprint
from visual_memory.studies import opening, shown
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings as Settings
from visual_memory.voting import weighting
from visual_memory.voting.vote import predict


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  study = open_study(config, workdir, mesh, tune=not config.voting.voter)
  ks = study.usable(config.voting.ks)
  settings = config.voting.settings()
  with study.clock("tune"):
    voter, k, chosen_by = _choose(config, study, ks)
  with study.clock("vote"):
    predictions = predict(
      study.near,
      list(settings.values()),
      ks=ks,
      num_classes=study.num_classes,
    )
  found = results.summarize(
    dict(zip(settings, predictions, strict=True)),
    study.labels,
    ks=ks,
    class_names=study.class_names,
    voter=voter,
    k=k,
    chosen_by=chosen_by,
    fingerprint=neighbors_fingerprint(study.near),
    absent_classes=study.absent_classes,
  )
  with study.clock("gallery"):
    items = shown.explain(
      study.near,
      weighting.weights(study.near.similarities[:, :k], settings[voter]),
      found,
      study.queries,
      rows_source=study.rows_source,
      queries_source=study.queries_source,
      **vars(config.gallery),
    )
  finish_study(
    workdir,
    config,
    study,
    sections=evaluation.sections(found, gallery=items),
    values=evaluation.values(found),
    tiles=evaluation.tiles(found),
    notes=evaluation.notes(found),
  )
  _announce(found)


def _choose(config, study, ks):
  """The voter and k to quote, and what chose them."""
  voting = config.voting
  if voting.voter:
    return voting.voter, voting.k or max(ks), "config"
  if study.tune is None:
    return "rank", max(ks), "default: too few rows to tune on"
  choice = opening.chosen(config, study)
  return (
    choice.name,
    choice.k,
    (
      f"{choice.num_queries} tuning rows of the memory, each left out of its"
      f" own neighbors ({choice.accuracy:.1%} there)"
    ),
  )


def _announce(found) -> None:
  """Prints the numbers to quote, on the lead process."""
  if not distributed.is_lead():
    return
  for name, values in found.accuracy.items():
    best = ", ".join(f"k={k}: {value:.2%}" for k, value in values.items())
    print(f"{name:>10}  {best}")
  print(
    f"Chosen: {found.voter} at k={found.k}: {found.chosen_accuracy:.2%} of"
    f" {len(found.labels)} queries (by {found.chosen_by})."
  )
  print(f"neighbors_fingerprint {found.neighbors_fingerprint}")
