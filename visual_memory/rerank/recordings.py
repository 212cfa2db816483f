"""Recorded exchanges with a model: asked once, read for ever, removable.

  recordings = Recordings("work/recordings")
  key, about = recordings.key(parts, api=..., model=..., repeat=0, ...)
  recordings.put(key, about, answer)
  recordings.get(key, about)                 # the Answer, or None
  recordings.drop_images([image])            # with an image's removal

A recording is found by what was asked: hashes of every text and image in
order, API, model, parameters, and which repeat it is. It holds these hashes and
the answer: no image, no key, no address. Removing an image from a memory must
also remove what a model said having seen it: `drop_images`.

A folder of recordings may come from someone else: every field is checked, and
nothing outside of the folder is read or erased, wherever its links point.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory import files
from visual_memory.data.image_source import ImageSource
from visual_memory.rerank.rerank import STATUSES, Answer
from visual_memory.types import UNLABELED

_VERSION = 1

_NAMES = "[!.]*.json"
"""Of recordings; a name that begins with a dot is still being written."""

_MOST_BYTES = 64 << 20
"""A longer file is no recording."""

_COUNTS = ("attempts", "input_tokens", "output_tokens")
_FIELDS = {"label": int, "status": str, "text": str} | dict.fromkeys(
  _COUNTS, int
)
"""What an answer is made of."""

UNANSWERED = ("failed", "unasked")
"""Statuses of questions that a run which may ask tries again."""


class Recordings:
  """A directory of recordings, one small JSON file for each."""

  def __init__(self, path: str | os.PathLike):
    """Nothing is made before the first recording."""
    self.path = pathlib.Path(path)

  def key(
    self,
    parts: Sequence[str | np.ndarray],
    *,
    api: str,
    model: str,
    parameters: Mapping[str, Any],
    repeat: int,
  ) -> tuple[str, dict[str, Any]]:
    """The name of an exchange, and what it is made from."""
    about = {
      "version": _VERSION,
      "api": api,
      "model": model,
      "parameters": dict(parameters),
      "repeat": repeat,
      "images": [image_hash(p) for p in parts if not isinstance(p, str)],
      "texts": [
        hashlib.sha256(p.encode()).hexdigest() for p in parts
        if isinstance(p, str)
      ],
      "order": "".join("t" if isinstance(p, str) else "i" for p in parts),
    }  # fmt: skip
    return _digest(about), about

  def get(self, key: str, about: Mapping[str, Any]) -> Answer | None:
    """The recorded answer; None if there is none.

    Raises:
      ValueError: the file is damaged, or was recorded for something else;
        names it.
    """
    path = self._file(key)
    try:
      found, answer = _read(path)
    except FileNotFoundError:
      return None
    if found != about:
      raise ValueError(
        f"The recording {path} is not of what its name says: delete it."
      )
    return answer

  def put(self, key: str, about: Mapping[str, Any], answer: Answer) -> None:
    """Keeps an answer; the file appears whole."""
    content = {"about": about, "answer": dataclasses.asdict(answer)}
    path = self._file(key)
    files.write_text(path, json.dumps(content, sort_keys=True, indent=1))

  def drop_images(self, images: Iterable[np.ndarray | str]) -> int:
    """Overwrites and deletes every recording that saw one of the images.

    A recording that cannot be read, or is not what its name says, may have
    seen any of them and is deleted, too; likewise what a killed writer left.

    Args:
      images: pixels, or hashes of them as `image_hash` gives them.

    Returns:
      How many recordings were deleted.
    """
    gone = {i if isinstance(i, str) else image_hash(i) for i in images}
    dropped = 0
    for path in self._paths("*"):
      try:
        about, _ = _read(path)
        told = path.name == f"{_digest(about)}.json"
      except ValueError:
        told = False
      if not told or not gone.isdisjoint(about["images"]):
        files.erase(path)
        dropped += 1
    return dropped

  def drop_rows(self, source: ImageSource, ids: Iterable[str]) -> int:
    """`drop_images` of these rows of a source: to go with a memory's removal.

    Must come before the images are deleted.

    Raises:
      ValueError: the source has no such id; nothing is deleted then.
    """
    row_of = {value: row for row, value in enumerate(source.ids)}
    rows = []
    for value in ids:
      if value not in row_of:
        raise ValueError(f"The source has no image {value!r}.")
      rows.append(row_of[value])
    return self.drop_images([source[row].image for row in rows])

  def similar(self, about: Mapping[str, Any]) -> str:
    """Why there is no such recording, as far as the others tell."""
    others = []
    for path in self._paths(_NAMES):
      with contextlib.suppress(ValueError):
        others.append(_read(path)[0])
    asked = [o for o in others if o["images"] == about["images"]]
    if not others:
      return f"there is no recording at all in {self.path}"
    if not asked:
      return "these images were never asked about together"
    differs = sorted(
      name for name in about
      if all(other.get(name) != about[name] for other in asked)
    )  # fmt: skip
    return f"the recordings of these images differ in {', '.join(differs)}"

  def __len__(self) -> int:
    """How many there are."""
    return len(self._paths(_NAMES))

  def _paths(self, pattern: str) -> list[pathlib.Path]:
    """Files below this directory alone: no folder that is a link is entered."""
    return sorted(
      path
      for folder in self.path.glob("*")
      if folder.is_dir() and not folder.is_symlink()
      for path in folder.glob(pattern)
      if path.is_symlink() or not path.is_dir()
    )

  def _file(self, key: str) -> pathlib.Path:
    return self.path / key[:2] / f"{key}.json"


def _read(path: pathlib.Path) -> tuple[dict[str, Any], Answer]:
  """What a recording was asked, and the answer, checked field by field."""
  try:
    if not stat.S_ISREG(path.lstat().st_mode):
      raise ValueError("no file")
    content = files.read_json(path, most_bytes=_MOST_BYTES)
    about, fields = content["about"], content["answer"]
    images = about["images"]
    for name, kind in _FIELDS.items():
      if type(fields[name]) is not kind:
        raise ValueError(f"the answer's {name} is no {kind.__name__}")
    if min(fields[name] for name in _COUNTS) < 0:
      raise ValueError("a count below zero")
    if fields["status"] not in STATUSES:
      raise ValueError("a status that there is not")
    if fields["status"] in UNANSWERED and fields["label"] != UNLABELED:
      raise ValueError("a failure with a label")
    if not isinstance(images, list) or not all(
      isinstance(image, str) for image in images
    ):
      raise ValueError("images are no hashes")
    return about, Answer(**fields)
  except FileNotFoundError:
    raise
  except (ValueError, LookupError, TypeError, OSError) as error:
    raise ValueError(
      f"The recording {path} cannot be read ({error}): delete it."
    ) from error


def _digest(about: Mapping[str, Any]) -> str:
  text = json.dumps(about, sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()


def image_hash(image: np.ndarray) -> str:
  """SHA-256 of an image's shape and pixels."""
  image = np.ascontiguousarray(image)
  digest = hashlib.sha256(str(image.shape).encode())
  digest.update(image.tobytes())
  return digest.hexdigest()
