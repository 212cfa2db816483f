"""Where a store's rows come from: its encoder, its sources, its pictures.

It is kept in the store's attributes, so that whoever opens the store can embed
more images in the same way, show the picture of a row, or embed everything
again with another encoder.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from visual_memory.collection import class_folders, identity
from visual_memory.collection.identity import Known
from visual_memory.collection.origins import Origin, origin_from
from visual_memory.data import contents, file_trees
from visual_memory.data.contents import Content
from visual_memory.data.decoding import UnreadableImage, decode_image
from visual_memory.store.errors import StoreError
from visual_memory.store.store import Store

if TYPE_CHECKING:
  import visual_memory.encoders.encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
  """Where the rows of a store come from.

  Attributes:
    encoder: the arguments of `load_encoder`.
    preprocess: what the encoder does to pixels, for the record.
    origins: the sources of the rows.
    unfinished: whether the store is still being built.
    pruning: how its rows' factors were made; None if they have none.
    whitening: see Store.whiten.
  """

  encoder: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  preprocess: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  origins: tuple[Origin, ...] = ()
  unfinished: bool = False
  pruning: Mapping[str, Any] | None = None
  whitening: float | None = None

  def to_attributes(self) -> dict[str, Any]:
    """As plain JSON values."""
    return dataclasses.asdict(self)

  def with_origin(self, origin: Origin) -> tuple["Provenance", int]:
    """With this origin, in place of what was decided of it before; its number.

    One path may be an origin twice: with classes, and without.
    """
    flat = lambda o: o.class_level == class_folders.FLAT
    for number, old in enumerate(self.origins):
      same = (old.path, flat(old), old.prefix) == (
        origin.path, flat(origin), origin.prefix,
      )  # fmt: skip
      if same:
        origins = list(self.origins)
        origins[number] = origin
        return dataclasses.replace(self, origins=tuple(origins)), number
    origins = (*self.origins, origin)
    return dataclasses.replace(self, origins=origins), len(origins) - 1


_FIELDS = tuple(field.name for field in dataclasses.fields(Provenance))


def provenance(store: Store) -> Provenance:
  """Where the rows of a store come from.

  Raises:
    StoreError: it was not recorded.
  """
  attributes = store.attributes
  encoder = encoder_of(store)
  try:
    old = [o for o in attributes["origins"] if "path" not in o]
    if old:
      raise StoreError(_of_an_old_version(store, old[0]))
    origins = tuple(map(origin_from, attributes["origins"]))
    known = {name: attributes[name] for name in _FIELDS if name in attributes}
    return Provenance(**{**known, "origins": origins, "encoder": encoder})
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise _not_from_images(store) from error


def encoder_of(store: Store) -> dict[str, Any]:
  """The arguments of `load_encoder` that gave a store's encoder.

  Raises:
    StoreError: they were not recorded.
  """
  try:
    encoder = dict(store.attributes["encoder"])
    if not isinstance(encoder["name"], str):
      raise TypeError("no name")
    return encoder
  except (KeyError, TypeError, ValueError) as error:
    raise _not_from_images(store) from error


def _not_from_images(store: Store) -> StoreError:
  return StoreError(
    f"{store.path} does not say which encoder made its rows: it was made"
    " by Store.create, not from images. Embed images as it was made, and use"
    " Store.add."
  )


def _of_an_old_version(store: Store, origin: Any) -> str:
  """What to do about a memory that does not know its pictures' contents."""
  options = origin.get("options") if isinstance(origin, Mapping) else None
  path = options.get("path") if isinstance(options, Mapping) else None
  folder = path if isinstance(path, str) else "FOLDER"
  return (
    f"{store.path} was made by a version that did not record which picture a"
    " row is: it answers and can be edited as before, but no picture can be"
    " added or found again, since none could be told from another. Build it"
    f" anew beside it: visual-memory build {folder} --store NEW."
  )


def describe(store: Store, **fields: Any) -> None:
  """Changes some of what a store says about where its rows come from."""
  found = dataclasses.replace(provenance(store), **fields)
  if found != provenance(store):
    about = {**store.attributes, **found.to_attributes()}
    store.describe(about)


def origins_of(store: Store) -> tuple[Origin, ...]:
  """The origins of a store's rows; none where they were not recorded."""
  try:
    return tuple(map(origin_from, store.attributes.get("origins", ())))
  except (TypeError, KeyError, AttributeError):
    return ()


