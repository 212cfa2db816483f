"""Archives of pictures, and pictures, that are broken."""

import functools
import io
import pathlib
import warnings
import zipfile

import fuzzing
import numpy as np
from PIL import Image

import visual_memory as vm
from visual_memory.data import decoding

KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA")


@functools.cache
def sound() -> tuple[bytes, dict[str, bytes]]:
  """A .zip of one picture of every kind, and its entries."""
  rng = np.random.default_rng(0)
  entries = {}
  for number, kind in enumerate(KINDS):
    pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    entries[f"class_{number % 2}/{number}.{kind.lower()}"] = buffer.getvalue()
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in entries.items():
      archive.writestr(name, data)
  return buffer.getvalue(), entries


def check(seed: int, folder: pathlib.Path) -> str:
  """One archive as a source, or one picture."""
  rng = fuzzing.random_of(seed)
  data, entries = sound()
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Pillow's, about what it skips.
    if rng.random() < 0.5:
      path = folder / "photos.zip"
      path.write_bytes(fuzzing.mutated(data, rng))
      return source(path)
    picture = fuzzing.mutated(rng.choice(list(entries.values())), rng)
    try:
      pixels = decoding.decode_image(picture, id="a")
    except decoding.UnreadableImage as error:
      return fuzzing.assert_clear(error)
  assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.size
  return "read"


def source(path: pathlib.Path) -> str:
  """How opening an archive and reading every picture of it ends."""
  try:
    found = vm.open_source("folder", path=str(path))
  except (ValueError, OSError) as error:
    return fuzzing.assert_clear(error)
  assert len(set(found.ids)) == len(found)
  unreadable = 0
  for row in range(len(found)):
    try:
      assert found[row].image.dtype == np.uint8
    except decoding.UnreadableImage as error:
      fuzzing.assert_clear(error)
      unreadable += 1
  return "partly read" if unreadable else "read"
