"""Looking after a memory: info, verify, compact, export, import."""

import argparse
import os
import pathlib
from typing import Any

import numpy as np

from visual_memory.cli import commands, output
from visual_memory.cli.commands import command, option
from visual_memory.collection import class_folders, exchange
from visual_memory.store.errors import StoreDamaged
from visual_memory.store.store import Store

_MOST_CLASSES = 20


@command(
  "info",
  option(
    "--ids", action="store_true", help="list the id and class of every image"
  ),
  examples="  visual-memory info\n  visual-memory info --json",
)
def info(arguments: argparse.Namespace) -> None:
  """Say what a memory holds.

  Images by class, encoder, where they came from, size on disk.
  """
  store = output.open_store(arguments)
  if arguments.ids:
    return _list(arguments, store)
  of, labels = store.contents, store.labels
  counts = np.bincount(labels[labels >= 0], minlength=len(of.class_names))
  about = of.attributes
  result = {
    "store": os.path.abspath(arguments.store)
    if "://" not in arguments.store
    else arguments.store,
    "rows": of.num_rows,
    "unlabeled": int((labels < 0).sum()),
    "classes": dict(zip(of.class_names, counts.tolist(), strict=True)),
    "dimension": of.dim,
    "encoder": about.get("encoder"),
    "preprocess": about.get("preprocess"),
    "fingerprint": of.fingerprint,
    "origins": about.get("origins", []),
    "unfinished": bool(about.get("unfinished")),
    "generation": of.generation,
    "removals": of.trail.count,
    "last_receipt": of.trail.last,
    "bytes": _num_bytes(arguments.store),
  }
  output.show(arguments, result, _as_text(result))
  return None


def _list(arguments: argparse.Namespace, store: Store) -> None:
  """Prints the id and class of every row."""
  rows = store.embedded()
  names = np.array([*rows.class_names, None], dtype=object)
  pairs = list(zip(rows.ids.tolist(), names[rows.labels], strict=True))
  output.show(
    arguments,
    [{"id": i, "class": name} for i, name in pairs],
    "\n".join(
      f"{output.shown(i)}\t{output.shown(name or '')}" for i, name in pairs
    ),
  )


def _as_text(found: dict[str, Any]) -> str:
  """What `info` prints."""
  encoder = (found["encoder"] or {}).get("name", found["fingerprint"])
  size = f", {found['bytes'] / 1e6:,.1f} MB" if found["bytes"] else ""
  lines = [
    found["store"],
    f"  {output.counted(found['rows'], 'image')} of"
    f" {output.counted(sum(c > 0 for c in found['classes'].values()), 'class')}"
    f"{size}",
    f"  encoder {encoder}, {found['dimension']} dimensions",
  ]
  lines += [f"  from {_origin(origin)}" for origin in found["origins"]]
  lines.append(
    f"  {output.counted(found['generation'], 'edit')},"
    f" {output.counted(found['removals'], 'removal')}"
  )
  if found["last_receipt"]:
    lines.append(f"  last receipt {found['last_receipt']}")
  largest = sorted(found["classes"].items(), key=lambda item: -item[1])
  largest = [(output.shown(name), count) for name, count in largest if count]
  width = max((len(name) for name, _ in largest[:_MOST_CLASSES]), default=0)
  lines += [f"  {n:<{width}}  {c:>7,}" for n, c in largest[:_MOST_CLASSES]]
  if len(largest) > _MOST_CLASSES:
    lines.append(f"  ... and {len(largest) - _MOST_CLASSES:,} more classes")
  if found["unlabeled"]:
    lines.append(f"  without a class: {found['unlabeled']:,}")
  return "\n".join(lines)


def _origin(origin: dict[str, Any]) -> str:
  """An origin, and what was decided of its folders."""
  if "path" not in origin:
    return "pictures whose contents were not recorded, by an earlier version"
  level = origin["class_level"]
  told = {
    class_folders.FLAT: "folders are no classes",
    class_folders.LAST: "class: the folder of each image",
    class_folders.PATH: "class: all folders",
  }.get(level, f"class: folder {level}")
  parts = [output.shown(origin["path"]), told]
  parts += [f"split {', '.join(origin['read'])}"] * bool(origin["read"])
  parts += [f"below {origin['root']}"] * bool(origin["root"])
  parts += [f"without {', '.join(origin['exclude'])}"] * bool(origin["exclude"])
  parts += [f"ids begin with {origin['prefix']}"] * bool(origin["prefix"])
  return "; ".join(parts)


