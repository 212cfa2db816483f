"""Asking a memory: classify, explain, similar."""

import argparse
import itertools
import os
import tempfile
import webbrowser
from typing import Any

from visual_memory import files
from visual_memory.cli import commands, output
from visual_memory.cli.commands import command, option
from visual_memory.collection import inputs, origins, provenance
from visual_memory.store.store import Store

_CLASSIFY = """\
  visual-memory classify new.jpg
  visual-memory classify inbox/ --json           all images below a folder
  visual-memory classify old.zip --csv > answers.csv
  visual-memory classify 'inbox/**/*.jpg' --k 5 --voter rank
  find . -name '*.jpg' | visual-memory classify -"""
_EXPLAIN = """\
  visual-memory explain new.jpg                  opens a page in your browser
  visual-memory explain new.jpg --output why.html --no-open"""
_SIMILAR = """\
  visual-memory similar new.jpg                  an image
  visual-memory similar dog/3.jpg -k 20          or one of the memory"""
_CSV = ("image", "class", "probability", "similarity", "nearest", "error")


@command(
  "classify",
  option(
    "images",
    metavar="IMAGE",
    nargs="+",
    help="image files, folders, .zip files, patterns, or - (standard input)",
  ),
  option(
    "--min-similarity",
    type=commands.similarity,
    metavar="X",
    help="below it an image is unknown (-1: none is); by default 98 %% of the"
    " memory's own images are above",
  ),
  option("--csv", action="store_true", help="print a table"),
  commands.vote,
  examples=_CLASSIFY,
)
def classify(arguments: argparse.Namespace) -> int:
  """Say which class images belong to.

  Prints one line for each as it is found: the image, its class, how probable
  that is, and the nearest image of the memory. An image that is like none of
  them is unknown.
  """
  store = output.open_store(arguments)
  pictures, problems, left_out = inputs.open_pictures(arguments.images)
  failed = [
    {"image": word, "error": f"{word!r} cannot be classified: {why}."}
    for word, why in problems
  ]
  answers = iter(())
  if len(pictures):  # Nothing waits for an encoder that has nothing to do.
    limit = arguments.min_similarity
    asker = _asker(arguments, store, min_similarity=limit)
    answers = asker.answers(pictures)
  num_failed = 0
  with _listing(arguments) as show:
    for answer in itertools.chain(answers, failed):
      if "error" in answer:
        num_failed += 1
        show(answer, None)
        output.say(f"visual-memory: {output.shown(answer['error'])}")
      else:
        show(answer, _line(answer))
  if left_out:
    count = output.counted(len(left_out), "file")
    output.say(f"{count} skipped: {'; '.join(origins.summary(left_out))}.")
  return 1 if num_failed else 0


def _asker(arguments, store: Store, **options: Any):
  """The memory, ready to answer."""
  from visual_memory.collection.answering import Asker

  if arguments.k < 1:
    raise ValueError(f"--k {arguments.k}: at least one neighbor must vote.")
  return Asker(store, k=arguments.k, voter=arguments.voter, **options)


def _listing(arguments):
  """What shows answers as they come: lines, JSON, or a table."""
  if not arguments.csv:
    return output.listing(arguments)
  return output.table(_CSV, _cells)


def _cells(answer: dict[str, Any]) -> list[Any]:
  """An answer's row of a table."""
  if "error" in answer:
    return [answer["image"], "", "", "", "", answer["error"]]
  near, best = answer["neighbors"][0], answer["best"]
  sure = f"{best[0]['probability']:.4f}" if answer["known"] and best else ""
  similarity = f"{near['similarity']:.4f}"
  name = answer["prediction"] or ""
  return [answer["image"], name, sure, similarity, near["id"], ""]


def _line(answer: dict[str, Any]) -> str:
  """An answer's line."""
  near, best = answer["neighbors"][0], answer["best"]
  nearest = f"nearest {output.shown(near['id'])} {near['similarity']:.3f}"
  parts = [output.shown(answer["image"])]
  if not answer["known"]:
    return "  ".join([*parts, "unknown", nearest])
  parts.append(output.shown(answer["prediction"] or "(no class)"))
  sure = {one["class"]: one["probability"] for one in best}
  parts.append(f"{100 * sure.get(answer['prediction'], 0):.0f} %")
  parts.append(nearest)
  others = [
    f"{output.shown(one['class'])} {100 * one['probability']:.0f} %"
    for one in best
    if one["class"] != answer["prediction"] and one["probability"] >= 0.005
  ]
  return "  ".join([*parts, *([f"({', '.join(others)})"] if others else [])])


