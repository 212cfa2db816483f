"""Embedded sets with metadata, to and from files of other programs.

  write_rows("rows.parquet", embedded, metadata, about=attributes)
  embedded, metadata, about = read_rows("rows.parquet")

.npz holds ids, labels, embeddings, class_names, metadata (one JSON text for
each row) and about (one JSON text). .parquet holds the columns id, label (a
class's name, null where unknown), embedding (a list of D floats) and metadata,
and the rest in the schema's metadata, under "visual_memory".
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory import files
from visual_memory.types import UNLABELED, EmbeddedSet, embedded_set

_KEY = b"visual_memory"
_NEEDS = (
  "Parquet needs the `pyarrow` package: install it with"
  " pip install 'visual_memory[cli]', or use a .npz file."
)


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
  """Reads what `write_rows` wrote, checked.

  Raises:
    ValueError: another suffix, or rows that break their promises.
    ImportError: Parquet without pyarrow; names the extra.
    OSError: there is no such file, or it cannot be read.
  """
  path = os.fspath(path)
  read = {".npz": _read_npz, ".parquet": _read_parquet}[_suffix(path)]
  try:
    return read(path)
  except KeyError as error:
    raise ValueError(f"{path} has no {error}: see exchange.py.") from error


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


def _read_npz(path: str) -> Rows:
  with np.load(path, allow_pickle=False) as arrays:
    return _checked(
      heading=str(arrays["visual_memory"]),
      ids=arrays["ids"].tolist(),
      labels=arrays["labels"],
      embeddings=arrays["embeddings"],
      metadata=arrays["metadata"].tolist(),
    )


def _write_parquet(path: str, rows: Rows) -> None:
  pyarrow, parquet = _pyarrow()
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
  table = table.replace_schema_metadata({_KEY: _heading(rows)})
  parquet.write_table(table, path)


def _read_parquet(path: str) -> Rows:
  _, parquet = _pyarrow()
  table = parquet.read_table(path)
  heading = (table.schema.metadata or {})[_KEY].decode()
  names = json.loads(heading)["class_names"]
  position = {None: UNLABELED, **{name: i for i, name in enumerate(names)}}
  vectors = table["embedding"].combine_chunks()
  return _checked(
    heading=heading,
    ids=table["id"].to_pylist(),
    labels=np.array([position[v] for v in table["label"].to_pylist()], int),
    embeddings=vectors.flatten().to_numpy(zero_copy_only=False).reshape(
      len(vectors), vectors.type.list_size
    ),
    metadata=table["metadata"].to_pylist(),
  )  # fmt: skip


def _checked(*, heading, ids, labels, embeddings, metadata) -> Rows:
  """The rows of a file."""
  head = json.loads(heading)
  return Rows(
    embedded=embedded_set(
      embeddings,
      labels,
      ids,
      class_names=head["class_names"],
      fingerprint=head["fingerprint"],
    ),
    metadata=[json.loads(text) for text in metadata],
    about=head["about"],
  )


def _pyarrow():
  """The parts of pyarrow that are used here."""
  try:
    import pyarrow
    import pyarrow.parquet
  except ImportError as error:
    raise ImportError(_NEEDS) from error
  return pyarrow, pyarrow.parquet
