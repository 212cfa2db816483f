"""When folders move: where a memory's pictures lie from now on.

found = relocate(store, "photos", "archive/photos", dry_run=True)
found.num_rows, found.num_found
"""

import dataclasses
import os

from visual_memory.collection.identity import Known
from visual_memory.collection.provenance import Pictures, describe, provenance
from visual_memory.store.store import Store


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
