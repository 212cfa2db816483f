"""Why an answer was given, what if rows were other, and which labels err.

The explorer shows test queries and label-error candidates, with the voter and
k that the tuning rows prefer. The ranking of candidates is measured on labels
that are made wrong on purpose.
"""

import dataclasses

from jax.sharding import Mesh

from visual_memory import files
from visual_memory.analysis import label_errors
from visual_memory.reports.page import Section
from visual_memory.reports.sections import attribution as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import opening, shown
from visual_memory.studies.study import finish_study, open_study
from visual_memory.studies.study_settings import StudySettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attribution(shown.ExplorerSettings):
  """See configs/attribution.py."""

  retrieved: int
  planted_fraction: float
  looked_at: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """What is shown, and how candidates are measured."""

  attribution: Attribution


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes explorer.html beside its report."""
  options = config.attribution
  study = open_study(
    config, workdir, mesh, max_k=options.retrieved, rows_near=True
  )
  settings = config.voting.settings()
  num_classes = study.num_classes
  with study.clock("choose"):
    chosen = opening.chosen(config, study)
  rank = lambda near, labels: label_errors.rank_label_errors(
    near, labels, voter=chosen.setting.voter, k=chosen.k,
    num_classes=num_classes, **chosen.setting.hyper,
  )  # fmt: skip
  with study.clock("rank label errors"):
    suspects = rank(study.rows_near, study.embedded.labels)
  planted = None
  if num_classes > 1:  # Of a single class no label can be wrong.
    planted = label_errors.find_planted(
      rank, study.rows_near, study.embedded.labels, study.embedded.ids,
      num_classes=num_classes, fraction=options.planted_fraction,
      counts=options.looked_at, seed=config.seed,
    )  # fmt: skip
  with study.clock("explorer"):
    text = shown.explorer_of(
      study, options, settings=settings, chosen=chosen, suspects=suspects
    )
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
        row_image=shown.image_of(study.rows_source),
      ),
      *([sections.planted(planted)] if planted else []),
    ],
    values={
      "chosen": {"voter": chosen.name, "k": chosen.k},
      "label_errors": {
        "suspects": suspects.num_suspects,
        "first": rows.ids[suspects.rows[: options.suspects]],
      },
      "planted": planted and dataclasses.asdict(planted),
    },
  )  # fmt: skip
