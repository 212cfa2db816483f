"""Edits that wait until they are applied: a list that can be undone.

  pending = Pending()
  number = pending.put({"kind": "relabel", "ids": ["cat/7.jpg"], "to": "dog"})
  pending.undo(number)
  for outcome in pending.apply(store): ...

An edit is plain values: kind and what it needs. Each is applied as one edit of
the store; one that fails stops the rest, which stay in the list.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from visual_memory.collection.meant_rows import forget
from visual_memory.store.store import Store

KINDS = {
  "relabel": ("ids", "to"),
  "remove": ("ids",),
  "rename": ("old", "to"),
  "merge": ("names", "to"),
}
"""What each kind of edit says, beside its kind."""


def checked(edit: Mapping[str, Any]) -> dict[str, Any]:
  """An edit with nothing but what its kind needs.

  Raises:
    ValueError: an unknown kind, or something is missing or of another type.
  """
  kind = edit.get("kind")
  if kind not in KINDS:
    raise ValueError(
      f"There is no edit {kind!r}; there are {', '.join(KINDS)}."
    )
  made: dict[str, Any] = {"kind": kind}
  for name in KINDS[kind]:
    value = edit.get(name)
    if name in ("ids", "names"):
      right = isinstance(value, list) and value
      right = right and all(isinstance(item, str) for item in value)
      wanted = "a list of names, not empty"
    else:
      right, wanted = isinstance(value, str) and value.strip(), "a name"
    if not right:
      raise ValueError(f"The edit {kind!r} needs {name!r}: {wanted}.")
    made[name] = (
      list(dict.fromkeys(value)) if isinstance(value, list) else value
    )
  return made


class Pending:
  """The waiting edits, oldest first; safe between threads."""

  def __init__(self):
    """An empty list."""
    self._edits: dict[int, dict[str, Any]] = {}
    self._next = 1
    self._lock = threading.Lock()
    self._applying = threading.Lock()

  def put(self, edit: Mapping[str, Any]) -> int:
    """Adds an edit at the end; its number.

    Raises:
      ValueError: see `checked`.
    """
    made = checked(edit)
    with self._lock:
      number, self._next = self._next, self._next + 1
      self._edits[number] = made
      return number

  def undo(self, number: int) -> None:
    """Takes an edit back.

    Raises:
      KeyError: it is not waiting (any more).
    """
    with self._lock:
      if number not in self._edits:
        raise KeyError(f"Edit {number} is not waiting any more.")
      del self._edits[number]

  def listed(self) -> list[dict[str, Any]]:
    """All that wait, with their numbers."""
    with self._lock:
      return [{"number": n, **edit} for n, edit in self._edits.items()]

  def apply(self, store: Store) -> Iterator[dict[str, Any]]:
    """Applies all that wait, one after the other; what became of each.

    Raises:
      Whatever the store raises: that edit and those behind it wait on.
    """
    with self._applying:
      for edit in self.listed():
        receipt = _apply(store, edit)
        with self._lock:
          self._edits.pop(edit["number"], None)
        yield {
          **edit,
          "receipt": receipt,
          "generation": store.contents.generation,
        }


def _apply(store: Store, edit: Mapping[str, Any]) -> dict[str, Any] | None:
  """One edit; the receipt of a removal."""
  if edit["kind"] == "remove":
    receipt, _ = forget(store, edit["ids"])
    return json.loads(receipt.to_json())
  if edit["kind"] == "relabel":
    store.relabel(edit["ids"], [edit["to"]] * len(edit["ids"]))
  elif edit["kind"] == "rename":
    store.rename_class(edit["old"], edit["to"])
  else:
    store.merge_classes(edit["names"], edit["to"])
  return None