@command(
  "similar",
  option("images", metavar="IMAGE", nargs="+", help="image files, or ids"),
  commands.neighbors,
  examples=_SIMILAR,
)
def similar(arguments: argparse.Namespace) -> int:
  """Show the images of the memory that are nearest to images."""
  store = output.open_store(arguments)
  present = set(store.ids.tolist())
  files = [word for word in arguments.images if word not in present]
  rows = [word for word in arguments.images if word in present]
  pictures, problems, _ = inputs.open_pictures(files)
  found = _nearest(store, rows, pictures, arguments.k)
  found += [
    {"image": word, "error": f"{why}, and no id of the memory"}
    for word, why in problems
  ]
  lines = []
  for one in found:
    if "error" in one:
      output.say(f"visual-memory: {output.shown(one['image'])}: {one['error']}")
      continue
    lines.append(output.shown(one["image"]))
    lines += [
      f"  {near['similarity']:.3f}  {output.shown(near['id'])}"
      f"  {output.shown(near['class'] or '(no class)')}"
      for near in one["neighbors"]
    ]
  output.show(arguments, found, "\n".join(lines))
  return 1 if any("error" in one for one in found) else 0


def _nearest(store: Store, rows, pictures, k: int) -> list[dict[str, Any]]:
  """What is nearest to rows and to pictures, if there are any."""
  if not rows and not len(pictures):
    return []
  from visual_memory.collection import questions
  from visual_memory.collection.answering import Asker

  asker = Asker(store, min_similarity=-1.0)
  found = questions.similar(asker, ids=rows, k=k) if rows else []
  if len(pictures):
    found += questions.similar(asker, pictures, k=k)
  return found


@command(
  "explain",
  option("image", metavar="IMAGE", help="an image file"),
  commands.page,
  commands.vote,
  examples=_EXPLAIN,
)
def explain(arguments: argparse.Namespace) -> int:
  """Show which images decided on a class.

  Writes one page that needs nothing else, and opens it.
  """
  store = output.open_store(arguments)
  pictures, problems, _ = inputs.open_pictures([arguments.image])
  if problems or len(pictures) != 1:
    why = problems[0][1] if problems else "it is more than one image"
    raise ValueError(f"{arguments.image!r} cannot be explained: {why}.")
  from visual_memory.reports import explanation

  asker = _asker(arguments, store, min_similarity=-1.0)
  answer = next(iter(asker.answers(pictures)))
  if "error" in answer:
    raise ValueError(answer["error"])
  ids = [near["id"] for near in answer["neighbors"]]
  sources = provenance.Pictures(provenance.origins_of(store))
  shown = [
    sources.find(row_id, record)
    for row_id, record in zip(ids, store.metadata(ids), strict=True)
  ]
  page = explanation.render_explanation(
    answer,
    picture=pictures[0].image,
    neighbor_pictures=shown,
    about={
      "memory": arguments.store,
      "rows": output.holding(store),
      "encoder": provenance.encoder_of(store)["name"],
      "vote": f"{arguments.voter}, {len(ids)} nearest",
    },
  )
  path = _write_page(arguments.output, arguments.image, page)
  missing = sum(picture is None for picture in shown)
  if missing:
    output.say(f"{missing} of the neighbors' images are no longer there.")
  output.show(
    arguments,
    {**answer, "page": path},
    f"{_line(answer)}\n{100 * answer['share']:.0f} % of the votes are for it."
    f"\nPage: {path}",
  )
  if not arguments.no_open and not webbrowser.open(f"file://{path}"):
    output.say("No browser could be started: open the page yourself.")
  return 0


def _write_page(path: str | None, image: str, page: str) -> str:
  """Writes the page; its absolute path."""
  if path is None:
    name = os.path.splitext(os.path.basename(image))[0]
    file, path = tempfile.mkstemp(prefix=f"explain-{name}-", suffix=".html")
    os.close(file)
  files.write_text(path, page)
  return os.path.abspath(path)
