"""What each encoder of `load_encoder` is made of."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from visual_memory.data import preprocess as preprocess_lib
from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders.encoder_files import SHIPPED, read, shipped_names
from visual_memory.encoders.families import catalog
from visual_memory.encoders.parts import Parts, vit_parts
from visual_memory.encoders.patch_dictionary import (
  BesideDictionary,
  PatchDictionary,
  patch_function,
)
from visual_memory.encoders.patch_grid import PixelPatches, patch_grid
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.published import places
from visual_memory.encoders.settings import ResNetConfig, config_from
from visual_memory.encoders.settings import vit as vit_settings


def pixels(
  name: str,
  *,
  size: int = 32,
  mean: Sequence[float | int] = preprocess_lib.IMAGENET_MEAN,
  std: Sequence[float | int] = preprocess_lib.IMAGENET_STD,
  patch: int = 4,
  preprocess: Preprocess | str | None = None,
) -> Parts:
  """The normalized pixels themselves: no weights, D = 3 * size * size.

  An image of the mean color has an embedding of zeros, as similar to every
  other as to its opposite.

  Args:
    name: unused; there is one such encoder.
    size: side to which images are squeezed, in pixels.
    mean: per channel, subtracted from pixels in [0, 1].
    std: per channel, divided by.
    patch: side of a patch, for embeddings of patches.
    preprocess: another way to make the pixels, in place of the above.
  """
  del name
  statistics = {
    "mean": tuple(map(float, mean)),
    "std": tuple(map(float, std)),
  }
  preprocess = _chosen(preprocess) or preprocess_lib.square(size, **statistics)
  side = preprocess.size
  whole = side % patch == 0  # Else it has no patches.
  return Parts(
    params=(),
    apply=flatten,
    preprocess=preprocess,
    weights_fingerprint="pixels",
    apply_patches=PixelPatches(patch) if whole else None,
    grid=patch_grid((side, side), patch) if whole else None,
  )


def flatten(params: Any, pixels: jax.Array) -> jax.Array:
  """Each image as one row of S * S * 3 values; there are no params."""
  del params
  return pixels.reshape(len(pixels), -1)


def vit_random(
  name: str,
  *,
  seed: int = 0,
  size: int = 32,
  patch: int = 4,
  dim: int = 192,
  depth: int = 4,
  heads: int = 3,
  stem: Sequence[int] = (),
  pooling: str = "class",
  precision: str = "float32",
  preprocess: Preprocess | str | None = None,
) -> Parts:
  """A small vision transformer with random weights: a baseline, and for tests.

  Args:
    name: unused; there is one such encoder.
    seed: fixes the weights.
    size: side of the images that it is made for, in pixels.
    patch: side of a patch, in pixels; divides size.
    dim: width of a token, D; a multiple of heads.
    depth: number of blocks.
    heads: attention heads.
    stem: channels of the strided convolutions before the patches, if any.
    pooling: "class", "mean" (of the patches) or "class_and_mean".
    precision: "float32" or "bfloat16".
    preprocess: another way to make the pixels.
  """
  del name
  from visual_memory.encoders import vit

  config = vit_settings(
    "vit_ti",
    image_size=size,
    patch_size=patch,
    dim=dim,
    depth=depth,
    num_heads=heads,
    mlp_dim=4 * dim,
    stem=tuple(stem),
  )
  return vit_parts(
    vit.init(config, seed=seed),
    config,
    preprocess=_chosen(preprocess) or preprocess_lib.square(size),
    precision=precision,
    pooling=pooling,
  )


def published(
  name: str,
  *,
  weights: str | os.PathLike | None = None,
  precision: str = "float32",
  preprocess: Preprocess | str | None = None,
  image_size: int | tuple[int, int] | None = None,
  pooling: str = "class",
  layers: Sequence[int] = (),
) -> Parts:
  """A published image tower with its authors' weights; see `families`.

  Args:
    name: one of `catalog.MODELS`; or a directory, or a repository of the
      Hugging Face hub, that says what it is.
    weights: checkpoint file or directory; downloaded and kept if None.
    precision: "float32", "bfloat16" or "float16".
    preprocess: in place of that with which the authors evaluate.
    image_size: side of the center crop in pixels, or (height, width), where not
      the usual one; the resize before it keeps its proportion. A ResNet has no
      other.
    pooling: "class" (the model's own), "mean" (of the patches) or
      "class_and_mean" (side by side).
    layers: blocks, from 0, whose patch tokens, side by side, are the patches'
      embeddings; the last one's if there are none. A ResNet offers its grid
      before the pool alone.
  """
  loaded = catalog.load(name, weights)
  preprocess = _chosen(preprocess) or loaded.model.preprocess
  if image_size is not None:
    preprocess = _at_size(preprocess, image_size)
  make = vit_parts
  if isinstance(loaded.model.image, ResNetConfig):
    from visual_memory.encoders.resnet import resnet_parts as make
  return make(
    loaded.params,
    loaded.model.image,
    preprocess=preprocess,
    precision=precision,
    pooling=pooling,
    name=loaded.name,
    layers=tuple(layers),
  )


def from_files(
  name: str,
  *,
  weights: str | os.PathLike | None = None,
  precision: str = "float32",
  preprocess: Preprocess | str | None = None,
  image_size: int | None = None,
  cell: int = 4,
  dense: str = "cells",
) -> Parts:
  """An encoder from a file of weights and its card.

  Args:
    name: one that comes with the package, or "procedural" for a file of one's
      own (see `pretraining.export`).
    weights: that file.
    precision: "float32" or "bfloat16" (vision transformers alone).
    preprocess: in place of the card's.
    image_size: side of the pixels that it sees, where not the card's.
    cell: of a dictionary: side of the cells that are its patches, in pixels.
    dense: of a dictionary: what a patch is, the mean responses around its cell
      ("cells"), or the embedding of the window around it ("windows").
  """
  if weights is None:
    if name == "procedural":
      raise ValueError(
        "The encoder 'procedural' is a file of your own: pass weights=PATH."
        f" These come with the package: {', '.join(shipped_names())}."
      )
    weights = SHIPPED / f"{name}.npz"
  params, card = read(weights)
  preprocess = _chosen(preprocess) or Preprocess(
    **{
      key: tuple(value) if isinstance(value, list) else value
      for key, value in card["preprocess"].items()
    }
  )
  if image_size is not None:
    preprocess = _at_size(preprocess, image_size)
  if card["kind"] == "vit":
    return vit_parts(
      params,
      config_from(card["config"]),
      preprocess=preprocess,
      precision=precision,
      pooling=card["pooling"],
    )
  if card["kind"] == "beside":
    return _beside(params, card, preprocess=preprocess, precision=precision)
  if card["kind"] != "patches":
    raise ValueError(
      f"{weights} is an encoder of kind {card['kind']!r}, which this version"
      " does not know; it knows vit, patches and beside (both)."
    )
  if precision != "float32":
    raise ValueError(f"The encoder {name!r} has precision float32 alone.")
  settings = sorted(card["config"].items())
  return Parts(
    params=jax.device_put(params),
    apply=PatchDictionary(**card["config"]),
    preprocess=preprocess,
    weights_fingerprint=f"{params_lib.fingerprint(params)} {settings}",
    **_dictionary_patches(card, preprocess.size, cell, dense),
  )


def _beside(
  params: Any,
  card: dict[str, Any],
  *,
  preprocess: Preprocess,
  precision: str,
) -> Parts:
  """A vision transformer beside a dictionary, from one file."""
  found = card["dictionary"]
  if preprocess.size % found["side"]:
    raise ValueError(
      f"An image of {preprocess.size} pixels is no multiple of the"
      f" {found['side']} for which the dictionary was learned."
    )
  tokens = vit_parts(
    params["vit"],
    config_from(card["config"]),
    preprocess=preprocess,
    precision=precision,
    pooling=card["pooling"],
  )
  apply = BesideDictionary(
    vit=tokens.apply,
    dictionary=PatchDictionary(**found["config"]),
    side=found["side"],
    weight=card["weight"],
    mean=tuple(preprocess.mean),
    std=tuple(preprocess.std),
  )
  words = jax.device_put(params["dictionary"])
  return dataclasses.replace(
    tokens,
    params={"vit": tokens.params, "dictionary": words},
    apply=apply,
    weights_fingerprint=(
      f"{tokens.weights_fingerprint} beside"
      f" {params_lib.fingerprint(params['dictionary'])}"
      f" {sorted(found['config'].items())} {card['weight']}"
    ),
    # Patches are the transformer's alone; params are those of both.
    apply_patches=_VitPatchesOf(tokens.apply_patches),
  )


@dataclasses.dataclass(frozen=True)
class _VitPatchesOf:
  """The transformer's patches, from the params of both."""

  patches: Callable[..., jax.Array]

  def __call__(self, params: Any, pixels: jax.Array) -> jax.Array:
    return self.patches(params["vit"], pixels)


def _dictionary_patches(
  card: dict[str, Any], side: int, cell: int, dense: str
) -> dict[str, Any]:
  """The parts of a dictionary that concern patches, if cells fit the image."""
  learned = card["preprocess"]["crop"]
  apply = patch_function(card["config"], dense, side=learned, cell=cell)
  if side % cell:
    return {}
  form = "" if dense == "cells" else f"-{dense}{learned}"
  grid = patch_grid((side, side), cell)
  return {"apply_patches": apply, "grid": grid, "patches_form": form}


def _at_size(preprocess: Preprocess, size: int | tuple[int, int]) -> Preprocess:
  """The same preprocessing with a crop of another size."""
  if isinstance(size, int) and isinstance(preprocess.crop, int):
    resize = round(preprocess.resize * size / preprocess.crop)
    return dataclasses.replace(preprocess, resize=resize, crop=size)
  # The proportion of resize to crop, along each side.
  crop = (size, size) if isinstance(size, int) else tuple(map(int, size))
  ratio = max(np.atleast_1d(preprocess.resize) / np.atleast_1d(preprocess.crop))
  resize = tuple(round(side * float(ratio)) for side in crop)
  return dataclasses.replace(preprocess, resize=resize, crop=crop)


def _chosen(preprocess: Preprocess | str | None) -> Preprocess | None:
  """A preprocessing, where a preset may be given by its name."""
  if not isinstance(preprocess, str):
    return preprocess
  if preprocess not in preprocess_lib.PRESETS:
    raise ValueError(
      f"There is no preprocessing {preprocess!r}; there are:"
      f" {', '.join(preprocess_lib.PRESETS)}."
    )
  return preprocess_lib.PRESETS[preprocess]


BUILDERS = {
  "pixels": pixels,
  "vit_random": vit_random,
  "procedural": from_files,
  **{name: from_files for name in shipped_names()},
  **{name: published for name in catalog.MODELS},
}
"""For each encoder, a function of its name and options that gives its Parts."""


def find(name: str) -> Callable[..., Parts] | None:
  """The function that makes the Parts of an encoder, by name or repository."""
  if name in BUILDERS:
    return BUILDERS[name]
  return published if places.is_repository(name) else None
