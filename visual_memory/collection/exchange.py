"""Embedded sets with metadata, to and from files of other programs.

  write_rows("rows.parquet", embedded, metadata, about=attributes)
  embedded, metadata, about = read_rows("rows.parquet")
  write_labels(store, "labels.csv")     # id, class, file; any spreadsheet's
  change = read_labels(store, "labels.csv")
  store.relabel(list(change), list(change.values()))

.npz holds ids, labels, embeddings, class_names, metadata (one JSON text for
each row) and about (one JSON text). .parquet holds the columns id, label (a
class's name, null where unknown), embedding (a list of D floats) and metadata,
and the rest in the schema's metadata, under "visual_memory".
"""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory import files
from visual_memory.checks import as_class_names, shown
from visual_memory.collection import row_files
from visual_memory.collection.identity import Known
from visual_memory.collection.provenance import origins_of
from visual_memory.store.store import Store
from visual_memory.types import UNLABELED, EmbeddedSet, embedded_set


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
  """What a file holds.

  Attributes:
    embedded: the rows.
    metadata: a JSON object for each row.
    about: a JSON object about all of them.
  """

  embedded: EmbeddedSet
  metadata: Sequence[Mapping[str, Any]]
  about: Mapping[str, Any]


def write_rows(path: str | os.PathLike, rows: Rows) -> None:
  """Writes a .npz or a .parquet file, which is there once it is whole.

  Raises:
    ValueError: another suffix.
    ImportError: Parquet without pyarrow; names the extra.
  """
  path = os.fspath(path)
  write = {".npz": _write_npz, ".parquet": _write_parquet}[_suffix(path)]
  with files.replacing(path) as partial:
    write(os.fspath(partial), rows)


def read_rows(path: str | os.PathLike) -> Rows:
  """Reads what `write_rows` wrote, or another program in the same form.

  The file may be a stranger's: nothing in it is executed, nothing that it
  names is opened, and it is refused before it unpacks to more than a hundred
  times its size. In Parquet, text may be any string type, and an embedding a
  list of floats of any width.

  Raises:
    ValueError: another suffix, a file that is no such table, or rows that
      break their promises; in one sentence.
    ImportError: Parquet without pyarrow; names the extra.
    OSError: there is no such file, or it cannot be read.
  """
  path = os.fspath(path)
  readers = {".npz": row_files.read_npz, ".parquet": row_files.read_parquet}
  read = readers[_suffix(path)]
  with open(path, "rb") as file:
    try:
      return _checked(**read(file))
    except ValueError as error:
      raise ValueError(f"{path} cannot be imported: {error}") from error
    except MemoryError as error:
      raise ValueError(f"{path} does not fit into memory.") from error


def _suffix(path: str) -> str:
  suffix = os.path.splitext(path)[1].lower()
  if suffix not in (".npz", ".parquet"):
    raise ValueError(
      f"{path!r} must end in .npz or .parquet, which says what is in it."
    )
  return suffix


def _heading(rows: Rows) -> str:
  """All but the rows themselves, as JSON."""
  return json.dumps({
    "fingerprint": rows.embedded.fingerprint,
    "class_names": rows.embedded.class_names,
    "about": rows.about,
  })  # fmt: skip


def _write_npz(path: str, rows: Rows) -> None:
  with open(path, "wb") as file:
    np.savez(
      file,
      ids=np.array(rows.embedded.ids, str),
      labels=rows.embedded.labels,
      embeddings=rows.embedded.embeddings,
      metadata=np.array([json.dumps(m) for m in rows.metadata], str),
      visual_memory=np.array(_heading(rows)),
    )


def _write_parquet(path: str, rows: Rows) -> None:
  pyarrow, parquet = row_files.pyarrow()
  embedded = rows.embedded
  names = [*embedded.class_names, None]
  vectors = pyarrow.FixedSizeListArray.from_arrays(
    embedded.embeddings.ravel(), embedded.embeddings.shape[1]
  )
  table = pyarrow.table({
    "id": pyarrow.array(embedded.ids.tolist(), pyarrow.string()),
    "label": pyarrow.array(
      [names[label] for label in embedded.labels], pyarrow.string()
    ),
    "embedding": vectors,
    "metadata": pyarrow.array(
      [json.dumps(m) for m in rows.metadata], pyarrow.string()
    ),
  })  # fmt: skip
  table = table.replace_schema_metadata({row_files.HEADING: _heading(rows)})
  parquet.write_table(table, path)


