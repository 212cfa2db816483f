"""Stores, their contents, and a disk that loses power, for tests."""

import contextlib
import os
import random

import memory_cases as cases
import numpy as np

from visual_memory import parallel, types
from visual_memory.store import creation
from visual_memory.store.store import Store

DIM = 8
ROWS_PER_CHUNK = 16
TEXT_PER_CHUNK = 256
_BLOCK = 512
"""What a disk writes at once: blocks of a file get there in any order."""


def rows_of(ids, labels, *, class_names=cases.CLASS_NAMES, dim=DIM):
  """An EmbeddedSet whose embeddings follow from the ids alone."""
  vectors = [
    np.random.default_rng(list(row_id.encode())).standard_normal(dim)
    for row_id in ids
  ]
  return types.embedded_set(
    cases.unit(np.reshape(vectors, (-1, dim))),
    np.asarray(labels, np.int32),
    list(ids),
    class_names=class_names,
    fingerprint="encoder",
  )


def numbered(first, last, **options):
  """Rows number/0, number/1, ... with labels by turns."""
  labels = np.arange(first, last) % len(cases.CLASS_NAMES)
  return rows_of([f"number/{n}" for n in range(first, last)], labels, **options)


def small_store(path, count=40, *, metadata=None):
  """A store with many small chunks of rows and of text."""
  normal = creation._TEXT_CHUNK_BYTES
  creation._TEXT_CHUNK_BYTES = TEXT_PER_CHUNK
  try:
    return Store.create(
      path,
      numbered(0, count),
      metadata=metadata,
      rows_per_chunk=ROWS_PER_CHUNK,
    )
  finally:
    creation._TEXT_CHUNK_BYTES = normal


def contents(store):
  """All that a store holds, in order of insertion, at one generation."""

  def read(state):
    rows = state.rows
    names = (*state.manifest.class_names, None)
    return [
      (
        row_id,
        embedding.tobytes(),
        names[label],
        tuple(metadata.items()),
      )
      for row_id, embedding, label, metadata in zip(
        state.ids[rows],
        state.embeddings(rows),
        state.columns["labels"][rows],
        state.metadata(rows),
        strict=True,
      )
    ]

  return store.handle.read(read)


class PowerLoss(BaseException):
  """The moment at which a FailingDisk stops."""


class FailingDisk:
  """Files in memory, whose operations fail from a chosen one on.

  An operation that fails has done part of its work: some ranges of a patch, the
  last of them torn, or the beginning of a new file. When power is lost, of the
  patches that were not synced some are on the disk and some are not.
  """

  def __init__(self, contents=None, *, fail_at=None, error=PowerLoss, seed=0):
    """A disk.

    Args:
      contents: files and their bytes.
      fail_at: the number of the first operation that fails; None never does.
      error: what it raises. PowerLoss ends everything that comes after it;
        an OSError fails writes that need space, and nothing else.
      seed: of what is left half done.
    """
    self.contents = dict(contents or {})
    self.num_operations = 0
    self._unsynced = {}  # For each file: it as it was synced, then patched.
    self._fail_at = fail_at
    self._error = error
    self._random = random.Random(seed)

  def __repr__(self):
    return "disk"

  def read(self, key, *, start=0, length=-1):
    data = self.contents.get(key, b"")
    return data[start:] if length < 0 else data[start : start + length]

  def read_into(self, key, buffer):
    data = self.read(key, length=len(buffer))
    buffer[: len(data)] = data
    return len(data)

  def size(self, key):
    return len(self.contents.get(key, b""))

  def keys(self, folder):
    prefix = f"{folder}/" if folder else ""
    return sorted(
      key
      for key in self.contents
      if key.startswith(prefix) and "/" not in key[len(prefix) :]
    )

  def every_key(self):
    return sorted(self.contents)

  def is_empty(self):
    return not self.contents

  def create(self, key, data, *, wait=True):
    data = bytes(data)
    old = self.contents.get(key, b"")
    with self._operation(space=len(data)) as fails:
      if fails:
        data = data[: self._random.randint(0, len(data))]
      self.contents[key] = data
      versions = self._unsynced.pop(key, [old])
      if not wait:
        self._unsynced[key] = [*versions, data]

  def overwrite(self, overwrite):
    old = self.contents.get(overwrite.key, b"")
    with self._operation(space=overwrite.end - len(old)) as fails:
      new = bytearray(old.ljust(overwrite.end, b"\0"))
      ranges = list(overwrite.ranges())
      versions = self._unsynced.setdefault(overwrite.key, [old])
      if fails:
        ranges = self._random.sample(
          ranges, self._random.randint(0, len(ranges))
        )
      for offset, data in ranges:
        if fails:
          data = data[: self._random.randint(0, len(data))]
        new[offset : offset + len(data)] = data
      self.contents[overwrite.key] = bytes(new)
      versions.append(bytes(new))

  def sync(self, keys):
    with self._operation(space=0) as fails:
      if not fails:
        for key in keys:
          self._unsynced.pop(key, None)

  def reserve(self, key, size):
    old = self.contents.get(key, b"")
    with self._operation(space=size - len(old)) as fails:
      if not fails and size > len(old):
        self.contents[key] = old.ljust(size, b"\0")
        self._unsynced.pop(key, None)

  def erase(self, key):
    with self._operation(space=0) as fails:
      self._unsynced.pop(key, None)
      if fails:
        self.contents[key] = bytes(len(self.contents.get(key, b"")))
      else:
        self.contents.pop(key, None)

  @contextlib.contextmanager
  def writer_lock(self, timeout_s):
    yield

  def confirm_lock(self):
    pass

  @contextlib.contextmanager
  def gate(self, *, shared):
    yield

  @contextlib.contextmanager
  def _operation(self, *, space):
    """Counts an operation; it fails after whatever the block does."""
    number = self.num_operations
    self.num_operations += 1
    past = self._fail_at is not None and number >= self._fail_at
    if not past or (self._error is not PowerLoss and space <= 0):
      yield False
      return
    if number > self._fail_at and self._error is PowerLoss:
      raise PowerLoss
    yield True
    if self._error is PowerLoss:
      self._lose()
      raise PowerLoss
    raise OSError(28, "No space left on device")

  def _lose(self):
    """Leaves some version of every block of the files that were not synced."""
    for key, versions in self._unsynced.items():
      if key not in self.contents:
        continue  # It was erased since, durably.
      end = max(map(len, versions))
      blocks = [
        self._random.choice(versions)[start : start + _BLOCK]
        for start in range(0, end, _BLOCK)
      ]
      padded = [b.ljust(min(_BLOCK, end), b"\0") for b in blocks]
      self.contents[key] = b"".join(padded)[:end]
    self._unsynced = {}


