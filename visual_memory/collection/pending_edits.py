"""Edits that wait until they are applied: one list a memory, on disk beside it.

  number = put(store, {"kind": "relabel", "ids": ["cat/7.jpg"], "to": "dog"})
  take_back(store, number)
  pending(store)                   # what waits, oldest first, with numbers

The command line and every tab of the page see the same list, also after either
has ended. It lies in STORE.edits.json beside the store, not in it: it names
what may be removed.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from visual_memory import files
from visual_memory.checks import shown
from visual_memory.store.store import Store

Edit = Mapping[str, Any]
PENDING = ".edits.json"
NUMBER = "number"
"""Of an edit that waits: never given to another one."""

KINDS = {
  "relabel": ("ids", "to"),
  "remove": ("ids",),
  "rename": ("old", "to"),
  "merge": ("names", "to"),
}
"""What each kind of edit says, beside its kind: rows, or classes."""
_LISTS = ("ids", "names")


def checked(edit: Any) -> dict[str, Any]:
  """An edit with nothing but what its kind needs.

  Raises:
    ValueError: an unknown kind, or something is missing or of another type.
  """
  kind = edit.get("kind") if isinstance(edit, Mapping) else None
  if not isinstance(kind, str) or kind not in KINDS:
    raise ValueError(
      f"There is no edit {shown(kind)}; there are {', '.join(KINDS)}."
    )
  made: dict[str, Any] = {"kind": kind}
  for name in KINDS[kind]:
    value = edit.get(name)
    if name in _LISTS:
      right = isinstance(value, list) and value
      right = right and all(isinstance(item, str) for item in value)
      wanted = "a list of names, not empty"
    else:
      right, wanted = isinstance(value, str) and value.strip(), "a name"
    if not right:
      raise ValueError(f"The edit {shown(kind)} needs {name!r}: {wanted}.")
    made[name] = list(dict.fromkeys(value)) if name in _LISTS else value
  return made


def path_of(store: Store) -> str:
  """Where a store's pending edits are; of a bucket's, in this directory."""
  path = store.path
  if "://" in path:
    path = path.rstrip("/").rsplit("/", 1)[-1]
  return path + PENDING


def pending(store: Store) -> list[dict[str, Any]]:
  """The edits that wait, oldest first, each with its number.

  Raises:
    ValueError: the file holds something else.
  """
  path = path_of(store)
  if not os.path.exists(path) or files.is_erased(path):
    return []
  found = files.read_json(path)
  try:
    return [{**checked(edit), NUMBER: int(edit[NUMBER])} for edit in found]
  except (ValueError, TypeError, KeyError) as error:
    raise ValueError(
      f"{path} holds no pending edits ({error}): move it away."
    ) from error


def put(store: Store, edit: Edit) -> int:
  """Writes an edit down, behind all others; its number.

  Raises:
    ValueError: see `checked`.
  """
  made = checked(edit)
  with _changing(store) as change:
    edits = pending(store)
    last = edits[-1][NUMBER] if edits else 0
    # The time: a number that was taken back does not come again.
    number = max(last + 1, time.time_ns() // 1_000_000)
    change([*edits, {**made, NUMBER: number}])
  return number


def take_back(store: Store, number: int) -> dict[str, Any]:
  """Takes one edit back: which.

  Raises:
    KeyError: it is not waiting (any more).
  """
  with _changing(store) as change:
    edits = pending(store)
    kept = [edit for edit in edits if edit[NUMBER] != number]
    if len(kept) == len(edits):
      raise KeyError(f"Edit {number} is not waiting any more.")
    change(kept)
  return next(edit for edit in edits if edit[NUMBER] == number)


def undo(store: Store, *, everything: bool = False) -> list[dict[str, Any]]:
  """Takes the last edit back, or all of them; what was taken back."""
  with _changing(store) as change:
    edits = pending(store)
    kept = [] if everything else edits[:-1]
    change(kept)
  return edits[len(kept) :]


def let_go(store: Store, ids: Collection[str]) -> None:
  """Strikes rows that are removed for good out of every edit."""
  if not os.path.exists(path_of(store)):
    return
  gone = set(ids)
  with _changing(store) as change:
    edits = pending(store)
    kept = [
      {**edit, "ids": [i for i in edit["ids"] if i not in gone]}
      if "ids" in edit
      else edit
      for edit in edits
    ]
    change([edit for edit in kept if edit.get("ids", True)])


@contextlib.contextmanager
def _changing(
  store: Store,
) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
  """Held by the one who changes the list; gives what writes it anew."""
  path = path_of(store)

  def change(edits: list[dict[str, Any]]) -> None:
    if edits:
      files.write_json(path, edits)
    elif os.path.exists(path):
      files.erase(path)

  with files.locked(os.path.dirname(os.path.abspath(path)), wait=True):
    yield change
