"""The small columns of a generation, read chunk by chunk when they are needed.

  columns = Columns(files, manifest)
  columns.at("labels", slots)      # reads the chunks of these slots
  columns["labels"]                # reads the whole column

Every chunk is checked when it is read: against the manifest, and that a row may
have its values. An edit needs few of them, so the first edit of a process does
not wait for the others. `move_to` goes to another generation and forgets the
chunks that it changed.
"""

import threading
import zlib
from collections.abc import Iterable

import numpy as np

from visual_memory import parallel
from visual_memory.store.errors import StoreDamaged
from visual_memory.store.storage import arrays, keys, manifest
from visual_memory.store.storage.arrays import COLUMNS, TEXT
from visual_memory.store.storage.place import Files
from visual_memory.types import UNLABELED

_FEW = 64
"""Chunks that are not counted before they are read."""
_FEW_VALUES = 8
_SPARE = 1.25
"""Room for chunks to come, relative to what there is: a copy is rare."""


class Columns:
  """The columns of one generation, of which some chunks are held."""

  def __init__(self, files: Files, of: manifest.Manifest):
    """Nothing is read yet.

    Raises:
      StoreDamaged: the files are not of the size that the manifest says.
    """
    self._files, self._of = files, of
    check_sizes(files, of, range(len(of.chunks)))
    self._arrays = {
      name: _room(column, of.num_slots) for name, column in COLUMNS.items()
    }
    self._held: dict[str, set[int]] = {name: set() for name in COLUMNS}
    self._counted = False
    self._lock = threading.RLock()

  def __getitem__(self, name: str) -> np.ndarray:
    """A whole column, [num_slots] or [num_slots, width]."""
    self.hold([name])
    return self._arrays[name][: self._of.num_slots]

  def at(self, name: str, slots: np.ndarray) -> np.ndarray:
    """A column's values in some slots."""
    if len(slots) * 4 > self._of.num_slots:
      self.hold([name])
    else:
      self.hold([name], np.unique(slots // self._of.rows_per_chunk).tolist())
    return self._arrays[name][slots]

  @property
  def num_chunks(self) -> int:
    """Row chunks that there are."""
    return len(self._of.chunks)

  def where(self, name: str, wanted: np.ndarray) -> np.ndarray:
    """The slots of rows whose value is among those wanted (ascending)."""
    column = self[name]
    if len(wanted) < _FEW_VALUES:
      found = np.zeros(len(column), bool)
      for value in wanted:
        found |= column == value
    else:
      places = np.searchsorted(wanted, column)
      found = wanted[np.minimum(places, len(wanted) - 1)] == column
    return np.flatnonzero(found & self["mask"])

  def rows_in(self, chunks: Iterable[int]) -> np.ndarray:
    """The slots in some chunks that hold rows, in order of insertion."""
    slots = [np.zeros(0, np.int64)]
    for chunk in chunks:
      if chunk < self.num_chunks:
        here = np.flatnonzero(self.chunk("mask", chunk))
        slots.append(self._slots(chunk).start + here)
    slots = np.concatenate(slots)
    return slots[np.argsort(self.at("serials", slots), kind="stable")]

  def chunk(self, name: str, chunk: int) -> np.ndarray:
    """A column's values in one chunk."""
    self.hold([name], [chunk])
    return self._arrays[name][self._slots(chunk)]

  def held(self, name: str, chunk: int) -> np.ndarray | None:
    """A copy of one chunk's values, if they were read."""
    if chunk not in self._held[name]:
      return None
    return self._arrays[name][self._slots(chunk)].copy()

  def hold(
    self,
    names: Iterable[str] = tuple(COLUMNS),
    chunks: Iterable[int] | None = None,
  ) -> None:
    """Reads what of some columns is not held.

    Args:
      names: the columns.
      chunks: by default all.

    Raises:
      StoreDamaged: chunks that are not what the manifest says.
    """
    of = self._of
    whole = chunks is None
    chunks = range(len(of.chunks)) if whole else chunks
    # The mask says which values are a row's.
    wanted = list(dict.fromkeys(["mask", *names]))
    with self._lock:
      missing = {
        chunk: left
        for chunk in chunks
        if (left := [n for n in wanted if chunk not in self._held[n]])
      }
      found = parallel.run(lambda item: self._read(*item), missing.items())
      problems = sum(found, [])
      if whole and not problems and not self._counted:
        count = self._arrays["mask"][: of.num_slots].sum()
        self._counted = count == of.num_rows
        if not self._counted:
          problems = [f"mask: has another number of rows than {manifest.KEY}."]
      if problems:
        raise StoreDamaged(problems)

  def copy(self) -> "Columns":
    """All of them, which `move_to` on these leaves as they are."""
    self.hold()
    new = Columns.__new__(Columns)
    new.__dict__.update(self.__dict__)
    count = self._of.num_slots
    new._arrays = {n: a[:count].copy() for n, a in self._arrays.items()}
    new._held = {name: set(held) for name, held in self._held.items()}
    new._lock = threading.RLock()
    return new

  def move_to(
    self,
    of: manifest.Manifest,
    changed: Iterable[int],
    written: dict[tuple[str, int], np.ndarray],
  ) -> None:
    """Becomes the columns of another generation.

    Args:
      of: its manifest, with chunks of the same size.
      changed: chunks that somebody changed, which are forgotten.
      written: the new content of chunks that this process changed.
    """
    with self._lock:
      old, self._of = self._of, of
      for name, column in COLUMNS.items():
        if len(self._arrays[name]) < of.num_slots:
          more = _room(column, int(of.num_slots * _SPARE))
          for chunk in self._held[name]:
            here = self._slots(chunk)
            more[here] = self._arrays[name][here]
          self._arrays[name] = more
        held = self._held[name] - set(changed)
        self._held[name] = {c for c in held if c < len(of.chunks)}
      for chunk in range(len(old.chunks), len(of.chunks)):
        for name in COLUMNS if written else ():
          self._keep(name, chunk, COLUMNS[name].fill)
      for (name, chunk), content in written.items():
        if chunk < len(of.chunks):
          self._keep(name, chunk, content)
      self._counted = bool(written) and self._counted

  def _keep(self, name: str, chunk: int, content: np.ndarray | int) -> None:
    self._arrays[name][self._slots(chunk)] = content
    self._held[name].add(chunk)

  def _slots(self, chunk: int) -> slice:
    size = self._of.rows_per_chunk
    return slice(chunk * size, (chunk + 1) * size)

  def _read(self, chunk: int, names: list[str]) -> list[str]:
    """Reads one chunk of some columns; what is wrong with them."""
    known = arrays.columns_of(self._of.version)
    for name in names:
      if name not in known:
        self._keep(name, chunk, COLUMNS[name].fill)
      elif problem := self._read_column(name, chunk):
        return [problem]
    return self._problems(chunk, names)

  def _read_column(self, name: str, chunk: int) -> str | None:
    """Reads one chunk of one column; the problem, if there is."""
    of, column = self._of, COLUMNS[name]
    key = arrays.chunk_key(name, chunk)
    data = self._files.read(key)
    if len(data) != keys.chunk_bytes(name, of):
      return _wrong_size(of, name, chunk, len(data))
    if f"{zlib.crc32(data):08x}" != of.chunks[chunk].checksum(name):
      return (
        f"{key}: does not match its checksum in the manifest. Restore the file;"
        f" rows {chunk * of.rows_per_chunk} to"
        f" {(chunk + 1) * of.rows_per_chunk - 1} depend on it."
      )
    values = np.frombuffer(data, column.dtype)
    shape = self._arrays[name].shape[1:]
    self._keep(name, chunk, values.reshape(-1, *shape))
    return None

  def _problems(self, chunk: int, names: list[str]) -> list[str]:
    """Values in a chunk that no row has; it is then not held."""
    of, here = self._of, self._slots(chunk)
    mask = self._arrays["mask"][here]
    problems = []
    if mask.view(np.uint8).max(initial=0) > 1:
      problems = [
        f"mask: chunk {chunk} holds something else than true and false."
      ]
    elif "labels" in names:
      labels = self._arrays["labels"][here][mask]
      if ((labels < UNLABELED) | (labels >= len(of.class_names))).any():
        problems.append("labels: there are labels without a class name.")
    if not problems and "serials" in names:
      serials = self._arrays["serials"][here][mask]
      if ((serials < 0) | (serials >= of.next_serial)).any():
        problems.append("serials: not every row has a serial of its own.")
    if not problems and "spans" in names:
      spans = self._arrays["spans"][here][mask]
      outside = (spans < 0) | (spans > of.text_end)
      if outside.any() or (spans.sum(axis=1) > of.text_end).any():
        problems.append("spans: a row's text lies outside of the text.")
    if problems:
      for name in names:
        self._held[name].discard(chunk)
    return problems


def _room(column: arrays.Column, rows: int) -> np.ndarray:
  """Memory for a column, which takes none before it is written to."""
  shape = (rows,) if column.width == 1 else (rows, column.width)
  return np.empty(shape, column.dtype)


def check_sizes(files: Files, of: manifest.Manifest, chunks: Iterable[int]):
  """Raises StoreDamaged before time and memory go to what is not there.

  Raises:
    StoreDamaged: names the first row chunk that is too short, or the text.
  """
  if of.num_text_chunks > _FEW and of.num_text_chunks > len(files.keys(TEXT)):
    raise StoreDamaged([f"{TEXT}: has fewer chunks than {manifest.KEY} says."])
  for chunk in chunks:
    size = files.size(arrays.chunk_key("mask", chunk))
    if size != of.rows_per_chunk:
      raise StoreDamaged([_wrong_size(of, "mask", chunk, size)])


def _wrong_size(of: manifest.Manifest, name: str, chunk: int, size: int) -> str:
  first = chunk * of.rows_per_chunk
  return (
    f"{arrays.chunk_key(name, chunk)}: has {size} bytes instead of"
    f" {keys.chunk_bytes(name, of)}. Restore the file; rows {first} to"
    f" {first + of.rows_per_chunk - 1} depend on it."
  )
