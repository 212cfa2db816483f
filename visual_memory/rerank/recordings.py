"""Recorded exchanges with a model: asked once, read for ever, removable.

  recordings = Recordings("work/recordings")
  key, about = recordings.key(parts, api=..., model=..., repeat=0, ...)
  recordings.put(key, about, answer)
  recordings.get(key)                        # the Answer, or None
  recordings.drop_images([image])            # with an image's removal

A recording is found by what was asked: hashes of every text and image in
order, API, model, parameters, and which repeat it is. It holds these hashes and
the answer: no image, no key, no address. Removing an image from a memory must
also remove what a model said having seen it: `drop_images`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from visual_memory.data.image_source import ImageSource
from visual_memory.rerank.rerank import STATUSES, Answer

_VERSION = 1


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
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest(), about

  def get(self, key: str) -> Answer | None:
    """The recorded answer.

    Raises:
      ValueError: the file is damaged; names it.
    """
    path = self._file(key)
    if not path.exists():
      return None
    try:
      fields = json.loads(path.read_text(encoding="utf-8"))["answer"]
      answer = Answer(**fields)
      if answer.status not in STATUSES:
        raise ValueError(f"unknown status {answer.status!r}")
      return answer
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"The recording {path} cannot be read ({error}): delete it."
      ) from error

  def put(self, key: str, about: Mapping[str, Any], answer: Answer) -> None:
    """Keeps an answer; the file appears whole."""
    path = self._file(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {"about": about, "answer": dataclasses.asdict(answer)}
    partial.write_text(
      json.dumps(content, sort_keys=True, indent=1), encoding="utf-8"
    )
    os.replace(partial, path)

  def drop_images(self, images: Iterable[np.ndarray | str]) -> int:
    """Overwrites and deletes every recording that saw one of the images.

    Args:
      images: pixels, or hashes of them as `image_hash` gives them.

    Returns:
      How many recordings were deleted.
    """
    gone = {i if isinstance(i, str) else image_hash(i) for i in images}
    dropped = 0
    for path in sorted(self.path.glob("*/*.json")):
      about = json.loads(path.read_text(encoding="utf-8"))["about"]
      if gone.isdisjoint(about["images"]):
        continue
      with open(path, "r+b") as file:
        file.write(b"\0" * os.path.getsize(path))
        file.flush()
        os.fsync(file.fileno())
      path.unlink()
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
    others = [
      json.loads(path.read_text(encoding="utf-8"))["about"]
      for path in sorted(self.path.glob("*/*.json"))
    ]
    asked = [o for o in others if o["images"] == about["images"]]
    if not others:
      return f"there is no recording at all in {self.path}"
    if not asked:
      return "these images were never asked about together"
    differs = sorted(
      name for name in about
      if all(other[name] != about[name] for other in asked)
    )  # fmt: skip
    return f"the recordings of these images differ in {', '.join(differs)}"

  def __len__(self) -> int:
    """How many there are."""
    return sum(1 for _ in self.path.glob("*/*.json"))

  def _file(self, key: str) -> pathlib.Path:
    return self.path / key[:2] / f"{key}.json"


def image_hash(image: np.ndarray) -> str:
  """SHA-256 of an image's shape and pixels."""
  image = np.ascontiguousarray(image)
  digest = hashlib.sha256(str(image.shape).encode())
  digest.update(image.tobytes())
  return digest.hexdigest()
