"""Which rows a person means: by id, by file, by pattern, by class; and removal.

  ids = find(store, ["cat/3.jpg", "photos/cat/4.jpg", "dog/*"])
  receipt, removed = forget(store, ids)

A word is an id; or a file that a row was added from (its path, absolute, from
here, or as it lies below the folder that was added); or a pattern with * ? [ ],
of ids, or of CLASS/NAME where no id fits.
"""

import difflib
import fnmatch
import os
from collections.abc import Sequence
from typing import Any

from visual_memory.collection import identity, pending_edits
from visual_memory.collection.identity import Known
from visual_memory.collection.provenance import origins_of
from visual_memory.data.file_trees import unicode_name
from visual_memory.store.receipts import Receipt
from visual_memory.store.store import Store

_WILD = frozenset("*?[")
_MOST_COMPARED = 20_000


def find(
  store: Store,
  words: Sequence[str] = (),
  *,
  class_name: str | None = None,
  where: dict[str, Any] | None = None,
  typed: bool = False,
) -> list[str]:
  """The ids of the rows that are meant, each once.

  Args:
    store: the memory.
    words: ids, files or patterns; or leave them out and choose by
    class_name: a class, and/or
    where: fields that the metadata must have.
    typed: somebody wrote the words, in a folder: one that is an id must not be
      the file of another row there. Otherwise an id is an id.

  Raises:
    ValueError: nothing was chosen, both ways were, a word means no row (it
      names what was probably meant), or a typed one means two.
  """
  if words and (class_name is not None or where):
    raise ValueError("Name ids, or choose by --class or --where: not both.")
  if not words and class_name is None and not where:
    raise ValueError("Say which images: name their ids, or give --class NAME.")
  if not words:
    ids = store.select(label=class_name, where=where or None).tolist()
    if not ids:
      raise ValueError("There is no such image in the memory.")
    return ids
  ids, others = store.among(words)
  here = [i for i in ids if os.path.lexists(i)] if typed else []
  if not others and not here:  # As a page or a script names them.
    return list(dict.fromkeys(ids))
  known = Known(store, origins_of(store))
  _refuse_two_meanings(known, here)
  found = {word: _meant(known, word) for word in words}
  absent = [word for word, ids in found.items() if not ids]
  if absent:
    raise ValueError(_absent(known, absent, len(found)))
  return list(dict.fromkeys(i for ids in found.values() for i in ids))


def forget(
  store: Store, ids: Sequence[str], *, key_file: str | None = None
) -> tuple[Receipt, list[str]]:
  """Removes rows for real, and every row with the same picture.

  The receipt knows the pictures by their ids and contents (both hashed), so
  that `add` recognizes them in whatever folder they are found again.

  Args:
    store: the memory.
    ids: of rows that are there.
    key_file: an Ed25519 private key (PEM) to sign the receipt with.

  Returns:
    The receipt, and the ids of all rows that were removed.
  """
  known = Known(store, origins_of(store))
  chosen = with_twins(known, ids)
  contents = {known.pictures[i].content for i in chosen if i in known.pictures}
  receipt = store.remove(
    chosen,
    key_file=key_file,
    known_as=sorted(map(identity.content_name, contents)),
  )
  pending_edits.let_go(store, chosen)
  return receipt, chosen


def with_twins(known: Known, ids: Sequence[str]) -> list[str]:
  """Rows, and those of the same content, in the memory's order."""
  chosen = set(ids)
  contents = {known.pictures[i].content for i in ids if i in known.pictures}
  for row_id, picture in known.pictures.items():
    if picture.content in contents:
      chosen.add(row_id)
  return [row_id for row_id in known.classes if row_id in chosen] + [
    row_id for row_id in ids if row_id not in known.classes
  ]


def _meant(known: Known, word: str) -> list[str]:
  """The rows that one word means."""
  if word in known.classes:
    return [word]
  location = os.path.abspath(word) if word else ""
  if location in known.at:
    return [known.at[location]]
  for inside in (
    lambda origin: location.removeprefix(f"{origin.path}/"),
    lambda origin: word.removeprefix("./"),
  ):
    below = {
      row
      for origin in known.origins
      if (row := known.at.get(origin.location(unicode_name(inside(origin)))))
    }
    if len(below) == 1:
      return list(below)
  if not _WILD.intersection(word):
    return []
  ids = [i for i in known.classes if fnmatch.fnmatchcase(i, word)]
  return ids or [
    i
    for i, name in known.classes.items()
    if fnmatch.fnmatchcase(f"{name}/{i.rsplit('/', 1)[-1]}", word)
  ]


def _refuse_two_meanings(known: Known, ids: Sequence[str]) -> None:
  """Raises if an id is also the name of a file here that is another row's."""
  for row_id in ids:
    other = known.at.get(os.path.abspath(row_id), row_id)
    if other != row_id:
      raise ValueError(
        f"{row_id!r} is the id of one image, and here it is the file of"
        f" another, {other!r}: say ./{row_id} for the file, or name the id from"
        " another folder. Nothing was changed."
      )


def _absent(known: Known, absent: list[str], count: int) -> str:
  """A sentence with the ids that were probably meant."""
  present = list(known.classes)
  name = absent[0].rsplit("/", 1)[-1]
  close = [i for i in present if i.endswith("/" + name)][:3]
  close = close or difflib.get_close_matches(
    absent[0], present[:_MOST_COMPARED], 3
  )
  hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
  return (
    f"{len(absent)} of {count} are not in the memory: {absent[0]!r}.{hint}"
    " Nothing was changed."
  )
