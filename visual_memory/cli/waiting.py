"""Edits that wait: pending, undo, apply."""

import argparse
from typing import Any

from visual_memory.cli import output
from visual_memory.collection import edit_lists

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


def add_commands(commands: Any) -> None:
  """Adds pending, undo and apply."""
  output.command(
    commands,
    "pending",
    _pending,
    text="List the edits that are written down and not made yet.",
    examples=_PENDING,
  )
  parser = output.command(
    commands,
    "undo",
    _undo,
    text="Take the last pending edit back. What was applied stays so.",
    examples=_UNDO,
  )
  parser.add_argument(
    "--all", action="store_true", help="take all of them back"
  )
  parser = output.command(
    commands,
    "apply",
    _apply,
    text="Make the pending edits, or those of a file.",
    examples=_APPLY,
  )
  parser.add_argument(
    "file",
    metavar="FILE",
    nargs="?",
    help="edits.json (default: the pending edits)",
  )
  parser.add_argument(
    "--key", metavar="FILE", help="sign the receipt with this Ed25519 key"
  )
  output.add_yes(parser)
  output.add_dry_run(parser)


def _pending(arguments: argparse.Namespace) -> None:
  edits = edit_lists.pending(output.open_store(arguments))
  lines = [f"{n}  {_told(edit)}" for n, edit in enumerate(edits, 1)]
  text = "\n".join(lines) or "No edit is pending."
  output.show(arguments, {"pending": edits}, text)


def _undo(arguments: argparse.Namespace) -> None:
  store = output.open_store(arguments)
  back = edit_lists.undo(store, everything=arguments.all)
  text = "\n".join(f"Taken back: {_told(edit)}" for edit in back)
  output.show(arguments, {"undone": back}, text or "No edit is pending.")


def _apply(arguments: argparse.Namespace) -> int:
  store = output.open_store(arguments)
  edits = (
    edit_lists.read_edits(arguments.file)
    if arguments.file
    else edit_lists.pending(store)
  )
  whole = edit_lists.outcome(store, edits)
  gone, changed = len(whole["remove"]), len(whole["relabel"])
  text = (
    f"Remove {output.counted(gone, 'image')} of {len(store):,} for good,"
    f" relabel {changed:,}"
  )
  if arguments.dry_run or not (gone or changed):
    output.show(arguments, whole, f"{text}: nothing was changed.")
    return 0
  if not output.confirm(arguments, f"{text}?", gone=gone, of=len(store)):
    return 1
  done = edit_lists.apply(store, edits, key_file=arguments.key)
  if not arguments.file:
    edit_lists.discard_pending(store)
  receipt = done["receipt"]
  result = {**done, "receipt": receipt and vars(receipt), "rows": len(store)}
  text = f"Removed {gone:,}, relabelled {changed:,}; {len(store):,} are left."
  output.show(arguments, result, text)
  return 0


def _told(edit: Any) -> str:
  """An edit in words."""
  parts = []
  if remove := edit.get("remove"):
    parts.append(
      f"remove {output.counted(len(remove), 'image')}: {_some(remove)}"
    )
  if relabel := edit.get("relabel"):
    names = ", ".join(sorted(set(relabel.values())))
    what = output.counted(len(relabel), "image")
    parts.append(f"relabel {what} to {output.shown(names)}: {_some(relabel)}")
  return "; ".join(parts) or "nothing"


def _some(ids: Any) -> str:
  """The first ids of several."""
  shown = ", ".join(map(output.shown, list(ids)[:3]))
  return shown + (", ..." if len(ids) > 3 else "")
