"""Batches: shape, order, padding, damaged images, stopping."""

import threading
import time

import numpy as np
import pytest
from PIL import ExifTags, Image

from visual_memory import types
from visual_memory.data import batching
from visual_memory.data.decoding import UnreadableImage
from visual_memory.data.preprocess import Preprocess, square
from visual_memory.data.sources import open_source

PREPROCESS = square(8)


class Watched:
  """A synthetic source that records who reads what, and can fail."""

  def __init__(self, count, *, bad=(), size=8, delay_s=0.0):
    self.inner = open_source(
      "synthetic", num_images=count, num_classes=3, size=size, seed=0
    )
    self.bad = set(bad)
    self.delay_s = delay_s
    self.reads = []
    self.class_names = self.inner.class_names
    self.labels, self.ids = self.inner.labels, self.inner.ids
    self.fingerprint = self.inner.fingerprint

  def __len__(self):
    return len(self.inner)

  def __getitem__(self, row):
    self.reads.append(int(row))
    time.sleep(self.delay_s)
    if row in self.bad:
      raise UnreadableImage(self.ids[row], "damaged")
    return self.inner[row]


def run(source, **options):
  return list(
    batching.batches(source, PREPROCESS, **dict(batch_size=4) | options)
  )


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("look_ahead", [1, 5])
def test_batches_hold_every_image_in_order(num_workers, look_ahead):
  source = Watched(10, size=120)  # too large to count as tiny
  result = run(source, num_workers=num_workers, look_ahead=look_ahead)
  assert [list(batch.rows) for batch in result] == [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [8, 9, -1, -1],
  ]
  for batch in result:
    assert isinstance(batch.data, types.Batch)
    assert batch.data.images.shape == (4, 8, 8, 3)
    assert batch.data.images.dtype == np.float32
    np.testing.assert_array_equal(batch.data.mask, batch.rows >= 0)
    assert batch.skipped == ()
    for slot, row in enumerate(batch.rows):
      expected = PREPROCESS(source.inner[row].image) if row >= 0 else 0
      np.testing.assert_array_equal(batch.data.images[slot], expected)


@pytest.mark.parametrize("backend", ["pil", "tf"])
def test_batching_changes_no_pixel(backend):
  source = open_source("digits")
  preprocess = Preprocess(resize=12, crop=10, backend=backend)
  rows = [5, 1700, 3, 12, 40]
  result = batching.batches(source, preprocess, batch_size=3, rows=rows)
  images = np.concatenate([batch.data.images for batch in result])
  for image, row in zip(images, rows, strict=False):
    np.testing.assert_array_equal(image, preprocess(source[row].image))


def test_damaged_images_are_recorded_and_keep_their_slots():
  source = Watched(9, bad=[0, 5, 6])
  result = run(source)
  skipped = [entry for batch in result for entry in batch.skipped]
  assert [(entry.row, entry.id, entry.reason) for entry in skipped] == [
    (row, source.ids[row], "damaged") for row in (0, 5, 6)
  ]
  masks = np.concatenate([batch.data.mask for batch in result])
  assert list(np.flatnonzero(masks)) == [1, 2, 3, 4, 7, 8]
  images = np.concatenate([batch.data.images for batch in result])
  assert not images[~masks].any()
  assert (np.abs(images[masks]).sum(axis=(1, 2, 3)) > 0).all()


def test_decoding_runs_ahead_but_not_further_than_told():
  source = Watched(40)
  stream = batching.batches(source, PREPROCESS, batch_size=4, look_ahead=2)
  probes = len(source.reads)
  next(stream)
  ahead = 12  # one batch given, two more
  deadline = time.monotonic() + 600
  while len(source.reads) - probes < ahead and time.monotonic() < deadline:
    time.sleep(0.01)
  time.sleep(0.05)
  assert len(source.reads) - probes == ahead
  stream.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_the_loop_stops_the_workers(error):
  source = Watched(4000, delay_s=0.02, size=120)
  reads_before = []

  def consume():
    for _ in batching.batches(
      source, PREPROCESS, batch_size=200, num_workers=4, look_ahead=4
    ):
      reads_before.append(len(source.reads))
      raise error

  with pytest.raises(error):
    consume()
  reads = len(source.reads)
  time.sleep(0.1)
  assert len(source.reads) == reads
  # Each of four workers finishes its image (a few, if this thread was slow to
  # raise), not its chunk: those would be about 100.
  assert reads - reads_before[0] <= 24
  names = [thread.name for thread in threading.enumerate()]
  assert not any(name.startswith("decode") for name in names)


def test_an_error_that_is_no_damaged_image_is_raised():
  class Broken(Watched):
    def __getitem__(self, row):
      if row == 6:
        raise RuntimeError("disk on fire")
      return super().__getitem__(row)

  with pytest.raises(RuntimeError, match="disk on fire"):
    run(Broken(10))


def test_arguments_are_checked_before_anything_is_read():
  source = Watched(3)
  for wrong, message in [
    (dict(batch_size=0), "at least 1"),
    (dict(num_workers=0), "at least 1"),
    (dict(look_ahead=0), "at least 1"),
    (dict(rows=[0, 3]), "Row 3 is not in a source of 3"),
  ]:
    with pytest.raises(ValueError, match=message):
      batching.batches(source, PREPROCESS, **dict(batch_size=2) | wrong)
  assert source.reads == []
  assert run(source, rows=[]) == []


def test_a_corrupt_jpeg_among_good_ones(tmp_path):
  from PIL import Image

  (tmp_path / "cat").mkdir()
  for row in range(5):
    pixels = np.full((20, 20, 3), 40 * row, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat" / f"{row}.jpg")
  path = tmp_path / "cat" / "2.jpg"
  path.write_bytes(path.read_bytes()[:300])
  result = run(open_source("folder", path=tmp_path))
  (entry,) = [entry for batch in result for entry in batch.skipped]
  assert entry.id == "cat/2.jpg"
  assert sum(batch.data.mask.sum() for batch in result) == 4


def test_files_are_resized_without_an_array_as_with_one(tmp_path):
  draw = np.random.default_rng(0)
  turned = Image.Exif()
  turned[ExifTags.Base.Orientation] = 6
  color = draw.integers(0, 256, (130, 150, 3), np.uint8)
  for name, image in (
    ("turned.jpg", Image.fromarray(color)),
    ("palette.png", Image.fromarray(color).quantize()),
    ("gray.png", Image.fromarray(color[..., 0])),
    ("deep.png", Image.fromarray(color[..., 0].astype(np.uint16) << 7)),
    ("clear.webp", Image.fromarray(color).convert("RGBA")),
  ):
    (tmp_path / "a").mkdir(exist_ok=True)
    image.save(tmp_path / "a" / name, exif=turned if "turned" in name else b"")
  source = open_source("folder", path=tmp_path)
  (batch,) = batching.batches(source, PREPROCESS, batch_size=5)
  assert not batch.skipped
  for row, images in enumerate(batch.data.images):
    np.testing.assert_array_equal(images, PREPROCESS(source[row].image))
