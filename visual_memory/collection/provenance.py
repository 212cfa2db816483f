"""Where a store's rows come from: its encoder, its sources, its pictures.

It is kept in the store's attributes, so that whoever opens the store can embed
more images in the same way, show the picture of a row, or embed everything
again with another encoder.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from visual_memory.data import sources
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.image_source import ImageSource
from visual_memory.encoders import encoder as encoder_lib
from visual_memory.encoders.encoder import Encoder
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store

ORIGIN = "origin"
"""The field of a row's metadata that says which origin it comes from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """A data source that rows were read from.

  Attributes:
    name: what `open_source` calls it.
    options: its options.
    prefix: put before the source's ids to make the rows'.
  """

  name: str
  options: Mapping[str, Any]
  prefix: str = ""

  def open(self) -> ImageSource:
    """The source."""
    return sources.open_source(self.name, **self.options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
  """Where the rows of a store come from.

  Attributes:
    encoder: the arguments of `load_encoder`.
    preprocess: what the encoder does to pixels, for the record.
    origins: the sources of the rows.
    unfinished: whether the store is still being built.
  """

  encoder: Mapping[str, Any]
  preprocess: Mapping[str, Any]
  origins: tuple[Origin, ...] = ()
  unfinished: bool = False

  def to_attributes(self) -> dict[str, Any]:
    """As plain JSON values."""
    return dataclasses.asdict(self)

  def with_origin(self, origin: Origin) -> tuple["Provenance", int]:
    """With this origin among the others, and its place."""
    if origin in self.origins:
      return self, self.origins.index(origin)
    origins = (*self.origins, origin)
    return dataclasses.replace(self, origins=origins), len(origins) - 1


def provenance(store: Store) -> Provenance:
  """Where the rows of a store come from.

  Raises:
    StoreError: it was not recorded.
  """
  attributes = store.attributes
  try:
    origins = tuple(Origin(**origin) for origin in attributes["origins"])
    return Provenance(**{**attributes, "origins": origins})
  except (KeyError, TypeError) as error:
    raise StoreError(
      f"{store.path} does not say which encoder made its rows: it was made"
      " by Store.create, not from images. Embed images as it was made, and use"
      " Store.add; or import it with --encoder."
    ) from error


def load_encoder(store: Store) -> Encoder:
  """The encoder that made a store's rows.

  Raises:
    StoreError: what is loaded is not what made them.
  """
  arguments = provenance(store).encoder
  encoder = encoder_lib.load_encoder(**arguments)
  if encoder.fingerprint != store.fingerprint:
    raise StoreError(
      f"The encoder {arguments['name']!r} is {encoder.fingerprint!r} now, but"
      f" the rows were made by {store.fingerprint!r}: its weights or this"
      " package have changed. Rebuild the memory with the new one, or bring"
      " the old one back."
    )
  return encoder


class Pictures:
  """The images of a store's rows, read from where they came from."""

  def __init__(self, origins: tuple[Origin, ...]):
    """Nothing is opened before the first image."""
    self._origins = origins

  def read(self, row_id: str, metadata: Mapping[str, Any]) -> np.ndarray:
    """The image of a row, uint8 [H, W, 3].

    Raises:
      UnreadableImage: it is no longer there, or damaged.
    """
    number = metadata.get(ORIGIN)
    if number is None:
      raise UnreadableImage(row_id, "its origin was not recorded")
    try:
      source, rows = self._opened(number)
      return source[rows[row_id]].image
    except KeyError:
      reason = f"it is no longer in {self._origins[number].options}"
      raise UnreadableImage(row_id, reason) from None
    except (OSError, ValueError) as error:
      raise UnreadableImage(row_id, str(error).rstrip(".")) from error

  def find(self, row_id: str, metadata: Mapping[str, Any]) -> np.ndarray | None:
    """The image of a row, or None."""
    try:
      return self.read(row_id, metadata)
    except UnreadableImage:
      return None

  @functools.cache  # noqa: B019
  def _opened(self, number: int) -> tuple[ImageSource, dict[str, int]]:
    """An origin's source, and the row of each id."""
    origin = self._origins[number]
    source = origin.open()
    rows = {origin.prefix + i: row for row, i in enumerate(source.ids)}
    return source, rows
