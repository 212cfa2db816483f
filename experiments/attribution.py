"""Why an answer was given, what if rows were other, and which labels err.

The explorer shows test queries and label-error candidates, with the voter and
k that the tuning rows prefer. The ranking of candidates is measured on labels
that are made wrong on purpose.
"""

import dataclasses

from experiments import stages
from experiments.study import finish_study, open_study
from visual_memory import files
from visual_memory.analysis import (
  choosing,
  label_errors,
  planted_errors,
  pruning,
)
from visual_memory.reports import explorer, gallery
from visual_memory.reports.page import Section
from visual_memory.reports.sections import attribution as sections
from visual_memory.voting.vote import predict


def main(config, workdir, mesh) -> None:
  """Runs the experiment and writes explorer.html beside its report."""
  options, ks = config.attribution, tuple(config.voting.ks)
  study = open_study(
    config, workdir, mesh, max_k=options.retrieved, rows_near=True
  )
  settings = stages.voter_settings(config.voting)
  num_classes = study.num_classes
  with study.clock("choose"):
    chosen = choosing.choose(
      study.tuning, settings=settings, ks=ks, num_classes=num_classes
    )
  rank = lambda near, labels: label_errors.rank_label_errors(
    near, labels, voter=chosen.setting.voter, k=chosen.k,
    num_classes=num_classes, **chosen.setting.hyper,
  )  # fmt: skip
  with study.clock("rank label errors"):
    suspects = rank(study.rows_near, study.embedded.labels)
  with study.clock("find planted errors"):
    planted = planted_errors.find_planted(
      rank, study.rows_near, study.embedded.labels, study.embedded.ids,
      num_classes=num_classes, fraction=options.planted_fraction,
      counts=options.looked_at, seed=config.seed,
    )  # fmt: skip
  with study.clock("explorer"):
    text = _explorer(config, study, settings, chosen, suspects)
  if workdir.lead:
    files.write_text(workdir.path / "explorer.html", text)
  rows = study.embedded
  finish_study(
    workdir, config, study,
    sections=[
      Section(
        title="Why, and what if",
        prose=("Neighbors, weights and factors of single answers; rows can be"
               " removed and relabeled, and the page votes again.",),
        links={"The explorer": "explorer.html"},
      ),
      sections.suspects(
        suspects, labels=rows.labels, ids=rows.ids,
        class_names=study.class_names,
        rule=f"{chosen.name} vote, k = {chosen.k}",
      ),
      sections.planted(planted),
    ],
    values={
      "chosen": {"voter": chosen.name, "k": chosen.k},
      "label_errors": {
        "suspects": suspects.num_suspects,
        "first": rows.ids[suspects.rows[: options.suspects]],
      },
      "planted": dataclasses.asdict(planted),
    },
  )  # fmt: skip


def _explorer(config, study, settings, chosen, suspects):
  """The page of some wrong and right answers and the first candidates."""
  options, rows = config.attribution, study.embedded
  predictions = predict(
    study.near, [chosen.setting], ks=(chosen.k,), num_classes=study.num_classes
  )[0, 0]
  wrong = pruning.wrong_counts(
    study.rows_near, rows.labels, rows.ids, k=options.reliability_k
  )[0]
  row_image = stages.image_of(study.rows_source)
  query_image = stages.image_of(study.queries_source)
  asked = {
    name: gallery.choose_queries(study.labels, predictions, **shown)
    for name, shown in (
      ("wrong", {"num_wrong": options.wrong, "num_right": 0}),
      ("right", {"num_wrong": 0, "num_right": options.right}),
    )
  }
  first = suspects.rows[: options.suspects]
  return explorer.render_explorer(
    [
      *(
        explorer.QuerySet(
          name=name, near=study.near.take(shown), labels=study.labels[shown],
          ids=study.queries.ids[shown],
          image=lambda i, shown=shown: query_image(
            study.queries.ids[shown[i]]
          ),
        )
        for name, shown in asked.items()
      ),
      explorer.QuerySet(
        name="label errors?", near=study.rows_near.take(first),
        labels=rows.labels[first], ids=rows.ids[first],
        image=lambda i: row_image(rows.ids[first[i]]),
        suggested=suspects.suggested[: len(first)],
        margin=suspects.margin[: len(first)],
      ),
    ],
    title="Why, and what if",
    class_names=study.class_names,
    settings={**settings, chosen.name: chosen.setting},
    voter=chosen.name,
    k=chosen.k,
    memory_image=row_image,
    reliability=explorer.Reliability(
      row_ids=rows.ids,
      wrong_counts=wrong,
      factors=pruning.reliability(wrong),
      threshold=explorer.threshold_dropping(wrong, options.hard_fraction),
    ),
  )  # fmt: skip
