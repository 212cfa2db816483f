"""Dual memories from settings: data, guesses, training."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

import jax
import numpy as np

from visual_memory.data import selection
from visual_memory.dual_memory import dual_memory, embed_views, guesses, reading
from visual_memory.dual_memory import shots as shots_lib
from visual_memory.memory.matching import match_classes
from visual_memory.reports import page
from visual_memory.retrieval import neighbor_files
from visual_memory.studies import cached_search, opening
from visual_memory.studies.study_settings import StudySettings, TextSettings

BASES = {
  "text": "the text classifier",
  "shots": "the vote of a visual memory of the shots",
  "memory": "the vote of a visual memory of all training rows",
}
"""What a config's adaptation.base may be, in words."""


CHOOSERS = {
  "text": "held-out shots, and are fixed where there is one shot or none",
  "shots": "held-out shots, and are fixed where there is one shot",
  "memory": "tuning rows of the memory, none of them a shot",
}
"""What chooses weights, by base."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptationSettings:
  """How memories are kept, read, trained, weighed: configs/dual_memory.py."""

  base: Literal[*BASES]
  max_k: int
  temperature: float
  num_slots: int
  order: str
  sharpness: tuple[float, ...]
  inverse_temperature: tuple[float, ...]
  variants: tuple[Literal["training_free", "few_shot"], ...]
  projection: Literal[*reading.INITS]
  num_views: int
  kept_views: float
  augmix: bool
  canvas: int
  learning_rate: float
  epochs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(StudySettings):
  """Shots of a memory's images, a stream of queries, and two memories.

  Attributes:
    root: of the data sets.
    num_shots: of each class.
    seeds: of the shots, the order of the stream, the views.
    shots_as_published: Python's sample, the same for all seeds.
    text: the text tower.
    adaptation: the memories.
    published: accuracies in percent, by name.
    published_encoder: whose they are.
  """

  root: str
  num_shots: tuple[int, ...]
  seeds: tuple[int, ...]
  shots_as_published: bool
  text: TextSettings
  adaptation: AdaptationSettings
  published: Mapping[str, float]
  published_encoder: str

  def __post_init__(self):
    """Raises ValueError if base and text do not go together."""
    if (self.adaptation.base == "text") != bool(self.text.name):
      raise ValueError(
        "adaptation.base is 'text' with text.name, and 'shots' or 'memory'"
        " without: class names alone say nothing about images."
      )


class Data:
  """Images and their embeddings: the test, the shots, the tuning rows."""

  def __init__(self, config, mesh, clock, workdir):
    """Draws the shots of every seed and embeds what is needed."""
    self._config, self._mesh = config, mesh
    self._workdir = workdir
    self.cache_dir = opening.cache_dir(config, workdir)
    section = config.adaptation
    if config.text.name:
      opening.require_words("A text classifier", config.memory, config.data)
    with clock("encoder"):
      self._encoder = encoder = opening.load_encoder(config.encoder)
    self._test = opening.open_source(config.data)
    self._train = opening.open_source(config.memory)
    self._drawn = self._draw()
    embed = functools.partial(
      opening.embed, encoder, mesh=mesh, cache_dir=self.cache_dir,
      settings=config.embed,
    )  # fmt: skip
    reports = []
    with clock("embed"):
      self._queries, report = embed(self._test)
      reports.append(report)
      self._rows = None
      if self._drawn or section.base == "memory":
        self._rows, report = embed(self._needed())
        reports.append(report)
    self.skipped = page.skipped(*reports)
    names = (self._rows or self._queries).class_names
    self.class_names, self._labels = match_classes(names, self._queries)
    self.counts = {
      "queries": len(self._queries),
      "memory_rows": 0 if self._rows is None else len(self._rows),
    }
    self.fingerprint, self._guess, self._tune = "", None, None
    if section.base == "memory":
      with clock("search"):
        self._search()
    with clock("views"):
      self._views = {
        seed: self._random_views(self._test, self._queries.ids, seed,
                                 section.num_views - 1, section.augmix)
        for seed in (config.seeds if section.base == "text" else ())
      }  # fmt: skip

  def asked(self, seed):
    """The test queries in the order of this seed's stream."""
    order = np.argsort(
      selection.id_hash(self._queries.ids, salt=f"stream/{seed}"),
      kind="stable",
    )
    centers = self._queries.embeddings
    views = centers[:, None]
    if seed in self._views:
      views = embed_views.with_centers(centers, self._views[seed])
    return guesses.Asked(
      views=views, labels=self._labels, guess=self._guess
    ).take(order)

  def held_out(self, seed):
    """The memory's tuning rows, if it is the base; else None: the shots."""
    if self._tune is None:
      return None
    order = np.argsort(np.asarray(selection.id_hash(
      self._tune_ids, salt=f"stream/{seed}")), kind="stable")  # fmt: skip
    return self._tune.take(order)

  def shots(self, seed, num_shots):
    """Embeddings of the first shots of each class, [C, S, D]."""
    rows = self._drawn[seed].first(num_shots).rows_in(self._rows.ids)
    return self._rows.embeddings[rows]

  def shot_crops(self, seed, num_crops):
    """Random crops of every drawn shot, [C, S, E, D]."""
    drawn = self._drawn[seed]
    crops = self._random_views(
      self._train, drawn.ids.ravel(), seed, num_crops, False
    )
    return crops.reshape(*drawn.ids.shape, num_crops, -1)

  def guesser(self, text):
    """The base, as a function of queries."""
    section = self._config.adaptation
    if section.base == "memory":
      return guesses.as_given
    if section.base == "shots":
      return guesses.by_vote(
        max_k=section.max_k, temperature=section.temperature, mesh=self._mesh
      )
    return guesses.by_text(
      text,
      inverse_temperature=section.inverse_temperature[0],
      fraction=section.kept_views,
      mesh=self._mesh,
    )

  def text_classifier(self):
    """The texts' row of each class, [C, D]; None without a text tower."""
    return opening.text_classifier(
      self._config.text, self.class_names, self.cache_dir,
      weights=self._config.encoder.weights,
    )  # fmt: skip

  def _draw(self):
    """The shots of each seed, saved; none if none are asked for."""
    most = max(self._config.num_shots)
    if not most:
      return {}
    train = self._train
    if train is None:
      raise ValueError("Shots need `memory`, the source of training images.")
    lost = sorted({*self._test.class_names}.difference(train.class_names))
    if lost:
      raise ValueError(
        f"The class {lost[0]!r} is asked about, but no image of it can be a"
        " shot: add some to the memory, or leave it out by data.classes."
      )
    free = ~self._is_tuning(train.ids)
    labels, ids, names = train.labels[free], train.ids[free], train.class_names
    drawn = {
      seed: shots_lib.published_shots(labels, ids, names, num_shots=most)
      if self._config.shots_as_published
      else shots_lib.draw_shots(labels, ids, names, num_shots=most, seed=seed)
      for seed in self._config.seeds
    }
    if self._workdir.lead:
      for seed, shots in drawn.items():
        shots_lib.save_shots(shots, self._workdir.path / f"shots_{seed}.json")
    return drawn

  def _is_tuning(self, ids):
    """The rows that choose, which are never shots; none without that base."""
    if self._config.adaptation.base != "memory":
      return np.zeros(len(ids), bool)
    return selection.tune_mask(
      ids, fraction=self._config.voting.tune_fraction, seed=self._config.seed
    )

  def _needed(self):
    """All training images for a memory of them; else the shots alone."""
    if self._config.adaptation.base == "memory":
      return self._train
    drawn = {i for shots in self._drawn.values() for i in shots.ids.ravel()}
    return selection.subset(
      self._train, np.array([i in drawn for i in self._train.ids])
    )

  def _search(self):
    """The votes of all rows for the test and for the tuning rows."""
    section, rows = self._config.adaptation, self._rows
    search = cached_search.Search(
      rows, self._mesh, self.cache_dir, self._config.retrieval
    )
    near = search(self._queries, section.max_k, leave_one_out=False)
    tune = rows.take(self._is_tuning(rows.ids))
    tune_near = search(tune, section.max_k, leave_one_out=True)
    vote = functools.partial(
      guesses.voted, num_classes=len(self.class_names),
      temperature=section.temperature,
    )  # fmt: skip
    self._guess, self._tune_ids = vote(near), tune.ids
    self._tune = guesses.Asked(
      views=tune.embeddings[:, None], labels=tune.labels, guess=vote(tune_near)
    )
    self.fingerprint = neighbor_files.neighbors_fingerprint(near)

  def _random_views(self, source, ids, seed, num_views, augmix):
    row_of = {value: row for row, value in enumerate(source.ids)}
    return embed_views.embed_views(
      self._encoder, source, np.array([row_of[value] for value in ids]),
      num_views=num_views, augmix=augmix, seed=seed, mesh=self._mesh,
      canvas=self._config.adaptation.canvas,
      cache_dir=self.cache_dir / "views",
    )  # fmt: skip


