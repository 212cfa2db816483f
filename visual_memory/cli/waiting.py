"""Edits that wait: pending, undo, apply."""

import argparse
from collections.abc import Sequence
from typing import Any

from visual_memory.cli import commands, output
from visual_memory.cli.commands import command, option
from visual_memory.collection import edit_lists, pending_edits

_PENDING = """\
  visual-memory remove 'dog/*' --later
  visual-memory pending"""
_UNDO = """\
  visual-memory undo                             the last pending edit
  visual-memory undo --all"""
_APPLY = """\
  visual-memory apply                            the pending edits
  visual-memory apply edits.json                 what the explorer page saved
  visual-memory apply edits.json --dry-run"""


@command("pending", examples=_PENDING)
def pending(arguments: argparse.Namespace) -> None:
  """List the edits that are written down and not made yet."""
  edits = pending_edits.pending(output.open_store(arguments))
  lines = [f"{n}  {_told(edit)}" for n, edit in enumerate(edits, 1)]
  text = "\n".join(lines) or "No edit is pending."
  output.show(arguments, {"pending": edits}, text)


@command(
  "undo",
  option("--all", action="store_true", help="take all of them back"),
  examples=_UNDO,
)
def undo(arguments: argparse.Namespace) -> None:
  """Take the last pending edit back.

  What was applied stays so.
  """
  store = output.open_store(arguments)
  back = pending_edits.undo(store, everything=arguments.all)
  text = "\n".join(f"Taken back: {_told(edit)}" for edit in back)
  output.show(arguments, {"undone": back}, text or "No edit is pending.")


@command(
  "apply",
  option(
    "file",
    metavar="FILE",
    nargs="?",
    help="edits.json (default: the pending edits)",
  ),
  commands.key,
  commands.careful,
  examples=_APPLY,
)
def apply(arguments: argparse.Namespace) -> int:
  """Make the pending edits, or those of a file."""
  store = output.open_store(arguments)
  if arguments.file:
    edits = edit_lists.read_edits(arguments.file)
    edits = edit_lists.resolved(store, edits)
    outcomes = edit_lists.apply(store, edits, key_file=arguments.key)
  else:
    edits = pending_edits.pending(store)
    outcomes = edit_lists.apply_pending(store, key_file=arguments.key)
  lines = [f"{_told(edit)}" for edit in edits]
  if arguments.dry_run or not edits:
    lines.append("Nothing was changed.")
    output.show(arguments, {"edits": edits}, "\n".join(lines))
    return 0
  removed = {i for e in edits if e["kind"] == "remove" for i in e["ids"]}
  question = f"Make {output.counted(len(edits), 'edit')}: {'; '.join(lines)}?"
  if not output.confirm(arguments, question, gone=len(removed), of=len(store)):
    return 1
  done = list(outcomes)
  lines = [f"Done: {_told(edit)}" for edit in done]
  lines += [
    f"Not there any more: {_some(edit['gone'])}."
    for edit in done
    if edit["gone"]
  ]
  lines.append(f"The memory holds {output.holding(store)}.")
  result = {"edits": done, "rows": len(store)}
  output.show(arguments, result, "\n".join(lines))
  return 0


def _told(edit: Any) -> str:
  """An edit in words."""
  shown = output.shown
  if edit["kind"] == "rename":
    return f"rename the class {shown(edit['old'])} to {shown(edit['to'])}"
  if edit["kind"] == "merge":
    return f"merge {_some(edit['names'])} into {shown(edit['to'])}"
  what = output.counted(len(edit["ids"]), "image")
  if edit["kind"] == "remove":
    return f"remove {what}: {_some(edit['ids'])}"
  return f"relabel {what} to {shown(edit['to'])}: {_some(edit['ids'])}"


def _some(names: Sequence[str]) -> str:
  """The first names of several."""
  shown = ", ".join(map(output.shown, names[:3]))
  return shown + (", ..." if len(names) > 3 else "")
