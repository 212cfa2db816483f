"""Encoders: images in, unit embeddings out.

  encoder = load_encoder("pixels", size=32)
  embeddings = encoder.encode([image])              # float32 [1, 3072]
  embeddings = jax.jit(Encoder.forward)(encoder, normalized_pixels)

An encoder is a pytree: its params are its leaves, so they can be placed on a
mesh and passed to compiled programs, never baked into them as constants.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from visual_memory import showing
from visual_memory.data.given_images import GivenImages
from visual_memory.data.preprocess import Preprocess
from visual_memory.encoders import builders
from visual_memory.encoders.listing import EncoderNames, names_of
from visual_memory.encoders.outputs import unit_rows
from visual_memory.encoders.parts import Parts, with_crops
from visual_memory.encoders.settings import PRECISIONS
from visual_memory.types import Array

_VERSION = 1
"""Raised whenever the same weights and pixels begin to give other rows."""

_MAX_ENCODE_BATCH = 32
"""The most images that `encode` gives to the device at once."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Encoder:
  """A frozen image encoder; `load_encoder` gives one.

  Attributes:
    params: the weights, a pytree of arrays (empty where there are none).
    apply: pure function (params, float32 pixels [B, S, S, 3]) -> [B, D].
    name: what `load_encoder` calls it.
    dim: the embedding dimension D.
    preprocess: from an image of any size to the pixels that `apply` wants.
    fingerprint: of weights, precision, preprocessing and version. Embeddings
      with different fingerprints must never be compared.
    apply_patches: as `apply`, but one row per patch, [B, P, E], not
      normalized; None for an encoder without patches.
    grid: (rows, columns) of patches, P = rows * columns; None likewise.
    patches_form: part of the fingerprint of rows of patches.
    origin: the name, weights and precision by which `load_encoder` made it, so
      that its text tower can be found; None of one made otherwise.
  """

  params: Any
  apply: Callable[..., jax.Array] = dataclasses.field(metadata={"static": True})
  name: str = dataclasses.field(metadata={"static": True})
  dim: int = dataclasses.field(metadata={"static": True})
  preprocess: Preprocess = dataclasses.field(metadata={"static": True})
  fingerprint: str = dataclasses.field(metadata={"static": True})
  apply_patches: Callable[..., jax.Array] | None = dataclasses.field(
    default=None, metadata={"static": True}
  )
  grid: tuple[int, int] | None = dataclasses.field(
    default=None, metadata={"static": True}
  )
  patches_form: str = dataclasses.field(default="", metadata={"static": True})
  origin: tuple[str, str | None, str] | None = dataclasses.field(
    default=None, metadata={"static": True}
  )

  def forward(self, pixels: Float[Array, "B H W 3"]) -> Float32[Array, "B D"]:
    """Unit embeddings of preprocessed pixels; pure, to be called in a jit.

    A row whose embedding is all zero stays all zero (see `unit_rows`).
    """
    return unit_rows(self.apply(self.params, pixels))

  def encode(self, images: Any) -> Float32[np.ndarray, "B D"]:
    """Unit embeddings of a few images, on the default device.

    Batches are padded to powers of two, so that any number of images compiles
    at most six programs. For a whole data source use `embed`.

    Args:
      images: one image or a list of them (sizes may differ), each a uint8
        array [H, W, 3] or [H, W], a Pillow image, or the path of a file; or a
        uint8 array [B, H, W, 3].

    Returns:
      One row for each image, [1, D] for a single one.

    Raises:
      ValueError: something that is no image, named by its position.
      FileNotFoundError: there is no such file.
      UnreadableImage: a file that is no image.
    """
    images = GivenImages(images)
    rows = [np.zeros((0, self.dim), np.float32)]
    for start in range(0, len(images), _MAX_ENCODE_BATCH):
      count = min(_MAX_ENCODE_BATCH, len(images) - start)
      pixels = np.stack(
        [self.preprocess(images[start + i]) for i in range(count)]
      )
      padded = 1 << (count - 1).bit_length()
      pixels = np.pad(pixels, [(0, padded - count)] + [(0, 0)] * 3)
      output = unit_embeddings(self.apply, self.params, pixels)
      rows.append(np.asarray(output)[:count])
    return np.concatenate(rows)

  def __repr__(self) -> str:
    """Name, dimension and side of the pixels; the params are not listed."""
    return showing.line("Encoder", self.name, *self._facts())

  def _repr_html_(self) -> str:
    """The same as a card."""
    size = sum(leaf.size for leaf in jax.tree.leaves(self.params))
    weights = f"{size / 1e6:,.1f} M weights" if size else "no weights"
    facts = [*self._facts(), weights]
    return showing.card(
      f"Encoder {self.name}", facts, [showing.note(self.fingerprint)]
    )

  def _facts(self) -> tuple[str, ...]:
    """What is worth knowing."""
    height, width = self.preprocess.shape
    return f"D = {self.dim:,}", f"{height} x {width} pixels"


