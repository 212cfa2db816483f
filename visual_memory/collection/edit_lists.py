"""Edits as plain values: of a file or of the pending list, made in their order.

  pend(store, {"kind": "remove", "ids": ["dog/3.jpg"]})
  for outcome in apply_pending(store): outcome["receipt"]
  for outcome in apply(store, read_edits("edits.json")): ...

Each is one edit of the store: see pending_edits.KINDS. The explorer page saves
{"remove": [ids], "relabel": {id: class}}, which is read as such edits.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from visual_memory import files
from visual_memory.checks import shown
from visual_memory.collection import pending_edits
from visual_memory.collection.meant_rows import find, forget
from visual_memory.collection.pending_edits import NUMBER, Edit, checked
from visual_memory.store.store import Store

_FORM = (
  '{"remove": [ids], "relabel": {id: class}}, as the explorer saves it, or a'
  " list of edits, as `visual-memory pending --json` prints them."
)


def read_edits(path: str | os.PathLike) -> list[dict[str, Any]]:
  """The edits of a file, checked.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it holds something else.
  """
  found = files.read_json(path)
  edits = []
  try:
    for part in found if isinstance(found, list) else [found]:
      known = isinstance(part, dict) and not set(part) - {"remove", "relabel"}
      edits += _as_explorer(part) if known else [checked(part)]
  except (ValueError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} holds no edits: it must be {_FORM}") from error
  return edits


def _as_explorer(part: dict[str, Any]) -> list[dict[str, Any]]:
  """The edits of what the explorer page saves: relabels, then the removal."""
  by_class: dict[str, list[str]] = {}
  for row_id, name in part.get("relabel", {}).items():
    by_class.setdefault(name, []).append(row_id)
  edits = [
    {"kind": "relabel", "ids": ids, "to": name}
    for name, ids in by_class.items()
  ]
  if part.get("remove", []) != []:
    edits.append({"kind": "remove", "ids": part["remove"]})
  return [checked(edit) for edit in edits]


def pend(store: Store, edit: Edit) -> int:
  """Writes an edit down, to be applied later; its number.

  Raises:
    ValueError: it names a row or a class that the memory does not hold.
  """
  before = pending_edits.pending(store)
  (made,) = resolved(store, [checked(edit)], before=before)
  return pending_edits.put(store, made)


def resolved(
  store: Store, edits: Sequence[Edit], *, before: Sequence[Edit] = ()
) -> list[dict[str, Any]]:
  """Edits whose words (files, patterns) are the ids that they mean now.

  Args:
    store: the memory.
    edits: what is to be made,
    before: and what will have been made by then.

  Raises:
    ValueError: a row that the memory does not hold, or a class that it does
      not and will not hold by then.
  """
  made = []
  names = {*store.class_names, *(e["to"] for e in before if "to" in e)}
  for edit in edits:
    edit = dict(edit)
    if "ids" in edit:
      edit["ids"] = find(store, edit["ids"])
    for name in edit.get("names", [edit["old"]] if "old" in edit else []):
      if name not in names:
        raise ValueError(f"The memory has no class {shown(name)}.")
    names |= {edit["to"]} if "to" in edit else set()
    made.append(edit)
  return made


def apply(
  store: Store, edits: Sequence[Edit], *, key_file: str | None = None
) -> Iterator[dict[str, Any]]:
  """Makes edits, in their order, each as it is asked for.

  Args:
    store: the memory.
    edits: all of them are looked at before the first is made.
    key_file: an Ed25519 private key (PEM) to sign receipts with.

  Yields:
    Each edit, with receipt (of a removal, else None), generation, and gone:
    ids that were removed since the edit was written down.

  Raises:
    ValueError: a row or class that the memory does not hold; nothing is
      changed.
  """
  for edit in resolved(store, edits):
    yield _made(store, edit, key_file)


def apply_pending(
  store: Store, *, key_file: str | None = None
) -> Iterator[dict[str, Any]]:
  """Makes the edits that wait; each leaves the list once it is made.

  Yields:
    As `apply`.

  Raises:
    Whatever the store raises: that edit and those behind it wait on.
  """
  for edit in pending_edits.pending(store):
    number = edit[NUMBER]
    if not _waits(store, number):
      continue  # Taken back, or applied by somebody else.
    try:
      outcome = _made(store, edit, key_file)
    except (KeyError, ValueError):
      if _waits(store, number):
        raise
      continue
    if _waits(store, number):
      pending_edits.take_back(store, number)
    yield outcome


def _waits(store: Store, number: int) -> bool:
  return any(e[NUMBER] == number for e in pending_edits.pending(store))


def _made(store: Store, edit: Edit, key_file: str | None) -> dict[str, Any]:
  """Makes one edit of the store; what came of it."""
  kind, receipt, gone = edit["kind"], None, []
  if "ids" in edit:
    ids, gone = store.among(edit["ids"])
    edit = {**edit, "ids": ids}
  if kind == "remove" and edit["ids"]:
    signed, ids = forget(store, edit["ids"], key_file=key_file)
    receipt, edit = json.loads(signed.to_json()), {**edit, "ids": ids}
  elif kind == "relabel" and edit["ids"]:
    store.relabel(edit["ids"], [edit["to"]] * len(edit["ids"]))
  elif kind == "rename":
    store.rename_class(edit["old"], edit["to"])
  elif kind == "merge":
    store.merge_classes(edit["names"], edit["to"])
  generation = store.contents.generation
  return {**edit, "receipt": receipt, "gone": gone, "generation": generation}
