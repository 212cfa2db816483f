"""What a study shows: pictures by their ids, and explained queries."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import SupportsIndex

import numpy as np

from visual_memory.analysis import (
  choosing,
  decision_maps,
  label_errors,
  pruning,
)
from visual_memory.data.image_source import ImageSource
from visual_memory.probes import logistic_regression
from visual_memory.reports import explorer, gallery
from visual_memory.reports import pictures as pictures_lib
from visual_memory.reports.results import Results
from visual_memory.studies.study import Study
from visual_memory.types import EmbeddedSet, Neighbors
from visual_memory.voting import weighting
from visual_memory.voting.vote import predict


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplorerSettings:
  """What the explorer shows.

  Attributes:
    right: answers of this kind.
    wrong: likewise.
    suspects: rows whose labels may be wrong.
    reliability_k: neighbors that count for a row's reliability.
    hard_fraction: of the rows, to drop at first.
  """

  right: int
  wrong: int
  suspects: int
  reliability_k: int
  hard_fraction: float


def image_of(
  source: ImageSource | None,
) -> Callable[[str], np.ndarray | None]:
  """A function from an id to its image; to None where there are no images."""
  if source is None:
    return lambda _: None
  place = {row_id: row for row, row_id in enumerate(source.ids)}
  return lambda row_id: source[place[row_id]].image


def explain(
  near: Neighbors,
  weights: np.ndarray,
  found: Results,
  queries: EmbeddedSet,
  *,
  rows_source: ImageSource,
  queries_source: ImageSource,
  right: int,
  wrong: int,
) -> tuple[gallery.GalleryItem, ...]:
  """Gallery items of some right and some wrong queries."""
  shown = gallery.choose_queries(
    found.labels, found.predictions, num_right=right, num_wrong=wrong
  )
  row_of = {row_id: row for row, row_id in enumerate(rows_source.ids)}
  query_of = {query: row for row, query in enumerate(queries_source.ids)}
  return gallery.build_gallery(
    near,
    weights,
    shown,
    labels=found.labels,
    predictions=found.predictions,
    ids=queries.ids,
    class_names=found.class_names,
    query_image=lambda q: queries_source[query_of[queries.ids[q]]].image,
    memory_image=lambda row_id: rows_source[row_of[row_id]].image,
  )


def explorer_of(
  study: Study,
  options: ExplorerSettings,
  *,
  settings: Mapping[str, weighting.Setting],
  chosen: choosing.Choice,
  suspects: label_errors.LabelErrors,
) -> str:
  """The page of some wrong and right answers and the first candidates.

  Args:
    study: with the neighbors of its rows.
    options: what is kept.
    settings: the voters to try on the page, by name.
    chosen: the voter and k that answer at first.
    suspects: rows whose labels may be wrong.
  """
  rows = study.embedded
  predictions = predict(
    study.near, [chosen.setting], ks=(chosen.k,), num_classes=study.num_classes
  )[0, 0]
  wrong = pruning.wrong_counts(
    study.rows_near, rows.labels, rows.ids,
    k=min(options.reliability_k, study.rows_near.k),
  )[0]  # fmt: skip
  row_image = image_of(study.rows_source)
  query_image = image_of(study.queries_source)
  asked = {
    name: gallery.choose_queries(study.labels, predictions, **kept)
    for name, kept in (
      ("wrong", {"num_wrong": options.wrong, "num_right": 0}),
      ("right", {"num_wrong": 0, "num_right": options.right}),
    )
  }
  first = suspects.rows[: options.suspects]
  # The page's script knows the rules of VOTERS alone, not those of one's own.
  offered = {
    name: value
    for name, value in {**settings, chosen.name: chosen.setting}.items()
    if value.voter in weighting.VOTERS
  } or weighting.published_settings()
  return explorer.render_explorer(
    [
      *(
        explorer.QuerySet(
          name=name, near=study.near.take(kept), labels=study.labels[kept],
          ids=study.queries.ids[kept],
          image=lambda i, kept=kept: query_image(
            study.queries.ids[kept[i]]
          ),
        )
        for name, kept in asked.items()
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
    settings=offered,
    voter=chosen.name if chosen.name in offered else next(iter(offered)),
    k=chosen.k,
    memory_image=row_image,
    reliability=explorer.Reliability(
      row_ids=rows.ids,
      wrong_counts=wrong,
      factors=pruning.reliability(wrong),
      threshold=explorer.threshold_dropping(wrong, options.hard_fraction),
    ),
  )  # fmt: skip


def found_by(
  study: Study,
  chosen: np.ndarray,
  probe: logistic_regression.Fitted | None = None,
) -> list[pictures_lib.Found]:
  """What a study's encoder finds for the chosen queries, and where it looks.

  Args:
    study: whose queries they are.
    chosen: their positions.
    probe: of the study's rows; then the maps are of the logit of the class
      that it tells, else of the similarity with the neighbors.
  """
  image, row_image = map(image_of, (study.queries_source, study.rows_source))
  near = study.near.take(chosen)
  pictures = [image(study.queries.ids[query]) for query in chosen]
  prepare = study.encoder.preprocess
  maps = decision_maps.decision_maps(
    study.encoder,
    np.stack([prepare(picture) for picture in pictures]),
    decision_maps.neighbor_directions(near, study.embedded)
    if probe is None
    else probe.weights.T[probe.predict(study.queries.embeddings[chosen])],
  )
  labels = study.labels[chosen]
  return [
    pictures_lib.Found(
      images=[row_image(row_id) for row_id in near.ids[place]],
      labels=[class_name(study.class_names, row) for row in near.labels[place]],
      similarities=near.similarities[place].tolist(),
      agrees=[
        None if label < 0 else bool(row == label) for row in near.labels[place]
      ],
      overlay=None if maps is None else pictures_lib.overlaid(
        picture if prepare.long_side == "square"
        else prepare.resize_and_crop(picture), maps[place]
      ),
    )
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True))
  ]  # fmt: skip


def class_name(class_names: Sequence[str], label: SupportsIndex) -> str:
  """A class's name; empty where it is unknown."""
  return class_names[label] if label >= 0 else ""