def settings(section: AdaptationSettings) -> dual_memory.Settings:
  """The memories' settings."""
  return dual_memory.Settings(num_slots=section.num_slots, order=section.order)


def candidates(section):
  """Pairs of sharpness and inverse temperature, the default first."""
  return [
    (float(beta), float(tau))
    for beta in section.sharpness
    for tau in section.inverse_temperature
  ]


def fit(config, data, text, seed, mesh):
  """Trains a projection on some of the shots of this seed."""
  # It needs optax, which only training does: the `train` extra.
  from visual_memory.dual_memory import shot_training

  section = config.adaptation
  crops = data.shot_crops(seed, section.epochs)

  def train(shots, numbers):
    num_classes, num_shots, dim = shots.shape
    init = reading.INITS[section.projection]
    sharpness, tau = candidates(section)[0]
    trained, _ = shot_training.train(
      init(num_classes=num_classes, dim=dim),
      crops[:, numbers].reshape(num_classes * num_shots, -1, dim),
      np.repeat(np.arange(num_classes), num_shots),
      static=dual_memory.class_rows(
        text=text, shots=shots, num_classes=num_classes, dim=dim
      ),
      text=text,
      settings=shot_training.TrainSettings(
        learning_rate=section.learning_rate,
        epochs=section.epochs,
        sharpness=sharpness,
        inverse_temperature=tau,
      ),
      key=jax.random.key(seed),
    )
    return trained

  return train
