"""Trial pages for people, and the analysis of what they answered.

The model is the study's vote at the setting that its tuning rows prefer. Where
the config names a folder of responses, they are analysed too.
"""

import pathlib

from experiments import needs, stages
from experiments.study import finish_study, open_study
from visual_memory.analysis import choosing
from visual_memory.analysis.human_study import exact_tests, responses, trials
from visual_memory.reports import trial_site
from visual_memory.reports.page import Section
from visual_memory.reports.sections import attribution as sections

_KINDS = ("prediction", "preference")


def main(config, workdir, mesh) -> None:
  """Writes site/, key.json and the report into the workdir."""
  options = config.human
  if options.kind not in _KINDS:
    raise ValueError(f"human.kind = {options.kind!r}: {' or '.join(_KINDS)}.")
  study = open_study(config, workdir, mesh)
  needs.images(study)
  chosen = choosing.choose(
    study.tuning, settings=stages.voter_settings(config.voting),
    ks=tuple(config.voting.ks), num_classes=study.num_classes,
  )  # fmt: skip
  scored = choosing.score(
    study.held_out, chosen, num_classes=study.num_classes, seed=config.seed
  )
  design = _design(config, study, scored.predictions)
  row_image = stages.image_of(study.rows_source)
  query_image = stages.image_of(study.queries_source)
  if workdir.lead:
    trial_site.write_site(
      workdir.path,
      design,
      class_names=study.class_names,
      title=options.title,
      query_image=lambda q: query_image(study.queries.ids[q]),
      neighbor_images=lambda q: [
        row_image(row_id) for row_id in study.near.ids[q, : options.neighbors]
      ],
    )
  section, values = _responses(options, design, scored.accuracy.mean)
  finish_study(
    workdir, config, study,
    sections=[
      Section(
        title="The pages",
        prose=(
          f"{len(design.trials)} trials in {len(design.orders)} orders. Hand"
          " out site/; keep key.json, which says what the model answered"
          f" ({chosen.name} vote, k = {chosen.k}). Put the files that people"
          " save into one folder, and run this again in another workdir with"
          " --config.human.responses=FOLDER.",
        ),
        links={"The trials": "site/index.html"},
      ),
      section,
    ],
    values={"study": design.study, "trials": len(design.trials), **values},
  )  # fmt: skip


def _design(config, study, predictions):
  """The study's trials."""
  options = config.human
  queries = (study.queries.ids, study.labels, predictions)
  common = {
    "num_trials": options.trials,
    "num_participants": options.participants,
    "seed": config.seed,
  }
  if options.kind == "preference":
    return trials.preference_trials(
      *queries, extras=tuple(options.extras), **common
    )
  return trials.prediction_trials(
    *queries, num_classes=study.num_classes, num_choices=options.choices,
    within=options.within, **common,
  )  # fmt: skip


def _responses(options, design, accuracy):
  """The section about responses, and their numbers."""
  if not options.responses:
    return Section(title="Responses", prose=("There are none yet.",)), {}
  found = responses.read_responses(
    sorted(pathlib.Path(options.responses).iterdir()), design.key()
  )
  counted = {"responses": len(found), "unfinished": found.num_unfinished}
  if options.kind == "preference":
    told = exact_tests.preference(found, accuracy=accuracy)
    section = sections.preferred(told, accuracy=accuracy)
  else:
    told = exact_tests.compare_conditions(found, num_choices=options.choices)
    section = sections.predicted(told, num_responses=len(found))
  return section, counted | {"analysis": exact_tests.as_values(told)}
