"""Changing what a memory knows: remove, relabel, prune; and edits that wait."""

import argparse
import contextlib
from collections.abc import Sequence
from typing import Any

from visual_memory.cli import commands, output
from visual_memory.cli.commands import command, option
from visual_memory.collection import edit_lists, meant_rows, pending_edits

_REMOVE = """\
  visual-memory remove dog/3.jpg dog/4.jpg
  visual-memory remove --class dog               the images of a class
  visual-memory remove --where person=Ada        by their metadata
  visual-memory remove dog/3.jpg --key key.pem --receipt receipt.json
                                                 a receipt that you signed
The key: openssl genpkey -algorithm ed25519 -out key.pem"""
_RELABEL = """\
  visual-memory relabel cat/7.jpg cat/9.jpg --to dog
  visual-memory relabel --class puppy --to dog   a whole class
`visual-memory explain IMAGE` shows the ids of the images that decided."""
_PRUNE = """\
  visual-memory prune                            misleading images count less
  visual-memory prune --hard 8 --dry-run         which mislead 8 others?
  visual-memory prune --off"""


def _chosen(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "ids",
    metavar="ID",
    nargs="*",
    help="images: ids, their files, or patterns such as 'dog/*'",
  )
  parser.add_argument(
    "--class", dest="class_name", metavar="NAME", help="those of this class"
  )
  commands.careful(parser)
  parser.add_argument(
    "--later",
    action="store_true",
    help="write it down only: see `visual-memory pending`",
  )


@command(
  "remove",
  _chosen,
  option(
    "--where",
    action="append",
    default=[],
    metavar="KEY=VALUE",
    help="those with this metadata; may be repeated",
  ),
  option("--receipt", metavar="FILE", help="add the receipt to a file, too"),
  commands.key,
  examples=_REMOVE,
)
def remove(arguments: argparse.Namespace) -> int:
  """Remove images for good.

  When it returns, their embeddings, ids and metadata are in no file of the
  memory, and a receipt says so. (The image files themselves are yours.)
  """
  store = output.open_store(arguments)
  chosen = meant_rows.find(
    store,
    arguments.ids,
    class_name=arguments.class_name,
    where=commands.fields("--where", arguments.where),
    typed=True,
  )
  what = f"{output.counted(len(chosen), 'image')} of {len(store):,}"
  if arguments.dry_run:
    return _say_which(arguments, chosen)
  if arguments.later:
    return _wait(arguments, store, {"kind": "remove", "ids": chosen})
  question = f"Remove {what} for good?"
  if not _go_on(arguments, question, gone=len(chosen), of=len(store)):
    return 1
  with contextlib.ExitStack() as opened:
    if arguments.receipt:  # Before anything is removed: it may not be possible.
      file = opened.enter_context(
        open(arguments.receipt, "a", encoding="utf-8")
      )
    receipt, chosen = meant_rows.forget(store, chosen, key_file=arguments.key)
    if arguments.receipt:
      file.write(receipt.to_json() + "\n")
  result = {"removed": chosen, "rows": len(store), "receipt": vars(receipt)}
  output.show(
    arguments,
    result,
    f"Removed {output.counted(len(chosen), 'image')} for good;"
    f" {len(store):,} are left. Generation {receipt.generation:,}, receipt"
    f" {receipt.digest} (kept elsewhere, it shows that none was dropped:"
    " `visual-memory verify --kept`).",
  )
  return 0


@command(
  "relabel",
  _chosen,
  option(
    "--to",
    required=True,
    type=commands.class_name,
    metavar="NAME",
    help="their class from now on",
  ),
  examples=_RELABEL,
)
def relabel(arguments: argparse.Namespace) -> int:
  """Give images another class.

  It is a new one if there is none of this name.
  """
  store = output.open_store(arguments)
  chosen = meant_rows.find(
    store, arguments.ids, class_name=arguments.class_name, typed=True
  )
  what = output.counted(len(chosen), "image")
  if arguments.dry_run:
    return _say_which(arguments, chosen)
  if arguments.later:
    edit = {"kind": "relabel", "ids": chosen, "to": arguments.to}
    return _wait(arguments, store, edit)
  if not _go_on(arguments, f"Give {what} the class {arguments.to!r}?"):
    return 1
  new = arguments.to not in store.class_names
  store.relabel(chosen, [arguments.to] * len(chosen))
  output.show(
    arguments,
    {"relabelled": chosen, "class": arguments.to, "new_class": new},
    f"{what}: class {arguments.to!r} now{', which is new' if new else ''}.",
  )
  return 0


@command(
  "prune",
  option(
    "--hard",
    type=int,
    metavar="V",
    help="remove images that mislead at least V others",
  ),
  option(
    "--off", action="store_true", help="let every image count in full again"
  ),
  commands.neighbors,
  commands.careful,
  examples=_PRUNE,
)
def prune(arguments: argparse.Namespace) -> int:
  """Make images that mislead others count for less, or remove them.

  An image misleads another one if it is among its nearest and of another class.
  Factors are kept in the memory; the images stay.
  """
  from visual_memory.collection import pruning_factors

  store = output.open_store(arguments)
  if arguments.off:
    if not arguments.dry_run:
      pruning_factors.forgive(store)
    output.show(arguments, {"discounted": 0}, "Every image counts in full.")
    return 0
  counts = pruning_factors.look(store, k=arguments.k)
  if arguments.hard is None:
    num = int((counts.wrong > 0).sum())
    if not arguments.dry_run:
      num = pruning_factors.discount(store, counts)
    text = f"{output.counted(num, 'image')} of {len(store):,} mislead others"
    text += " and count for less from now on." * (not arguments.dry_run)
    output.show(arguments, {"discounted": num, "rows": len(store)}, text)
    return 0
  chosen = pruning_factors.chosen_by(counts, arguments.hard)
  if arguments.dry_run or not chosen:
    return _say_which(arguments, chosen)
  what = f"{output.counted(len(chosen), 'image')} of {len(store):,}"
  question = f"Remove {what}, which mislead {arguments.hard} others or more?"
  if not output.confirm(arguments, question, gone=len(chosen), of=len(store)):
    return 1
  receipt, removed = pruning_factors.prune(
    store, counts, threshold=arguments.hard
  )
  result = {"removed": removed, "rows": len(store), "receipt": vars(receipt)}
  output.show(
    arguments,
    result,
    f"Removed {output.counted(len(removed), 'image')} for good;"
    f" {len(store):,} are left.",
  )
  return 0


def _wait(arguments, store, edit) -> int:
  """Writes an edit down."""
  edit_lists.pend(store, edit)
  edits = pending_edits.pending(store)
  output.show(
    arguments,
    {"pending": edits},
    f"Written down: {output.counted(len(edits), 'edit')} pending. Apply with"
    " `visual-memory apply`, take the last one back with `visual-memory undo`.",
  )
  return 0


def _say_which(arguments, chosen: list[str]) -> int:
  """What a dry run does."""
  output.show(
    arguments, {"chosen": chosen}, "\n".join(map(output.shown, chosen))
  )
  output.say(f"{output.counted(len(chosen), 'image')}; nothing was changed.")
  return 0


def _go_on(arguments, question: str, *, gone: int = 0, of: int = 0) -> bool:
  """Whether to change what was chosen; asks unless each was named by id."""
  by_name = arguments.ids and not any(
    set("*?[").intersection(word) for word in arguments.ids
  )
  if by_name and gone * 2 <= of:
    return True
  return output.confirm(arguments, question, gone=gone, of=of)


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
