"""Small pictures, and memories of them, for the tests of collections."""

import io
import os
import pathlib

import numpy as np
from PIL import Image

from visual_memory.collection import adding, origins, provenance
from visual_memory.encoders import encoder as encoder_lib

ARGUMENTS = {"name": "pixels", "size": 4}


def encoder():
  """The encoder of the tests' memories."""
  return encoder_lib.load_encoder(**ARGUMENTS)


def picture_bytes(seed, *, side=6, format="png"):
  """An encoded picture; every seed gives another one."""
  pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3))
  file = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(file, format)
  return file.getvalue()


def paint(root, files):
  """Writes pictures, {path: seed}, below a root; the root."""
  root = pathlib.Path(root)
  for path, seed in files.items():
    at = root / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(picture_bytes(seed))
  return root


def request(**fields):
  """How pictures are added, from flat keyword arguments."""
  names = {f for f in origins.Options.__dataclass_fields__}
  options = {k: fields.pop(k) for k in list(fields) if k in names}
  if fields.get("class_name") is not None:
    options["flat"] = True
  return adding.Request(
    options=origins.Options(**options), progress=False, **fields
  )


def build(path, *images, **fields):
  """A memory of these folders, and the report."""
  paths = [os.fspath(image) for image in images]
  return adding.build(path, paths, encoder(), ARGUMENTS, request(**fields))


def add(store, *images, **fields):
  """The report of adding these folders to a memory."""
  paths = [os.fspath(image) for image in images]
  return adding.add(store, paths, request(**fields))


def held(store):
  """{id: class} of a memory."""
  names = np.array([*store.class_names, None], object)
  return dict(zip(store.ids.tolist(), names[store.labels], strict=True))


def vectors(store):
  """{id: embedding} of a memory."""
  rows = store.embedded()
  return dict(zip(rows.ids.tolist(), rows.embeddings, strict=True))


def pictures_of(store, row_id):
  pictures = provenance.Pictures(provenance.origins_of(store))
  return pictures.read(row_id, store.metadata([row_id])[0])
