"""Two objects in one image: what is left of a query beside its neighbor."""

from jax.sharding import Mesh

from visual_memory.reports.sections import attribution as sections
from visual_memory.reports.workdir import Workdir
from visual_memory.studies import composition, shown
from visual_memory.studies.composition import Settings
from visual_memory.studies.study import finish_study, needs_images, open_study


def main(config: Settings, workdir: Workdir, mesh: Mesh) -> None:
  """Composes pairs, looks at one's own pictures, and writes the report."""
  study = open_study(config, workdir, mesh, tune=False)
  needs_images(study)
  given = {"pairs": composition.pairs_of(config, study)}
  if config.pictures.opened:
    given["own pictures"] = composition.own_pictures(config, study)
  parts, values = [], {}
  row_image = shown.image_of(study.rows_source)
  for name, pictures in given.items():
    with study.clock(name):
      near, left = composition.looked_at(config, study, pictures)
    found = composition.scores(pictures, near, left)
    items = [
      sections.composed(
        one.take([i]), picture=pictures.images[i], what=what,
        name=pictures.ids[i], classes=pictures.classes[i],
        class_names=study.class_names, row_image=row_image,
      )
      for i in range(min(config.composition.shown, len(pictures.images)))
      for one, what in (
        (near, "as it is"), (left["difference"], "what is left")
      )
    ]  # fmt: skip
    parts.append(
      sections.compositions(found, tuple(items), own=name == "own pictures")
    )
    values[name] = len(pictures.images)
    values["found" if name == "pairs" else "found_in_own"] = {
      how: vars(value) for how, value in found.items()
    }
  finish_study(workdir, config, study, sections=parts, values=values)
