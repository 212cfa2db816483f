"""Two objects in one image: what is left of a query beside its neighbor."""

import numpy as np

from experiments import needs, stages
from experiments.study import finish_study, open_study
from visual_memory import types
from visual_memory.analysis import composition
from visual_memory.reports.sections import attribution as sections

_HOW = ("difference", "projection")


def main(config, workdir, mesh) -> None:
  """Runs the experiment and writes its report."""
  options = config.composition
  study = open_study(config, workdir, mesh, tune=False)
  needs.images(study)
  pairs = composition.choose_pairs(
    study.queries.ids, study.labels, num_pairs=options.pairs, seed=config.seed
  )
  image = stages.image_of(study.queries_source)
  images = [
    composition.side_by_side(*(image(study.queries.ids[q]) for q in pair))
    for pair in pairs
  ]
  with study.clock("embed pairs"):
    embeddings = study.encoder.encode(images)
  search = lambda rows: study.search(
    _unlabeled(rows, study.embedded), options.retrieved, leave_one_out=False
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
  row_image = stages.image_of(study.rows_source)
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


def _unlabeled(rows, embedded):
  """Queries of the memory's encoder whose classes nobody says."""
  return types.embedded_set(
    rows,
    np.full(len(rows), types.UNLABELED),
    [f"pair/{i}" for i in range(len(rows))],
    class_names=embedded.class_names,
    fingerprint=embedded.fingerprint,
  )