def _num_bytes(path: str) -> int | None:
  """Bytes of all files; None for a bucket."""
  if "://" in path:
    return None
  found = pathlib.Path(path).rglob("*")
  return sum(file.stat().st_size for file in found if file.is_file())


@command(
  "verify",
  option("--public-key", metavar="FILE", help="who signed the receipts"),
  option(
    "--kept",
    metavar="DIGEST",
    help="of a receipt, as `remove` and `info` print it: it must be there",
  ),
  examples="  visual-memory verify\n"
  "  visual-memory verify --public-key key.pub   signatures, too",
)
def verify(arguments: argparse.Namespace) -> int:
  """Check every byte of a memory.

  Checksums, receipts, and that nothing is left where images were removed.
  """
  store = output.open_store(arguments)
  try:
    found = store.verify(kept=arguments.kept)
  except StoreDamaged as error:
    if arguments.json:
      output.show(arguments, {"problems": error.problems}, "")
      return 1
    raise
  signed = 0
  if arguments.public_key:
    for receipt in store.receipts():
      receipt.check_signature(arguments.public_key)
      signed += 1
  result = {**vars(found), "problems": [], "signatures": signed}
  output.show(
    arguments,
    result,
    f"Sound: {output.counted(found.num_rows, 'image')},"
    f" {found.num_bytes / 1e6:,.1f} MB read,"
    f" {output.counted(found.num_receipts, 'receipt')}"
    + (f", {signed:,} signed by this key" if arguments.public_key else "")
    + f", generation {found.generation:,}.",
  )
  return 0


@command("compact", examples="  visual-memory compact")
def compact(arguments: argparse.Namespace) -> None:
  """Give back the space of removed images."""
  store = output.open_store(arguments)
  before = _num_bytes(arguments.store)
  store.compact()
  after = _num_bytes(arguments.store)
  result = {"bytes_before": before, "bytes_after": after}
  text = "Compacted."
  if before is not None:
    text = f"Compacted: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} now."
  output.show(arguments, result, text)


@command(
  "export",
  option("file", metavar="FILE", help="its suffix says the format"),
  examples="  visual-memory export rows.parquet\n"
  "  visual-memory export labels.csv                id, class, file",
)
def export(arguments: argparse.Namespace) -> None:
  """Write all rows to a .parquet or .npz file, or the classes to a .csv."""
  store = output.open_store(arguments)
  if arguments.file.lower().endswith(".csv"):
    rows = exchange.write_labels(store, arguments.file)
  else:
    embedded = store.embedded()
    rows = len(embedded)
    exchange.write_rows(
      arguments.file,
      exchange.Rows(
        embedded=embedded,
        metadata=store.metadata(embedded.ids),
        about=store.attributes,
      ),
    )
  size = os.path.getsize(arguments.file)
  output.show(
    arguments,
    {"file": arguments.file, "rows": rows, "bytes": size},
    f"Wrote {arguments.file}: {output.counted(rows, 'image')},"
    f" {size / 1e6:,.1f} MB.",
  )


@command(
  "import",
  option("file", metavar="FILE", help="a .parquet or .npz file, or a .csv"),
  commands.careful,
  examples="  visual-memory import rows.parquet --store copy\n"
  "  visual-memory import labels.csv --dry-run      what would change?",
)
def import_rows(arguments: argparse.Namespace) -> int:
  """Make a memory from a file of `export`, or take classes from a .csv."""
  if arguments.file.lower().endswith(".csv"):
    return _import_labels(arguments)
  rows = exchange.read_rows(arguments.file)
  if arguments.dry_run:
    text = (
      f"{arguments.file} holds {output.counted(len(rows.embedded), 'image')}."
    )
    output.show(arguments, {"rows": len(rows.embedded)}, text)
    return 0
  store = Store.create(
    arguments.store,
    rows.embedded,
    metadata=rows.metadata,
    attributes=rows.about,
  )
  output.show(
    arguments,
    {"store": arguments.store, "rows": len(store)},
    f"Made {arguments.store}: it holds {output.holding(store)}.",
  )
  return 0


def _import_labels(arguments: argparse.Namespace) -> int:
  """Gives the images that a table names the classes that it says."""
  store = output.open_store(arguments)
  change = exchange.read_labels(store, arguments.file)
  what = output.counted(len(change), "image")
  if change and not arguments.dry_run:
    question = f"Give {what} of {len(store):,} another class?"
    if not output.confirm(arguments, question):
      return 1
    store.relabel(list(change), list(change.values()))
  done = "would get" if arguments.dry_run else "given"
  result = {"relabelled": change, "dry_run": arguments.dry_run}
  output.show(arguments, result, f"{what} {done} another class.")
  return 0
