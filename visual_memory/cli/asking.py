"""Asking a memory: classify, explain."""

import argparse
import itertools
import os
import tempfile
import webbrowser
from collections.abc import Iterator
from typing import Any

from visual_memory.cli import output
from visual_memory.collection import answering, inputs, origins, provenance
from visual_memory.reports import explanation
from visual_memory.voting import weighting

_K, _VOTER = 10, "softmax"
"""What was best on tuning rows of CIFAR-10 (see the README)."""

_CLASSIFY = """\
  visual-memory classify new.jpg
  visual-memory classify inbox/ --json           all images below a folder
  visual-memory classify *.jpg --k 5 --voter rank"""
_EXPLAIN = """\
  visual-memory explain new.jpg                  opens a page in your browser
  visual-memory explain new.jpg --output why.html --no-open"""


def add_commands(commands: Any) -> None:
  """Adds classify and explain."""
  parser = output.command(
    commands,
    "classify",
    _classify,
    text="Say which class images belong to. Prints one line for each: the"
    " image, its class, the share of the votes, and the nearest image.",
    examples=_CLASSIFY,
  )
  parser.add_argument(
    "images",
    metavar="IMAGE",
    nargs="+",
    help="image files, folders, .zip files, patterns, or - (standard input)",
  )
  _add_vote(parser)

  parser = output.command(
    commands,
    "explain",
    _explain,
    text="Show which images decided on a class. Writes one page that needs"
    " nothing else, and opens it.",
    examples=_EXPLAIN,
  )
  parser.add_argument("image", metavar="IMAGE", help="an image file")
  parser.add_argument(
    "-o", "--output", metavar="FILE", help="the page (default: a new file)"
  )
  parser.add_argument(
    "--no-open", action="store_true", help="write the page, do not open it"
  )
  _add_vote(parser)


def _add_vote(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "-k",
    "--k",
    type=int,
    default=_K,
    metavar="N",
    help="how many neighbors vote (default: %(default)s)",
  )
  parser.add_argument(
    "--voter",
    default=_VOTER,
    choices=tuple(weighting.VOTERS),
    help="how much say each has (default: %(default)s)",
  )


def _classify(arguments: argparse.Namespace) -> int:
  store = output.open_store(arguments)
  pictures, problems, left_out = inputs.open_pictures(arguments.images)
  failed = [
    {"image": word, "error": f"{word!r} cannot be classified: {why}."}
    for word, why in problems
  ]
  answers = itertools.chain(_answers(arguments, pictures, store), failed)
  num_failed = 0
  with output.listing(arguments) as show:
    for answer in answers:
      if "error" in answer:
        num_failed += 1
        show(answer, None)
        output.say(f"visual-memory: {output.shown(answer['error'])}")
        continue
      near = answer["neighbors"][0]
      named = answer["prediction"] or "(no class)"
      show(
        answer,
        f"{output.shown(answer['image'])}  {output.shown(named)}"
        f"  {100 * answer['share']:.0f} %"
        f"  nearest {output.shown(near['id'])} {near['similarity']:.3f}",
      )
  if left_out:
    count = output.counted(len(left_out), "file")
    output.say(f"{count} skipped: {'; '.join(origins.summary(left_out))}.")
  return 1 if num_failed else 0


def _explain(arguments: argparse.Namespace) -> int:
  store = output.open_store(arguments)
  pictures, problems, _ = inputs.open_pictures([arguments.image])
  if problems or len(pictures) != 1:
    why = problems[0][1] if problems else "it is more than one image"
    raise ValueError(f"{arguments.image!r} cannot be explained: {why}.")
  answer = next(iter(_answers(arguments, pictures, store)))
  if "error" in answer:
    raise ValueError(answer["error"])
  found = provenance.provenance(store)
  ids = [near["id"] for near in answer["neighbors"]]
  sources = provenance.Pictures(found.origins)
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
      "encoder": found.encoder["name"],
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
    f"{arguments.image}  {answer['prediction']}"
    f"  {100 * answer['share']:.0f} %\nPage: {path}",
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
  with open(path, "w", encoding="utf-8") as file:
    file.write(page)
  return os.path.abspath(path)


def _answers(arguments, pictures, store) -> Iterator[dict[str, Any]]:
  """Prediction, shares and neighbors of every image."""
  return answering.answers(
    store, pictures, k=arguments.k, voter=arguments.voter
  )