def _checked(*, heading, ids, labels, embeddings, metadata) -> Rows:
  """The rows of a file; labels are indices, or names (None is unknown)."""
  head = _json(heading, "its heading")
  names, fingerprint = head.get("class_names"), head.get("fingerprint")
  about = head.get("about", {})
  if not isinstance(fingerprint, str) or not isinstance(about, dict):
    raise ValueError("its heading names no encoder's fingerprint.")
  names = as_class_names(names)
  if isinstance(labels, list):
    position = {None: UNLABELED, **{name: i for i, name in enumerate(names)}}
    unknown = [name for name in labels if name not in position]
    if unknown:
      raise ValueError(
        f"the label {shown(unknown[0])} is no class of its heading."
      )
    labels = np.array([position[name] for name in labels], np.int32)
  embedded = embedded_set(
    embeddings, labels, ids, class_names=names, fingerprint=fingerprint
  )
  if len(metadata) != len(embedded):
    raise ValueError(f"{len(embedded)} rows but {len(metadata)} metadata.")
  return Rows(
    embedded=embedded,
    metadata=[
      _json(text, f"the metadata of row {row}") if text else {}
      for row, text in enumerate(metadata)
    ],
    about=about,
  )


def _json(text: str, what: str) -> dict[str, Any]:
  """A JSON object."""
  try:
    value = json.loads(text)
  except (ValueError, TypeError, RecursionError):
    value = None
  if not isinstance(value, dict):
    raise ValueError(f"{what} is no JSON object.")
  return value


COLUMNS = ("id", "class", "file")


def write_labels(store: Store, path: str | os.PathLike) -> int:
  """Writes every row's id, class and file; how many rows."""
  known = Known(store, origins_of(store))
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(COLUMNS)
  for row_id, name in known.classes.items():
    picture = known.pictures.get(row_id)
    places = picture.places if picture else ()
    at = known.origins[places[0][0]].location(places[0][1]) if places else ""
    writer.writerow([row_id, name or "", at])
  files.write_text(path, text.getvalue())
  return len(known.classes)


def read_labels(store: Store, path: str | os.PathLike) -> dict[str, str]:
  """The rows whose class in a table is another one, and that class.

  Rows that the table does not name stay as they are.

  Args:
    store: the memory.
    path: a .csv with the columns id and class, in any order, among others;
      separated by commas, semicolons or tabs.

  Raises:
    ValueError: no such columns, a row twice, one that the memory does not
      hold, or a class taken away; names the line.
    FileNotFoundError: there is no such file.
  """
  try:
    rows = _rows(path)
  except UnicodeDecodeError as error:
    raise ValueError(
      f"{os.fspath(path)!r} is not in UTF-8: save it as 'CSV UTF-8'. Nothing"
      " was changed."
    ) from error
  except csv.Error as error:
    raise ValueError(
      f"{os.fspath(path)!r} is no table: {error}. Nothing was changed."
    ) from error
  known = Known(store, origins_of(store))
  seen: dict[str, int] = {}
  change: dict[str, str] = {}
  for line, row_id, name in rows:
    if row_id not in known.classes:
      raise ValueError(
        f"Line {line} of {os.fspath(path)!r} names {shown(row_id)}, which is"
        " not in the memory. Nothing was changed."
      )
    if row_id in seen:
      raise ValueError(
        f"Lines {seen[row_id]} and {line} of {os.fspath(path)!r} name the same"
        f" image, {shown(row_id)}. Nothing was changed."
      )
    seen[row_id] = line
    was = known.classes[row_id] or ""
    if was and not name:
      raise ValueError(
        f"Line {line} of {os.fspath(path)!r} gives {shown(row_id)} no class:"
        " remove it from the memory instead. Nothing was changed."
      )
    if name != was:
      change[row_id] = name
  return change


def _rows(path: str | os.PathLike) -> list[tuple[int, str, str]]:
  """The line number, id and class of each row of a table."""
  with open(path, encoding="utf-8-sig", newline="") as file:
    first = file.readline()
    file.seek(0)
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(file, delimiter=separator)
    columns = reader.fieldnames or ()
    if not {"id", "class"} <= set(columns):
      raise ValueError(
        f"{os.fspath(path)!r} has the columns"
        f" {', '.join(map(repr, columns))}: it needs"
        " 'id' and 'class', as `export labels.csv` writes them."
      )
    is_named = lambda row: (row["class"] or "").strip()
    return [
      (reader.line_num, row["id"], row["class"] if is_named(row) else "")
      for row in reader
    ]
