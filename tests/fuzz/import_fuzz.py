"""Files of rows to import: broken, lying about sizes, of other types."""

import functools
import io
import json
import pathlib
import tempfile
import zipfile

import fuzzing
import numpy as np
import pyarrow
import pyarrow.parquet
import store_cases

from visual_memory.checks import are_unit_rows
from visual_memory.collection import exchange, provenance
from visual_memory.store.store import Store

_TYPES = (
  pyarrow.string(), pyarrow.large_string(), pyarrow.int64(), pyarrow.float64(),
  pyarrow.binary(), pyarrow.bool_(), pyarrow.list_(pyarrow.float64()),
  pyarrow.list_(pyarrow.float32(), 7), pyarrow.null(),
  pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
)  # fmt: skip
_DTYPES = ("O", "U1", "U400", "S3", "f2", "f8", "i1", "u8", "c8", "?", "M8[s]")


def check(seed: int, folder: pathlib.Path) -> str:
  """One file."""
  rng = fuzzing.random_of(seed)
  suffix = rng.choice([".npz", ".npz", ".parquet"])
  if rng.random() < 0.4:
    data = fuzzing.mutated(_sound()[suffix], rng)
  elif suffix == ".npz":
    data = _other_npz(rng)
  else:
    data = _other_parquet(rng)

  def fill(place: pathlib.Path) -> None:
    place.mkdir()
    (place / f"rows{suffix}").write_bytes(data)

  with fuzzing.guarded(folder, fill) as place:
    try:
      rows = exchange.read_rows(place / f"rows{suffix}")
    except ValueError as error:
      return fuzzing.assert_clear(error)
    return _use(rows, place)


def _use(rows: exchange.Rows, place: pathlib.Path) -> str:
  """Makes a store of accepted rows, and asks it where they come from."""
  held = rows.embedded
  assert are_unit_rows(held.embeddings).all()
  assert len(set(held.ids)) == len(held)
  assert ((held.labels >= -1) & (held.labels < held.num_classes)).all()
  try:
    store = Store.create(
      place / "store", held, metadata=rows.metadata, attributes=rows.about
    )
  except ValueError as error:  # Lone surrogates: nothing else is left to say.
    return fuzzing.assert_clear(error)
  store.verify()
  pictures = provenance.Pictures(provenance.origins_of(store))
  for row_id, metadata in zip(store.ids, rows.metadata, strict=True):
    pictures.find(row_id, metadata)
  return "read"


@functools.cache
def _sound() -> dict[str, bytes]:
  """Sound files, by suffix."""
  rows = exchange.Rows(
    embedded=store_cases.numbered(0, 12),
    metadata=[{"n": n} for n in range(12)],
    about={"origins": [{"path": "/nowhere"}], "encoder": {"name": "pixels"}},
  )
  with tempfile.TemporaryDirectory() as folder:
    paths = {s: pathlib.Path(folder, f"x{s}") for s in (".npz", ".parquet")}
    for path in paths.values():
      exchange.write_rows(path, rows)
    return {suffix: path.read_bytes() for suffix, path in paths.items()}


def _other_npz(rng) -> bytes:
  """An archive of arrays of which some are others."""
  with np.load(io.BytesIO(_sound()[".npz"])) as sound:
    arrays = dict(sound)
  for _ in range(rng.choice([1, 1, 2])):
    name = rng.choice(sorted(arrays))
    arrays[name] = _other_array(rng, name, arrays[name])
  buffer = io.BytesIO()
  kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
  with zipfile.ZipFile(buffer, "w", kind) as archive:
    for name, array in arrays.items():
      part = io.BytesIO()
      np.save(part, array, allow_pickle=True)
      data = part.getvalue()
      if rng.random() < 0.1:
        data = fuzzing.mutated(data, rng)
      if rng.random() < 0.05:
        data = data.replace(b"(12,", b"(1%011d," % rng.randrange(10**9))
      if rng.random() < 0.03:
        data += bytes(64 << 20)
      archive.writestr(f"{name}.npy", data)
  return buffer.getvalue()


def _other_array(rng, name: str, array: np.ndarray) -> np.ndarray:
  kind = rng.randrange(6)
  if name == "visual_memory" or kind == 0:
    heading = fuzzing.mutated_json(json.loads(str(_heading())), rng)
    try:
      text = json.dumps(heading)
    except (ValueError, RecursionError):
      text = "{"
    return np.array(text) if name == "visual_memory" else np.array([text] * 12)
  if kind == 1:
    return array[: rng.randrange(12)]
  if kind == 2:
    return array.reshape(-1, 1)
  if kind == 3:
    changed = np.array(array, object)
    changed.flat[rng.randrange(changed.size)] = rng.choice([None, 1e300, "x"])
    return changed
  if kind == 4 and array.dtype.kind == "f":
    return array * rng.choice([0, 2, np.inf, np.nan])
  try:
    return array.astype(rng.choice(_DTYPES))
  except (ValueError, TypeError):
    return array[::-1]


def _heading() -> np.ndarray:
  with np.load(io.BytesIO(_sound()[".npz"])) as sound:
    return sound["visual_memory"]


def _other_parquet(rng) -> bytes:
  """A table of which some columns are others."""
  table = pyarrow.parquet.read_table(io.BytesIO(_sound()[".parquet"]))
  name = rng.choice(table.column_names)
  at = table.column_names.index(name)
  kind = rng.randrange(4)
  if kind == 0:
    table = table.drop_columns([name])
  elif kind == 1:
    heading = fuzzing.mutated_json(json.loads(str(_heading())), rng)
    try:
      text = json.dumps(heading)
    except (ValueError, RecursionError):
      text = "{"
    table = table.replace_schema_metadata({"visual_memory": text})
  else:
    wanted = rng.choice(_TYPES)
    values = table[name].to_pylist()
    if rng.random() < 0.3:
      values[rng.randrange(12)] = None
    try:
      column = pyarrow.array(values).cast(wanted)
    except (pyarrow.ArrowException, ValueError):
      column = pyarrow.nulls(12, wanted)
    table = table.set_column(at, name, column)
  buffer = io.BytesIO()
  pyarrow.parquet.write_table(table, buffer)
  return buffer.getvalue()
