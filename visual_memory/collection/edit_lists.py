"""Edits that are written down before they are made: listed, undone, applied.

  pend(store, {"remove": ["dog/3.jpg"]})
  pend(store, {"relabel": {"cat/7.jpg": "dog"}})
  undo(store)                      # the last one is taken back
  apply(store, pending(store))     # removed for real, relabelled

An edit is {"remove": [ids], "relabel": {id: class}}, as the explorer page saves
it to edits.json; a file may hold one, or a list of them. Pending edits lie in
STORE.edits.json beside the store, not in it: they name what may be removed.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from visual_memory import files
from visual_memory.collection.meant_rows import find, forget
from visual_memory.store.store import Store

PENDING = ".edits.json"
Edit = Mapping[str, Any]


def read_edits(path: str | os.PathLike) -> list[Edit]:
  """The edits of a file, checked.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it holds something else.
  """
  found = files.read_json(path)
  edits = found if isinstance(found, list) else [found]
  for edit in edits:
    check(edit, where=os.fspath(path))
  return edits


def check(edit: Any, *, where: str) -> None:
  """Raises ValueError unless it is an edit."""
  remove = edit.get("remove", []) if isinstance(edit, dict) else None
  relabel = edit.get("relabel", {}) if isinstance(edit, dict) else None
  good = (
    isinstance(remove, list)
    and isinstance(relabel, dict)
    and not set(edit) - {"remove", "relabel"}
    and all(isinstance(value, str) for value in (*remove, *relabel.values()))
  )
  if not good:
    raise ValueError(
      f"{where} holds no edits: each must be"
      ' {"remove": [ids], "relabel": {id: class}}, as the explorer saves it.'
    )


def pending_path(store: Store) -> str:
  """Where a store's pending edits are; of a bucket's, in this directory."""
  path = store.path
  if "://" in path:
    path = path.rstrip("/").rsplit("/", 1)[-1]
  return path + PENDING


def pending(store: Store) -> list[Edit]:
  """The edits that wait, in order."""
  path = pending_path(store)
  return read_edits(path) if os.path.exists(path) else []


def pend(store: Store, edit: Edit) -> list[Edit]:
  """Writes an edit down; all that wait.

  Raises:
    ValueError: it names a row that the memory does not hold.
  """
  check(edit, where="This")
  ids = [*edit.get("remove", []), *edit.get("relabel", {})]
  if ids:
    find(store, ids)
  edits = [*pending(store), edit]
  files.write_json(pending_path(store), edits)
  return edits


def undo(store: Store, *, everything: bool = False) -> list[Edit]:
  """Takes the last pending edit back, or all of them; what was taken back."""
  edits = pending(store)
  kept = [] if everything else edits[:-1]
  if kept:
    files.write_json(pending_path(store), kept)
  elif edits:
    os.unlink(pending_path(store))
  return list(edits[len(kept) :])


def outcome(store: Store, edits: Sequence[Edit]) -> Edit:
  """All edits as one: what is removed in the end, and every row's class.

  Raises:
    ValueError: a row that the memory does not hold.
  """
  remove: dict[str, None] = {}
  relabel: dict[str, str] = {}
  for edit in edits:
    for word in edit.get("remove", []):
      remove.update(dict.fromkeys(find(store, [word])))
    for word, name in edit.get("relabel", {}).items():
      relabel.update(dict.fromkeys(find(store, [word]), name))
  return {
    "remove": list(remove),
    "relabel": {i: c for i, c in relabel.items() if i not in remove},
  }


def apply(
  store: Store, edits: Sequence[Edit], *, key_file: str | None = None
) -> dict[str, Any]:
  """Makes edits: relabels first, then one removal with one receipt.

  Returns:
    removed (ids), relabelled (ids by class), receipt (or None).

  Raises:
    ValueError: a row that the memory does not hold; nothing is changed.
  """
  whole = outcome(store, edits)
  relabel = whole["relabel"]
  if relabel:
    store.relabel(list(relabel), list(relabel.values()))
  receipt, removed = None, []
  if whole["remove"]:
    receipt, removed = forget(store, whole["remove"], key_file=key_file)
  return {"removed": removed, "relabelled": relabel, "receipt": receipt}


def discard_pending(store: Store) -> None:
  """Forgets the pending edits, once they are applied."""
  if os.path.exists(pending_path(store)):
    os.unlink(pending_path(store))
