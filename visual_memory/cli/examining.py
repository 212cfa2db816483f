"""What a memory says of itself: accuracy, suspects, outliers, duplicates."""

import argparse

from visual_memory.cli import commands, output
from visual_memory.cli.commands import command, option
from visual_memory.collection import provenance
from visual_memory.collection.defaults import NEAR
from visual_memory.store.store import Store

_SHOWN = 20
_WHITEN = """\
  visual-memory whiten                           would it be better?
  visual-memory whiten 1
  visual-memory whiten --off"""


def _paged(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--limit", type=int, default=_SHOWN, metavar="N", help="show so many"
  )
  parser.add_argument(
    "-o", "--output", metavar="FILE", help="write a page with thumbnails, too"
  )


@command(
  "accuracy",
  commands.vote,
  examples="  visual-memory accuracy\n  visual-memory accuracy --json",
)
def accuracy(arguments: argparse.Namespace) -> None:
  """Say how good a memory is.

  Each image is asked of all the others; shows the classes that do worst, and
  what they are taken for.
  """
  from visual_memory.collection import questions

  store = output.open_store(arguments)
  found = questions.accuracy(store, k=arguments.k, voter=arguments.voter)
  worst = found["classes"][:_SHOWN]
  name, what = output.shown, output.counted(found["rows"], "image")
  lines = [
    f"{100 * found['accuracy']:.1f} % of {what} get their own class from the"
    f" others ({found['voter']}, k = {found['k']})."
  ]
  lines += [
    f"  {100 * c['accuracy']:5.1f} %  {name(c['class'])}"
    f"  ({c['right']:,} of {c['rows']:,})"
    for c in worst
  ]
  if found["confusions"]:
    lines.append("Taken for another class:")
  lines += [
    f"  {c['count']:>5,}  {name(c['from'])} for {name(c['to'])}"
    for c in found["confusions"]
  ]
  output.show(arguments, found, "\n".join(lines))


@command(
  "suspects",
  commands.vote,
  _paged,
  examples="  visual-memory suspects\n"
  "  visual-memory suspects --output suspects.html",
)
def suspects(arguments: argparse.Namespace) -> None:
  """List images whose class is probably wrong.

  Their nearest images are of another one.
  """
  from visual_memory.collection import questions

  store = output.open_store(arguments)
  found = questions.suspects(
    store, k=arguments.k, voter=arguments.voter, limit=arguments.limit
  )
  lines = [
    f"{one['margin']:.2f}  {output.shown(one['id'])}"
    f"  {output.shown(one['class'])}, looks like"
    f" {output.shown(one['suggested'] or 'nothing')}"
    for one in found
  ]
  _page(arguments, store, "Suspects", [
    (f"{one['class']}, looks like {one['suggested']}", [one["id"]])
    for one in found
  ])  # fmt: skip
  output.show(arguments, found, "\n".join(lines) or "No label is suspicious.")


@command("outliers", _paged, examples="  visual-memory outliers --limit 50")
def outliers(arguments: argparse.Namespace) -> None:
  """List images that are like none of the others."""
  from visual_memory.collection import questions

  store = output.open_store(arguments)
  found = questions.outliers(store, limit=arguments.limit)
  lines = [
    f"{one['similarity']:.3f}  {output.shown(one['id'])}"
    f"  {output.shown(one['class'] or '(no class)')}"
    for one in found
  ]
  _page(arguments, store, "Outliers", [
    (f"{one['similarity']:.3f} to the nearest one", [one["id"], one["nearest"]])
    for one in found
  ])  # fmt: skip
  output.show(arguments, found, "\n".join(lines))


@command(
  "duplicates",
  option(
    "--min-similarity",
    type=float,
    default=NEAR,
    metavar="X",
    help="from which images are nearly the same (default: %(default)s)",
  ),
  _paged,
  examples="  visual-memory duplicates\n"
  "  visual-memory duplicates --min-similarity 0.98 --output twins.html",
)
def duplicates(arguments: argparse.Namespace) -> None:
  """List images that are there more than once, or nearly so.

  Files of one content are one image of the memory, with several places.
  """
  from visual_memory.collection import questions

  store = output.open_store(arguments)
  found = questions.duplicates(store, min_similarity=arguments.min_similarity)
  lines = []
  for group in found[: arguments.limit]:
    kind = "the same file" if group["exact"] else (
      f"alike, {group['similarity']:.4f}"
    )  # fmt: skip
    lines.append(f"{kind}:")
    for member in group["members"]:
      at = member["files"] if group["exact"] else [member["id"]]
      lines += [f"  {output.shown(path)}" for path in at]
  if len(found) > arguments.limit:
    lines.append(f"... and {len(found) - arguments.limit:,} more groups")
  _page(arguments, store, "Duplicates", [
    ("the same file" if group["exact"] else f"{group['similarity']:.4f}",
     [member["id"] for member in group["members"]])
    for group in found[: arguments.limit]
  ])  # fmt: skip
  output.show(arguments, found, "\n".join(lines) or "There are none.")


def _page(arguments, store: Store, title: str, groups: list) -> None:
  """Writes a page of thumbnails, if one is wanted."""
  if arguments.output is None:
    return
  from visual_memory.reports import explanation

  pictures = provenance.Pictures(provenance.origins_of(store))
  names = {i: c for i, c in zip(store.ids, _classes(store), strict=True)}
  shown = [
    (caption, [
      (i, names[i], pictures.find(i, record))
      for i, record in zip(ids, store.metadata(ids), strict=True)
    ])
    for caption, ids in groups
  ]  # fmt: skip
  explanation.write(arguments.output, title=title, groups=shown)
  output.say(f"Page: {arguments.output}")


def _classes(store: Store) -> list[str | None]:
  """The class of every row."""
  names = [*store.class_names, None]
  return [names[label] for label in store.labels]


@command(
  "whiten",
  option(
    "ridge",
    nargs="?",
    type=float,
    metavar="RIDGE",
    help="how gently, 0.0001 to 10000: 1 is a good one",
  ),
  option("--off", action="store_true", help="compare images as they are again"),
  commands.vote,
  commands.dry_run,
  examples=_WHITEN,
)
def whiten(arguments: argparse.Namespace) -> int:
  """Compare images by what tells them apart.

  What all images of the memory have in common counts less (whitening on its
  rows, without their classes). With neither RIDGE nor --off, says how good the
  memory would be: each image is asked of all the others, as `accuracy` does.
  The images stay as they are, and what is removed leaves no trace in this.
  """
  from visual_memory.collection import questions
  from visual_memory.memory import whitening

  store = output.open_store(arguments)
  if arguments.off and arguments.ridge is not None:
    raise ValueError("Give RIDGE or --off, but not both.")
  if arguments.off or arguments.ridge is not None:
    if arguments.ridge is not None:
      whitening.check_ridge(arguments.ridge)
    if not arguments.dry_run:
      store.whiten(arguments.ridge)
    now = "" if arguments.dry_run else " now"
    text = f"Images are compared {_comparison(arguments.ridge)}{now}."
    output.show(arguments, {"ridge": arguments.ridge}, text)
    return 0
  found = questions.ridges(store, k=arguments.k, voter=arguments.voter)
  lines = [
    f"{_comparison(f['ridge']):<14}"
    f"  {100 * f['accuracy']:5.1f} %  ({f['right']:,} of {f['rows']:,})"
    f"{'  now' * f['used']}"
    for f in found
  ]
  output.show(arguments, found, "\n".join(lines))
  return 0


def _comparison(ridge: float | None) -> str:
  return "as they are" if ridge is None else f"whitened, {ridge:g}"