def load_encoder(store: Store) -> "visual_memory.encoders.encoder.Encoder":
  """The encoder that made a store's rows.

  Raises:
    StoreError: what is loaded is not what made them.
  """
  from visual_memory.encoders import encoder as encoder_lib

  arguments = encoder_of(store)
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
  """The images of a store's rows, read from where they were found.

  A file counts as a row's picture only if its content is the one that was
  embedded: what lies at the same path today may be another picture.
  """

  def __init__(self, origins: Sequence[Origin]):
    """Nothing is opened before the first image."""
    self._origins = tuple(origins)

  def read(
    self, row_id: str, metadata: Mapping[str, Any], least: int | None = None
  ) -> np.ndarray:
    """The image of a row, uint8 [H, W, 3]; `least` as of `decode_image`.

    Raises:
      UnreadableImage: it is no longer there, or not what it was.
    """
    picture = identity.picture_of(metadata)
    if picture is None:
      raise UnreadableImage(row_id, "its file was not recorded")
    problem = "it is no longer where it was found"
    known = range(len(self._origins))
    places = [place for place in picture.places if place[0] in known]
    for number, path in places:
      try:
        data = self.bytes_at(number, path)
      except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        continue
      if contents.of_bytes(data) == picture.content:
        return decode_image(data, id=row_id, profile=True, least=least)
      problem = "another picture lies there now"
    where = [self._origins[n].location(path) for n, path in places[:1]]
    reason = " ".join([*(f"{at}:" for at in where), problem.rstrip(".")])
    raise UnreadableImage(row_id, reason)

  def find(
    self, row_id: str, metadata: Mapping[str, Any], least: int | None = None
  ) -> np.ndarray | None:
    """The image of a row, or None."""
    try:
      return self.read(row_id, metadata, least)
    except UnreadableImage:
      return None

  def has(self, number: int, path: str, content: Content) -> bool:
    """Whether a place has this content now."""
    origin = self._origins[number]
    try:
      if os.path.isdir(origin.path):
        at = file_trees.real_path(origin.path, path)
        if os.path.getsize(at) != content[0]:
          return False
        return contents.of_file(at) == content
      return self._tree(number).content(path) == content
    except (OSError, ValueError):
      return False

  def bytes_at(self, number: int, path: str) -> bytes:
    """The file at a place; OSError or ValueError if there is none."""
    origin = self._origins[number]
    if not os.path.isdir(origin.path):
      return self._tree(number).read(path)
    at = file_trees.real_path(origin.path, path)
    if os.path.exists(at) and not os.path.isfile(at):
      raise ValueError("no plain file lies there")  # A device never ends.
    with open(at, "rb") as file:
      return file.read()

  @functools.cache  # noqa: B019
  def _tree(self, number: int) -> file_trees.FileTree:
    """An origin's archive."""
    return self._origins[number].open()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Relocated:
  """What is at the new place.

  Attributes:
    old: the folder or archive that moved, absolute.
    new: where it is now, absolute.
    num_rows: rows whose first file lay in the old one.
    num_found: those of them whose picture is at the new place.
  """

  old: str
  new: str
  num_rows: int
  num_found: int


def relocate(
  store: Store, old: str, new: str, *, force: bool = False, dry_run=False
) -> Relocated:
  """Records that a folder or archive moved, once its pictures are seen there.

  Args:
    store: the memory.
    old: where it was: an origin, or a folder above some.
    new: where it is.
    force: record it even if none of the pictures is there.
    dry_run: look, and record nothing.

  Raises:
    ValueError: nothing was added from the old place, or none of its pictures
      is at the new one.
    FileNotFoundError: there is nothing at the new place.
  """
  old, new = os.path.abspath(old), os.path.abspath(new)
  if not os.path.exists(new) and not force:
    raise FileNotFoundError(f"There is nothing at {new!r}.")
  before = provenance(store).origins
  moved = {
    number: dataclasses.replace(origin, path=new + origin.path[len(old) :])
    for number, origin in enumerate(before)
    if origin.path == old or origin.path.startswith(old + os.sep)
  }
  if not moved:
    places = ", ".join(sorted({repr(origin.path) for origin in before}))
    raise ValueError(
      f"No picture was added from {old!r}; they are from {places or 'nowhere'}."
    )
  after = tuple(moved.get(n, origin) for n, origin in enumerate(before))
  pictures, rows, found = Pictures(after), 0, 0
  for picture in Known(store, before).pictures.values():
    places = [place for place in picture.places if place[0] in moved]
    rows += bool(places)
    found += any(pictures.has(*place, picture.content) for place in places)
  if rows and not found and not force:
    raise ValueError(
      f"None of the {rows} pictures that lay in {old!r} is in {new!r}: nothing"
      " was changed. If you are sure, say --yes."
    )
  if not dry_run:
    describe(store, origins=after)
  return Relocated(old=old, new=new, num_rows=rows, num_found=found)
