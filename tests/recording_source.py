"""A source that knows what was read of it, for the tests of embedding."""

import numpy as np

from visual_memory import types
from visual_memory.data.decoding import UnreadableImage

NUM_ROWS = 2100  # Two whole blocks and a short one.
UNREADABLE = (5, 1023, 1024, 2099)


class RecordingSource:
  """Random 4 x 4 images that notes every read, and fails when told to."""

  def __init__(self, *, num_rows=NUM_ROWS, unreadable=(), fails_at=None):
    rng = np.random.default_rng(0)
    self._images = rng.integers(0, 256, (num_rows, 4, 4, 3)).astype(np.uint8)
    self._unreadable = unreadable
    self._fails_at = fails_at
    self.reads = []
    self.class_names = ("a", "b", "c")
    self.labels = rng.integers(0, 3, num_rows).astype(np.int32)
    self.ids = types.as_ids([f"row/{row}" for row in range(num_rows)])
    self.fingerprint = f"recording-{num_rows}-{unreadable}"

  def rows_read(self):
    """Every row read, sorted, but for one look at the first image: by its
    size `batches` decides on threads."""
    rows = sorted(self.reads)
    return rows[1:] if rows[:1] == rows[1:2] else rows

  def __len__(self):
    return len(self.labels)

  def __getitem__(self, row):
    self.reads.append(int(row))
    if row == self._fails_at:
      raise RuntimeError("the machine went away")
    if row in self._unreadable:
      raise UnreadableImage(self.ids[row], "half of it is missing")
    return types.Example(
      image=self._images[row], label=int(self.labels[row]), id=self.ids[row]
    )
