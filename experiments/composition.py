"""Two objects in one image: what is left of a query beside its neighbor."""

import dataclasses

import numpy as np
from jax.sharding import Mesh

from visual_memory.analysis import composition
from visual_memory.reports.sections import attribution as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import shown
from visual_memory.studies.cached_search import unlabeled
from visual_memory.studies.study import finish_study, needs_images, open_study
from visual_memory.studies.study_settings import StudySettings

_HOW = ("difference", "projection")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
  """How many pairs, rows of each, and pairs on the page."""

  pairs: int
  retrieved: int
  shown: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """A memory, and pairs of its queries."""

  composition: Pairs


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Runs the experiment and writes its report."""
  options = config.composition
  study = open_study(config, workdir, mesh, tune=False)
  needs_images(study)
  pairs = composition.choose_pairs(
    study.queries.ids, study.labels, num_pairs=options.pairs, seed=config.seed
  )
  image = shown.image_of(study.queries_source)
  images = [
    composition.side_by_side(*(image(study.queries.ids[q]) for q in pair))
    for pair in pairs
  ]
  with study.clock("embed pairs"):
    embeddings = study.encoder.encode(images)
  search = lambda rows: study.search(
    unlabeled(rows, study.embedded, "pair"),
    options.retrieved,
    leave_one_out=False,
  )
  with study.clock("search pairs"):
    near = search(embeddings)
    nearest = study.embedded.embeddings[near.indices[:, 0]]
    residuals = [
      composition.residuals(embeddings, nearest, how=how) for how in _HOW
    ]
    beyond = search(np.concatenate(residuals))
  left = {
    how: beyond.take(range(i * len(pairs), (i + 1) * len(pairs)))
    for i, how in enumerate(_HOW)
  }
  classes, first = study.labels[pairs], near.labels[:, 0]
  found = {
    "plain search": composition.found_both(
      first, composition.next_other(near.labels), classes
    ),
    **{
      f"residual: {how}": composition.found_both(
        first, other.labels[:, 0], classes
      )
      for how, other in left.items()
    },
  }
  row_image = shown.image_of(study.rows_source)
  items = [
    sections.composed(
      one.take([i]), picture=images[i], classes=study.labels[pairs[i]],
      what=what, class_names=study.class_names, row_image=row_image,
    )
    for i in range(min(options.shown, len(pairs)))
    for one, what in ((near, "as it is"), (left["difference"], "what is left"))
  ]  # fmt: skip
  finish_study(
    workdir, config, study,
    sections=[sections.compositions(found, tuple(items))],
    values={
      "pairs": len(pairs),
      "found": {
        name: {"first": value.first, "both": value.both}
        for name, value in found.items()
      },
    },
  )  # fmt: skip
