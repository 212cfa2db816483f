"""A memory's labels as a table that any spreadsheet opens, and back.

  write_labels(store, "labels.csv")     # id, class, file
  change = read_labels(store, "labels.csv")
  store.relabel(list(change), list(change.values()))

An empty class is none: such a row has no vote.
"""

import csv
import io
import os

from visual_memory import files
from visual_memory.checks import shown
from visual_memory.collection.identity import Known
from visual_memory.collection.provenance import origins_of
from visual_memory.store.store import Store

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
