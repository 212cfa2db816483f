"""Trial pages for people, and the analysis of what they answered.

The model is the study's vote at the setting that its tuning rows prefer. Where
the config names a folder of responses, they are analysed too.
"""

from jax.sharding import Mesh

from visual_memory.analysis import choosing
from visual_memory.reports import trial_site
from visual_memory.reports.page import Section
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import human_study, opening, shown
from visual_memory.studies.human_study import Settings
from visual_memory.studies.study import finish_study, needs_images, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Writes site/, key.json and the report into the workdir."""
  options = config.human
  opening.require_words("A study with people", config.memory, config.data)
  study = open_study(config, workdir, mesh)
  needs_images(study)
  chosen = opening.chosen(config, study)
  scored = choosing.score(
    study.held_out, chosen, num_classes=study.num_classes, seed=config.seed
  )
  with study.clock("other choices"):
    plausible = human_study.plausible_classes(config, workdir, mesh, study)
  design = human_study.design(config, study, scored.predictions, plausible)
  row_image = shown.image_of(study.rows_source)
  query_image = shown.image_of(study.queries_source)
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
  section, values = human_study.told_by_people(
    options, design, scored.accuracy.mean
  )
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
          " human.responses set to that folder.",
        ),
        links={"The trials": "site/index.html"},
      ),
      section,
    ],
    values={"study": design.study, "trials": len(design.trials), **values},
  )  # fmt: skip