@functools.partial(jax.jit, static_argnums=0)
def unit_embeddings(
  apply: Callable[..., jax.Array], params: Any, pixels: Array
) -> jax.Array:
  """The compiled forward pass; one program serves encoders alike in shape."""
  return unit_rows(apply(params, pixels))


def load_encoder(
  name: str,
  *,
  weights: str | os.PathLike | None = None,
  precision: str = "float32",
  preprocess: Preprocess | str | None = None,
  image_size: int | tuple[int, int] | None = None,
  crops: int = 1,
  **options: Any,
) -> Encoder:
  """The encoder of this name.

  Args:
    name: one of `list_encoders()`; or a directory, or a repository of the
      Hugging Face hub ("facebook/dinov2-small", "hf-hub:timm/..."), whose
      config.json says what it is.
    weights: a published checkpoint (a file, or a directory as Hugging Face
      lays it out); None looks in the cache of downloads, then downloads.
    precision: "float32"; or, faster, with a float32 residual stream,
      "bfloat16", or "float16" for GPUs without it.
    preprocess: in place of the encoder's own, or the name of a preset.
    image_size: side of the pixels that a published encoder sees, or (height,
      width), where they are not its usual ones.
    crops: of each image, whose unit embeddings are averaged: 1; 5, the middle
      and the corners; or 10, mirrored too. Takes as many times as long.
    **options: of this encoder alone; see `builders`. Published ones have
      pooling ("class", "mean", "class_and_mean") and layers (the blocks whose
      patch tokens are a patch's embedding).

  Raises:
    ValueError: unknown name or precision, or an argument that this encoder
      does not have.
    OSError: the weights are neither here nor to be downloaded; says from where.
  """
  given = builder_arguments(
    name,
    weights=weights,
    precision=precision,
    preprocess=preprocess,
    image_size=image_size,
    crops=crops,
    **options,
  )
  parts = with_crops(builders.find(name)(name, **given), crops)
  encoder = make_encoder(parts.name or name, parts, precision=precision)
  place = None if weights is None else str(weights)
  return dataclasses.replace(encoder, origin=(name, place, precision))


def builder_arguments(
  name: str,
  *,
  weights: str | os.PathLike | None,
  precision: str,
  preprocess: Preprocess | str | None,
  image_size: int | tuple[int, int] | None,
  crops: int = 1,
  **options: Any,
) -> dict[str, Any]:
  """What an encoder's builder is given; nothing is built or read.

  Raises:
    ValueError: as `load_encoder` does, about names.
  """
  builder = builders.find(name)
  if builder is None:
    raise ValueError(
      f"There is no encoder {name!r}; there are: {', '.join(list_encoders())}."
      " A directory or a repository of the Hugging Face hub (owner/name) with a"
      " config.json of a known family does as well."
    )
  if precision not in PRECISIONS:
    raise ValueError(
      f"precision cannot be {precision!r}; it can be: {', '.join(PRECISIONS)}."
    )
  if crops not in (1, 5, 10):
    raise ValueError(f"crops cannot be {crops!r}; it can be: 1, 5, 10.")
  given = {
    "weights": weights,
    "preprocess": preprocess,
    "image_size": image_size,
    **options,
  }
  given = {key: value for key, value in given.items() if value is not None}
  if precision != "float32":
    given["precision"] = precision
  known = list(inspect.signature(builder).parameters)[1:]
  for key in given:
    if key not in known:
      raise ValueError(
        f"The encoder {name!r} has no option {key!r}; it has:"
        f" {', '.join(known)}."
      )
  return given


def list_encoders() -> EncoderNames:
  """The names that `load_encoder` knows, a tuple that shows as a table.

  Each is a string with the attributes family, image_size, dim, num_params,
  num_text_params, license and address.
  """
  return names_of(builders.BUILDERS)


def make_encoder(
  name: str, parts: Parts, *, precision: str = "float32"
) -> Encoder:
  """An Encoder from its parts, with its fingerprint and its dimension.

  Args:
    name: what to call it.
    parts: weights, forward pass, preprocessing.
    precision: of the arithmetic; part of the fingerprint.
  """
  shape = (1, *parts.preprocess.shape, 3)
  pixels = jax.ShapeDtypeStruct(shape, jnp.float32)
  output = jax.eval_shape(parts.apply, parts.params, pixels)
  identity = {
    "version": _VERSION,
    "weights": parts.weights_fingerprint,
    "precision": precision,
    "preprocess": parts.preprocess.to_dict(),
  }
  digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
  return Encoder(
    params=parts.params,
    apply=parts.apply,
    name=name,
    dim=output.shape[-1],
    preprocess=parts.preprocess,
    fingerprint=f"{name}-{digest.hexdigest()[:24]}",
    apply_patches=parts.apply_patches,
    grid=parts.grid,
    patches_form=parts.patches_form,
  )
