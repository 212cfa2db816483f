"""What the commands print: answers on standard output, the rest on error."""

import argparse
import contextlib
import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from visual_memory.store import errors
from visual_memory.store.store import Store


def open_store(arguments: argparse.Namespace) -> Store:
  """The memory that the command is about.

  Raises:
    StoreError: there is none, or it is still being built.
  """
  path = arguments.store
  if "://" not in path and not os.path.isdir(path):
    raise FileNotFoundError(
      f"There is no memory at {path!r}. Build one with `visual-memory build"
      " IMAGES`, or say with --store where it is."
    )
  store = Store.open(path)
  if store.attributes.get("unfinished"):
    say(
      f"Note: {path} is not built to its end; run the same `visual-memory"
      " build` again to go on."
    )
  return store


def show(arguments: argparse.Namespace, result: Any, text: str) -> None:
  """Prints a command's result, as JSON or as text."""
  print(_json(result) if arguments.json else _printable(text), flush=True)


def _json(result: Any) -> str:
  return _printable(json.dumps(result, indent=2, ensure_ascii=False))


def _printable(text: str) -> str:
  """Text that UTF-8 holds: bytes of a name that are none become an escape."""
  return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def listing(arguments: argparse.Namespace):
  """Prints results one by one, as they come: lines, or one JSON array.

  Yields:
    A function of a result and its line (None prints none).
  """
  count = 0

  def show_one(result: Any, line: str | None) -> None:
    nonlocal count
    if arguments.json:
      text = _json(result)
      print(("[\n" if not count else ",\n") + text, end="", flush=True)
    elif line is not None:
      print(line, flush=True)
    count += 1

  try:
    yield show_one
  except Exception as error:
    if not arguments.json:
      raise
    show_one({"error": errors.sentence(error)}, None)  # It stays an array.
    arguments.told = True
    raise
  finally:
    if arguments.json:
      print("\n]" if count else "[]", flush=True)


@contextlib.contextmanager
def table(columns: Sequence[str], cells: Callable[[Any], Sequence[Any]]):
  """Prints results as lines of a .csv, as they come.

  Yields:
    A function of a result and anything.
  """
  writer = csv.writer(sys.stdout, lineterminator="\n")
  writer.writerow(columns)

  def show_one(result: Any, line: Any) -> None:
    writer.writerow(cells(result))
    sys.stdout.flush()

  yield show_one


def say(text: str) -> None:
  """Prints a remark."""
  print(text, file=sys.stderr, flush=True)


def remarks(lines: Sequence[str]) -> None:
  """Prints remarks, a line each."""
  for line in lines:
    say(f"Note: {shown(line)}")


def skipped(images: tuple[tuple[str, str], ...]) -> None:
  """Says which images could not be read."""
  if not images:
    return
  say(f"{len(images):,} cannot be read and were left out:")
  for row_id, reason in images[:10]:
    say(f"  {shown(row_id)}: {reason}")
  if len(images) > 10:
    say(f"  ... and {len(images) - 10:,} more")


def confirm(
  arguments: argparse.Namespace, question: str, *, gone: int = 0, of: int = 0
) -> bool:
  """Asks whether to go on, where there is somebody to ask.

  Args:
    arguments: with --yes.
    question: what is about to be done.
    gone: rows that will be gone.
    of: all rows.

  Raises:
    ValueError: more than half would go, and there is nobody to ask.
  """
  if arguments.yes:
    return True
  if not sys.stdin.isatty():
    if gone * 2 > of:
      raise ValueError(
        f"{question} That is more than half of the memory: say --yes if it is"
        " meant. Nothing was changed."
      )
    return True
  print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
  return sys.stdin.readline().strip().lower() in ("y", "yes")


def shown(name: str) -> str:
  """A name as it can be printed: on one line, without control characters."""
  return "".join(
    char if char.isprintable() else repr(char)[1:-1] for char in name
  )


def counted(count: int, what: str) -> str:
  """So many of something: "1 image", "2,000 images", "3 classes"."""
  plural = what + ("es" if what.endswith("s") else "s")
  return f"{count:,} {what if count == 1 else plural}"


def holding(store: Store) -> str:
  """How many images of how many classes a memory holds."""
  classes = counted(num_classes(store), "class")
  return f"{counted(len(store), 'image')} of {classes}"


def num_classes(store: Store) -> int:
  """How many classes have images."""
  labels = store.labels
  return len(np.unique(labels[labels >= 0]))
