"""A memory of one data source, asked about another: accuracy, explained.

Every voter at every k, from one retrieval. The setting to quote is chosen on
tuning queries: rows of the memory, held out by id, each searched with itself
excluded. The test queries are scored once.
"""

import resource

import numpy as np

from experiments import stages
from visual_memory import distributed
from visual_memory.memory.memory import match_classes
from visual_memory.reports import results
from visual_memory.reports.report import write_report
from visual_memory.voting import metrics, weighting
from visual_memory.voting.vote import predict


def main(config, workdir, mesh) -> None:
  """Runs the experiment and writes its report into the workdir."""
  clock = stages.Clock(workdir)
  env = workdir.write_env(mesh=mesh)
  with clock("encoder"):
    encoder = stages.load_encoder(config.encoder)
  rows_source = stages.open_source(config.memory)
  queries_source = stages.open_source(config.data) or rows_source
  leave_one_out = queries_source is rows_source
  cache_dir = config.cache_dir or workdir.path / "cache"
  with clock("embed"):
    embedded, rows_report = stages.embed(
      encoder, rows_source, mesh, cache_dir, config.embed
    )
    queries, queries_report = stages.embed(
      encoder, queries_source, mesh, cache_dir, config.embed
    )
  search = stages.Search(embedded, mesh, cache_dir, config.retrieval)
  ks = tuple(config.voting.ks)
  with clock("search"):
    near = search(queries, max(ks), leave_one_out=leave_one_out)
  settings = stages.voter_settings(config.voting)
  with clock("tune"):
    voter, k, chosen_by = _choose(config, embedded, search, settings, ks)
  class_names, labels = match_classes(embedded.class_names, queries)
  with clock("vote"):
    predictions = predict(
      near, list(settings.values()), ks=ks, num_classes=len(class_names)
    )
  present = np.unique(embedded.labels)
  asked = np.unique(labels[labels >= 0])
  found = results.summarize(
    dict(zip(settings, predictions, strict=True)),
    labels,
    ks=ks,
    class_names=class_names,
    voter=voter,
    k=k,
    chosen_by=chosen_by,
    fingerprint=results.neighbors_fingerprint(near),
    absent_classes=np.setdiff1d(asked, present).tolist(),
  )
  with clock("gallery"):
    items = stages.explain(
      near,
      weighting.weights(near.similarities[:, :k], settings[voter]),
      found,
      queries,
      rows_source=rows_source,
      queries_source=queries_source,
      **config.gallery,
    )
  report = results.Report(
    title=config.title,
    config=config.to_dict(),
    results=found,
    timings=clock.seconds,
    counts={
      "memory_rows": len(embedded),
      "redone_queries": near.num_redone,
      "images_embedded": rows_report.num_images
      - rows_report.num_reused
      + (0 if leave_one_out else queries_report.num_images
         - queries_report.num_reused),
      # Linux counts KiB.
      "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
      // 1024,
    },
    skipped=stages.skipped(rows_report, queries_report),
    gallery=items,
    env=env,
  )  # fmt: skip
  if workdir.lead:
    write_report(workdir.path, report)
  _announce(found)


def _choose(config, embedded, search, settings, ks):
  """The voter and k to quote, and what chose them."""
  voting = config.voting
  if voting.voter:
    return voting.voter, voting.k or max(ks), "config"
  tune = stages.tuning_rows(embedded, voting.tune_fraction, config.seed)
  near = search(tune, max(ks), leave_one_out=True)
  table = metrics.accuracy_table(
    near, tune.labels, settings=settings, ks=ks,
    num_classes=embedded.num_classes,
  )  # fmt: skip
  row, column = np.unravel_index(np.argmax(table.correct), table.correct.shape)
  voter, k = table.names[row], table.ks[column]
  accuracy = table.correct[row, column] / max(1, table.total)
  return (
    voter,
    k,
    (
      f"{len(tune)} tuning rows of the memory, each left out of its own"
      f" neighbors ({accuracy:.1%} there)"
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
