"""What a study is asked to do: frozen settings, one class a config section.

  settings = StudySettings(
    title="Digits",
    encoder=EncoderSettings(name="pixels", options={"size": 8}),
    memory=SourceSettings(source="digits", options={"split": "train"}),
    data=SourceSettings(source="digits", options={"split": "test"}),
  )

Names and defaults are those of `configs/evaluate.py`; `experiments.from_config`
makes them of a config. Values are checked when settings are made.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from visual_memory.encoders import settings as encoder_settings
from visual_memory.memory import precision as precision_lib
from visual_memory.memory import whitening
from visual_memory.studies.from_values import Name
from visual_memory.voting import weighting

_Settings = TypeVar("_Settings")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSettings:
  """The arguments of `load_encoder`; without a name, no encoder."""

  name: str
  weights: str | None = None
  precision: Literal[*encoder_settings.PRECISIONS] = "float32"
  preprocess: str | None = None
  image_size: int | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def paths(self) -> list[str]:
    """The files that have to be there."""
    return [self.weights] if self.name and self.weights else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
  """The arguments of `open_source`; without a source, no images.

  Attributes:
    source: its name, a key of `sources.SOURCES`.
    classes: names of those that are kept; empty: all.
    class_names: what the classes are called, where their folders or numbers
      do not say it: a file or "imagenet_1k"; empty: as they are.
    sample: images that are drawn by their ids; 0: all.
    options: of this source; those that are None are not given.
  """

  source: str
  classes: tuple[str, ...] = ()
  class_names: str = ""
  sample: int = 0
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def opened(self) -> bool:
    """Whether this is a source that `open_source` opens."""
    return bool(self.source)

  def paths(self) -> list[str]:
    """The files and folders that have to be there."""
    if not self.opened:
      return []
    options = (self.options.get(name) for name in ("path", "list_file"))
    found = [path for path in options if path]
    split = self.options.get("split")
    if self.source == "folder" and split and found and os.path.isdir(found[0]):
      found.append(os.path.join(found[0], split))
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSettings:
  """The text tower, without a name none; and what it is told.

  Attributes:
    name: of `load_text_encoder`.
    weights: by default the encoder's.
    vocabulary: its file.
    templates: a key of `templates`; empty: none.
    descriptions: a JSON file, {class name: [sentence, ...]}.
  """

  name: str
  weights: str | None
  vocabulary: str | None
  templates: str
  descriptions: str

  def paths(self) -> list[str]:
    """The files that have to be there."""
    given = (self.weights, self.vocabulary, self.descriptions)
    return [path for path in given if self.name and path]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedSettings:
  """How a source is embedded.

  Attributes:
    batch_size: images of a device at a time.
    num_workers: threads that read images.
    resize_on: "auto", "host" or "device".
  """

  batch_size: int | None = None
  num_workers: int | None = None
  resize_on: str = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighborsSettings:
  """Neighbor files in place of images and an encoder; empty: none.

  Attributes:
    queries: the neighbors of the test queries.
    rows: those of the memory's own rows, for tuning and pruning.
  """

  queries: str = ""
  rows: str = ""

  def paths(self) -> list[str]:
    """The files that have to be there."""
    return [path for path in (self.queries, self.rows) if path]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
  """How neighbors are searched.

  Attributes:
    backend: exact, or approximate with its recall reported.
    num_audited: queries that measure the recall.
    precision: of the first pass, or "auto"; the answers agree.
    whitening: the ridge by which rows and queries are whitened on the rows (1
      is a good one); None to compare them as they are.

  Raises:
    ValueError: a ridge that is none.
  """

  backend: Literal["exact", "scann"] = "exact"
  num_audited: int = 64
  precision: Literal[*precision_lib.CHOICES] = "auto"
  whitening: float | None = None

  def __post_init__(self):
    """Checks the ridge."""
    if self.whitening is not None:
      whitening.check_ridge(self.whitening)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VotingSettings:
  """How neighbors vote.

  Attributes:
    voters: that are compared: keys of `weighting.VOTERS`, and voters of one's
      own as "module:function" (see `weighting`).
    ks: numbers of neighbors that vote.
    exponent: of the distance vote.
    temperature: of the softmax vote.
    offset: of the rank vote.
    voter: to quote; empty: chosen on tuning rows.
    k: to quote with that voter; 0: the largest of ks.
    tune_fraction: of the memory's rows.

  Raises:
    ValueError: no voter or k at all, a k below 1, a hyper-parameter or fraction
      out of range, or a voter that is unknown or breaks its contract.
  """

  voters: tuple[Name, ...] = tuple(weighting.VOTERS)
  ks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50, 100)
  exponent: float = 1.0
  temperature: float = 0.07
  offset: float = 2.0
  voter: str = ""
  k: int = 0
  tune_fraction: float = 0.1

  def __post_init__(self):
    """Refuses what no vote can do."""
    if not self.voters or not self.ks or min(self.ks) < 1:
      raise ValueError(
        f"voters = {self.voters}, ks = {self.ks}: name at least one of each,"
        " and no k below 1."
      )
    if not 0 < self.tune_fraction < 1:
      raise ValueError(
        f"tune_fraction = {self.tune_fraction} must lie between 0 and 1."
      )
    self.settings()
    if self.voter:
      weighting.rule(self.voter)

  def settings(self) -> dict[str, weighting.Setting]:
    """The voters by name, with their hyper-parameters."""
    hyper = {
      "distance": {"exponent": self.exponent},
      "softmax": {"temperature": self.temperature},
      "rank": {"offset": self.offset},
    }
    return {
      voter: weighting.setting(voter, **hyper.get(voter, {}))
      for voter in self.voters
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class GallerySettings:
  """How many answers of each kind are explained on the page."""

  right: int = 12
  wrong: int = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
  """What every run has.

  Attributes:
    experiment: the name of the script that runs it, in `experiments`.
    title: of its page.
    seed: of everything that is drawn.
  """

  experiment: str = ""
  title: str = ""
  seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudySettings(RunSettings):
  """One memory and one set of queries.

  Attributes:
    cache_dir: where embeddings and neighbors are kept; empty: in the workdir.
    encoder: None where an experiment names several.
    encoders: further ones, by name, that are compared.
    memory: the images that are remembered.
    data: the images that are asked about; without them each row of the
      memory is asked about, left out of its own neighbors.
    embed: how they are embedded.
    neighbors: files in place of all these.
    retrieval: how neighbors are searched.
    voting: how they vote.
    gallery: what is explained.
  """

  cache_dir: str = ""
  encoder: EncoderSettings | None = None
  encoders: Mapping[str, EncoderSettings] = dataclasses.field(
    default_factory=dict
  )
  memory: SourceSettings | None = None
  data: SourceSettings | None = None
  embed: EmbedSettings = EmbedSettings()
  neighbors: NeighborsSettings = NeighborsSettings()
  retrieval: RetrievalSettings = RetrievalSettings()
  voting: VotingSettings = VotingSettings()
  gallery: GallerySettings = GallerySettings()


def replaced(settings: _Settings, **changes: Any) -> _Settings:
  """The settings with other values: `voting__ks=(1,)` for settings.voting.ks.

  Raises:
    TypeError: there is no such field.
  """
  values = {}
  for path, value in changes.items():
    name, _, rest = path.partition("__")
    if rest:
      value = replaced(
        values.get(name, getattr(settings, name)), **{rest: value}
      )
    values[name] = value
  return dataclasses.replace(settings, **values)


def as_values(settings: Any) -> Any:
  """Settings as plain nested values, for a report: sections become dicts.

  Sections that are absent (None, or no further encoders) are left out.
  """
  if dataclasses.is_dataclass(settings):
    values = {
      field.name: getattr(settings, field.name)
      for field in dataclasses.fields(settings)
    }
    return {
      name: as_values(value)
      for name, value in values.items()
      if not (value is None and name in ("encoder", "memory", "data"))
      and not (value == {} and name == "encoders")
    }
  if isinstance(settings, Mapping):
    return {name: as_values(value) for name, value in settings.items()}
  if isinstance(settings, (tuple, list)):
    return [as_values(value) for value in settings]
  return settings