@contextlib.contextmanager
def one_at_a_time(seed):
  """Lets parallel operations follow each other in a random order."""
  normal = parallel.started

  def started(call, items, *, background=False):
    del background
    items = list(items)
    results = [None] * len(items)
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    for position in order:
      results[position] = call(items[position])
    return (result for result in results)

  parallel.started = started
  try:
    yield
  finally:
    parallel.started = normal


def planned(seed, step, held):
  """A random edit: its name and arguments, which follow from these alone.

  Args:
    seed: of the whole sequence.
    step: the number of the edit.
    held: what the store holds, {id: (label, metadata)} in order of insertion.
  """
  rng = np.random.default_rng([seed, step])
  ids = list(held)
  kinds = ["add"] if len(ids) < 20 else ["add", "remove", "relabel", "annotate"]
  kind = str(rng.choice([*kinds, "compact"]))
  if kind == "add":
    count = int(rng.choice([1, 3, 40]))
    labels = rng.integers(0, len(cases.CLASS_NAMES), count)
    return kind, [f"{step}/{n}" for n in range(count)], labels.tolist()
  if kind == "compact":
    return (kind,)
  share = rng.choice([0.02, 0.4])
  chosen = [row_id for row_id in ids if rng.random() < share] or ids[:1]
  return kind, chosen, [int(rng.integers(0, 5)) for _ in chosen]


def edit_store(store, edit):
  """Makes a planned edit in a store."""
  kind, *arguments = edit
  if kind == "compact":
    return store.compact()
  ids, numbers = arguments
  if kind == "add":
    store.add(rows_of(ids, numbers), metadata=[{"n": n} for n in numbers])
  elif kind == "remove":
    store.remove(ids)
  elif kind == "relabel":
    store.relabel(ids, numbers)
  else:
    store.annotate(ids, [{"n": n, "again": "x" * n} for n in numbers])


def edited(held, edit):
  """What a store holds after a planned edit."""
  kind, *arguments = edit
  held = dict(held)
  if kind == "compact":
    return held
  for row_id, number in zip(*arguments, strict=True):
    if kind == "add":
      held[row_id] = (number, {"n": number})
    elif kind == "remove":
      del held[row_id]
    elif kind == "relabel":
      held[row_id] = (number, held[row_id][1])
    else:
      held[row_id] = (held[row_id][0], {"n": number, "again": "x" * number})
  return held


def held_contents(held):
  """What `contents` gives for a store that holds this."""
  rows = rows_of(held, [label for label, _ in held.values()])
  return [
    (row_id, row.tobytes(), cases.CLASS_NAMES[label], tuple(metadata.items()))
    for (row_id, (label, metadata)), row in zip(
      held.items(), rows.embeddings, strict=True
    )
  ]


def edit_until_killed(path, seed, step, held, progress_path):
  """Makes planned edits; appends a byte to a file at first and after each."""
  store = Store.open(path)
  held = dict(held)
  with open(progress_path, "ab", buffering=0) as progress:
    progress.write(b"s")
    while True:
      edit = planned(seed, step, held)
      edit_store(store, edit)
      progress.write(b".")
      step, held = step + 1, edited(held, edit)


MOST_SLIDES = 4000


def slide(path, count, width, enough_path):
  """Makes edits after each of which readers can see if they were mixed up.

  The store holds the rows number/n of some range, all with one label. There
  are at least `count` edits, and more until there is a file at enough_path.
  """
  store = Store.open(path)
  for n in range(MOST_SLIDES):
    if 3 * n >= count and os.path.exists(enough_path):
      return
    label = int(store.labels[0])
    store.add(rows_of([f"number/{width + n}"], [label]))
    store.remove([f"number/{n}"])
    store.relabel(store.ids, [(label + 1) % 5] * width)
