"""What is known of a family of published encoders: one table each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.published.download import Published
from visual_memory.encoders.published.naming import Naming
from visual_memory.encoders.settings import TextConfig, ViTConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
  """One published encoder: an image tower, maybe with its text tower.

  Attributes:
    image: the image tower's settings.
    preprocess: that with which its authors evaluate it.
    text: the text tower's settings, or None.
    address: the file of its weights, or None where they are on the hub alone.
    hub: the repository on the Hugging Face hub that has them, or "".
    license: of these weights, where it is not the family's.
  """

  image: ViTConfig
  preprocess: Preprocess
  text: TextConfig | None = None
  address: Published | None = None
  hub: str = ""
  license: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """Models that differ in size alone, and what their files look like.

  Attributes:
    title: what its authors call it.
    source: who they are, and where they publish.
    license: of the weights.
    models: by the name that `load_encoder` knows.
    image: namings of the image tower.
    text: namings of the text tower.
    unused: patterns of tensors that its files hold and no encoder needs.
    as_origin: from a model and the origin of a file's layout to the model as
      that origin's own code runs it.
    read_config: from a repository's description (its config.json) to the model
      it describes, or None if it is of another family.
  """

  title: str
  source: str
  license: str
  models: Mapping[str, Model]
  image: tuple[Naming, ...]
  text: tuple[Naming, ...] = ()
  unused: tuple[str, ...] = ()
  as_origin: Callable[[Model, str], Model] = lambda model, origin: model
  read_config: Callable[[Mapping[str, Any]], Model | None] = lambda config: None
