"""Triplets: a reference and two variations, and which of them is closer.

triplets = nights("nights", split="val")        # the published layout
triplets = distorted(source, gaps=(1, 2, 4), seed=0)
triplets.images(0)      # reference, left, right: uint8 [H, W, 3] each
worse = distort(image, "blur", level=3, seed=0)

A higher level of a distortion is farther from the original: the grades follow
the spirit of ImageNet-C (Hendrycks and Dietterich 2019), scaled to the shorter
side of the picture, so that they mean the same at any size.
"""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter

from visual_memory.data import decoding, file_trees
from visual_memory.data.image_source import ImageSource, digest

LEFT, RIGHT = 0, 1

_COLUMNS = {"id", "votes", "left_vote", "right_vote", "split", "is_imagenet"}
_PATHS = ("ref_path", "left_path", "right_path")

Images = tuple[UInt8[np.ndarray, "H W 3"], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Triplets:
  """Two-alternative questions.

  Attributes:
    ids: one for each, [N].
    answers: LEFT or RIGHT, whichever is closer, [N].
    groups: what the questions are reported by (a split, a gap), [N].
    read: from a position to (reference, left, right).
    fingerprint: of everything above.
  """

  ids: np.ndarray
  answers: np.ndarray
  groups: np.ndarray
  read: Callable[[int], Images]
  fingerprint: str

  def __len__(self) -> int:
    """The number of questions."""
    return len(self.ids)

  def images(self, row: SupportsIndex) -> Images:
    """Reference, left and right; UnreadableImage if one is damaged."""
    return self.read(range(len(self))[row])


def nights(
  path: str | os.PathLike, *, split: str, min_votes: int = 6
) -> Triplets:
  """NIGHTS (Fu et al. 2023) as published: data.csv beside ref/ and distort/.

  Groups are "imagenet" and "no_imagenet". Triplets with fewer than min_votes
  votes are left out, as its authors do.

  Args:
    path: the directory (or .zip) that holds data.csv.
    split: "train", "val" or "test".
    min_votes: the least number of unanimous judgments.

  Raises:
    ValueError: no data.csv, columns or pictures that are missing, a line that
      does not say which side won, or a split without triplets.
  """
  tree = file_trees.open_tree(path)
  listing = [name for name in tree.paths if name.split("/")[-1] == "data.csv"]
  if len(listing) != 1:
    raise ValueError(f"{os.fspath(path)!r} must hold one data.csv.")
  top = listing[0].removesuffix("data.csv")
  lines = list(csv.DictReader(io.StringIO(tree.read(listing[0]).decode())))
  missing = _COLUMNS.union(_PATHS).difference(lines[0] if lines else ())
  if missing:
    raise ValueError(f"data.csv lacks the columns {sorted(missing)}.")
  lines = [line for line in lines if line["split"] == split]
  if not lines:
    raise ValueError(f"data.csv has no triplet of the split {split!r}.")
  lines = [line for line in lines if float(line["votes"]) >= min_votes]
  known = set(tree.paths)
  for line in lines:
    _check_line(line, top, known)
  return Triplets(
    ids=np.array([line["id"] for line in lines], object),
    answers=np.array([_answer(line) for line in lines]),
    groups=np.array(
      [
        "imagenet" if _is_true(line["is_imagenet"]) else "no_imagenet"
        for line in lines
      ],
      object,
    ),
    read=_Files(tree, [[top + line[p] for p in _PATHS] for line in lines]),
    fingerprint=digest(
      "nights", [(line["id"], _answer(line)) for line in lines]
    ),
  )


def distorted(
  source: ImageSource, *, gaps: Sequence[int], seed: int
) -> Triplets:
  """Questions made of photographs: each is distorted twice, once more.

  For every photograph, distortion and gap: one side is distorted at some
  level, the other at a level `gap` higher, and the weaker one is closer by
  construction. Groups are the gaps. A function of ids and seed alone.

  Args:
    source: the photographs.
    gaps: differences of level, each at least 1 (see `LEVELS`).
    seed: of levels, sides and the distortions themselves.

  Raises:
    ValueError: a gap that no two levels have.
  """
  most = LEVELS - 1
  if any(not 1 <= gap <= most for gap in gaps):
    raise ValueError(f"gaps must be between 1 and {most}; got {tuple(gaps)}.")
  plans = [
    _Plan.drawn(source.ids[row], row, name, gap, seed)
    for row in range(len(source))
    for name in DISTORTIONS
    for gap in gaps
  ]
  return Triplets(
    ids=np.array([plan.id for plan in plans], object),
    answers=np.array([plan.answer for plan in plans]),
    groups=np.array([plan.gap for plan in plans]),
    read=_Distorted(source, plans),
    fingerprint=digest("distorted", source.fingerprint, list(gaps), seed),
  )


@dataclasses.dataclass(frozen=True)
class _Files:
  """Pictures in files."""

  tree: file_trees.FileTree
  paths: list[list[str]]

  def __call__(self, row: int) -> Images:
    return tuple(
      decoding.decode_image(self.tree.read(path), id=path)
      for path in self.paths[row]
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
  """How one question is made."""

  id: str
  row: int
  distortion: str
  weaker: int
  gap: int
  answer: int
  seed: int

  @classmethod
  def drawn(cls, image_id: str, row: int, name: str, gap: int, seed: int):
    key = f"{image_id}/{name}/{gap}"
    number = int(digest(key, seed), 16)
    stream = np.random.default_rng(number)
    weaker = int(stream.integers(0, LEVELS - gap))
    return cls(
      id=key, row=row, distortion=name, weaker=weaker, gap=gap,
      answer=int(stream.integers(2)), seed=number,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Distorted:
  """Pictures made when asked for."""

  source: ImageSource
  plans: list[_Plan]

  def __call__(self, row: int) -> Images:
    plan = self.plans[row]
    image = self.source[plan.row].image
    weaker, stronger = (
      distort(image, plan.distortion, level=level, seed=plan.seed)
      for level in (plan.weaker, plan.weaker + plan.gap)
    )
    sides = (weaker, stronger) if plan.answer == LEFT else (stronger, weaker)
    return (image, *sides)


def _answer(line: dict[str, str]) -> int:
  return RIGHT if float(line["right_vote"]) > float(line["left_vote"]) else LEFT


def _check_line(line: dict[str, str], top: str, known: set[str]) -> None:
  """Raises ValueError unless a line of data.csv can be used."""
  if float(line["left_vote"]) == float(line["right_vote"]):
    raise ValueError(f"Triplet {line['id']} of data.csv has no winner.")
  for column in _PATHS:
    if top + line[column] not in known:
      raise ValueError(
        f"Triplet {line['id']} of data.csv names {line[column]!r}, which is"
        " not there."
      )


def _is_true(text: str) -> bool:
  return text.strip().lower() in ("1", "true")


LEVELS = 8
"""Levels 0 to LEVELS - 1; even 0 changes the picture."""


def distort(
  image: UInt8[np.ndarray, "H W 3"], name: str, *, level: int, seed: int
) -> UInt8[np.ndarray, "H W 3"]:
  """The picture, distorted; the same seed gives related distortions.

  Args:
    image: RGB.
    name: a key of DISTORTIONS.
    level: 0 (weakest) to LEVELS - 1.
    seed: of noise and directions.

  Raises:
    ValueError: an unknown distortion or level.
  """
  if name not in DISTORTIONS or not 0 <= level < LEVELS:
    raise ValueError(
      f"No distortion {name!r} of level {level}: there are"
      f" {', '.join(DISTORTIONS)}, of levels 0 to {LEVELS - 1}."
    )
  amount = (level + 1) / LEVELS
  stream = np.random.default_rng(seed)
  found = DISTORTIONS[name](Image.fromarray(image), amount, stream)
  return np.asarray(found)


def _blur(image, amount, stream):
  """A Gaussian blur."""
  radius = 0.08 * amount * min(image.size)
  return image.filter(ImageFilter.GaussianBlur(radius))


def _noise(image, amount, stream):
  """Gaussian noise."""
  noise = stream.normal(size=(image.height, image.width, 3))
  return _clipped(np.asarray(image) + 90 * amount * noise)


def _jpeg(image, amount, stream):
  """Strong compression."""
  buffer = io.BytesIO()
  image.save(buffer, "jpeg", quality=max(2, round(34 * (1.06 - amount))))
  return Image.open(buffer).convert("RGB")


def _shift(image, amount, stream):
  """A shift, with the picture mirrored at its edges."""
  angle = stream.uniform(0, 2 * np.pi)
  reach = 0.3 * amount * min(image.size)
  x, y = (round(reach * f(angle)) for f in (np.cos, np.sin))
  margin = [(max(y, 0), max(-y, 0)), (max(x, 0), max(-x, 0)), (0, 0)]
  moved = np.pad(np.asarray(image), margin, "reflect")
  top, left = max(-y, 0), max(-x, 0)
  return Image.fromarray(moved[top:, left:][: image.height, : image.width])


def _rotate(image, amount, stream):
  """A turn about the center; the corners become black."""
  angle = 40 * amount * stream.choice([-1, 1])
  return image.rotate(angle, Image.Resampling.BICUBIC)


def _color(image, amount, stream):
  """A shift of the hue and less saturation."""
  hue, saturation, value = image.convert("HSV").split()
  turn = round(90 * amount * stream.choice([-1, 1]))
  hue = hue.point([(entry + turn) % 256 for entry in range(256)])
  turned = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
  return ImageEnhance.Color(turned).enhance(1 - 0.5 * amount)


def _contrast(image, amount, stream):
  """Less contrast."""
  return ImageEnhance.Contrast(image).enhance(1 - 0.9 * amount)


def _patches(image, amount, stream):
  """Squares torn out and put elsewhere."""
  pixels = np.asarray(image).copy()
  side = max(1, min(image.size) // 6)
  for _ in range(round(16 * amount)):
    corners = stream.integers(
      0, (image.height - side + 1, image.width - side + 1), (2, 2)
    )
    (y0, x0), (y1, x1) = corners
    square = pixels[y0 : y0 + side, x0 : x0 + side].copy()
    pixels[y1 : y1 + side, x1 : x1 + side] = square
  return Image.fromarray(pixels)


def _clipped(pixels: np.ndarray) -> Image.Image:
  return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))


DISTORTIONS = {
  "blur": _blur,
  "noise": _noise,
  "jpeg": _jpeg,
  "shift": _shift,
  "rotate": _rotate,
  "color": _color,
  "contrast": _contrast,
  "patches": _patches,
}
"""Functions of a picture, an amount in (0, 1] and a stream of randomness."""
