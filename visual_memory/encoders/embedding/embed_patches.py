"""The patches of a source's images as rows of a memory.

  patches = embed(encoder, source, tokens="patches", per_image=64, seed=0)
  patches.ids[0]                      # "train/0001.png#3,17": image#row,column
  image_ids, cells = patch_places(patches.ids)
  memory = memory.remove(patches_of(memory.ids, ["train/0001.png"]))

A patch has the label of its image, or of its own pixels where the source has
masks (`data.preprocess`). Patch rows have a fingerprint of their own: they
cannot be mixed with rows of whole images. What analyses of whole pictures use
(PCA, k-means, attention) is not normalized:

  for batch in dense_features(encoder, source, batch_size=8):
    batch.rows, batch.features          # [B], float32 [B, rows, columns, D]
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int32

from visual_memory.data.batching import Skipped, batches
from visual_memory.data.image_source import ImageSource
from visual_memory.data.preprocess import has_masks, patch_labels
from visual_memory.encoders.embedding import resumable
from visual_memory.encoders.embedding.blocks import Block
from visual_memory.encoders.encoder import Encoder
from visual_memory.types import EmbeddedSet, check_unit_rows, embedded_set

_BLOCK_ROWS = 64
"""Images in a block of the cache: their patches are held together."""

_SEPARATOR = "#"


def patch_encoder(encoder: Encoder) -> Encoder:
  """The encoder that gives unit embeddings of all patches, [B, P, D].

  Raises:
    ValueError: an encoder without patches.
  """
  if encoder.apply_patches is None:
    raise ValueError(
      f"The encoder {encoder.name!r} has no patches (a grid of"
      f" {encoder.preprocess.shape} pixels): use a vision transformer, or"
      " pixels whose patch divides their size, and one crop."
    )
  rows, columns = encoder.grid
  return dataclasses.replace(
    encoder,
    apply=encoder.apply_patches,
    fingerprint=(
      f"{encoder.fingerprint}/patches{rows}x{columns}{encoder.patches_form}"
    ),
  )


def embed_patches(
  encoder: Encoder,
  source: ImageSource,
  *,
  per_image: int | None,
  seed: int,
  options: resumable.Options,
) -> tuple[EmbeddedSet, resumable.EmbedReport]:
  """Rows for the patches of every readable image, image by image, row by row.

  Args:
    encoder: has patches.
    source: images, with masks or not.
    per_image: patches to draw from each image without replacement, by a hash
      of its id and the seed: the draw of one image depends on no other. None:
      all of them.
    seed: of the draw.
    options: how to run.

  Raises:
    ValueError: see `embed`; or per_image below one or above the grid.
  """
  encoder = patch_encoder(encoder)
  num_patches = encoder.grid[0] * encoder.grid[1]
  kept = num_patches if per_image is None else per_image
  if not 1 <= kept <= num_patches:
    raise ValueError(
      f"per_image={per_image}: the encoder {encoder.name!r} has {num_patches}"
      " patches per image."
    )
  choose = functools.partial(_chosen, grid=encoder.grid, kept=kept, seed=seed)
  ids = np.asarray(source.ids)
  layout = resumable.Layout(
    row_shape=(kept, _patch_dim(encoder)),
    block_rows=_BLOCK_ROWS,
    key={"per_image": per_image, "seed": seed},
    keep=functools.partial(_keep, ids, choose, kept),
    by_content=per_image is None,  # The draw depends on an image's id.
  )
  rows, values, report = resumable.run(encoder, source, layout, options)
  chosen = np.stack([choose(ids[row]) for row in rows])
  embedded = embedded_set(
    values.reshape(-1, values.shape[-1]),
    _labels(source, rows, chosen, encoder).reshape(-1),
    _patch_ids(ids[rows], chosen, encoder.grid),
    class_names=source.class_names,
    fingerprint=encoder.fingerprint,
  )
  return embedded, report


def patch_places(
  ids: Sequence[str] | np.ndarray,
) -> tuple[np.ndarray, Int32[np.ndarray, "N 2"]]:
  """The image id (object array [N]) and (row, column) of each patch id.

  Raises:
    ValueError: an id that no patch has, named.
  """
  images = np.empty(len(ids), object)
  cells = np.zeros((len(ids), 2), np.int32)
  for index, patch_id in enumerate(ids):
    image_id, separator, cell = patch_id.rpartition(_SEPARATOR)
    row, comma, column = cell.partition(",")
    if not (separator and comma and row.isdigit() and column.isdigit()):
      raise ValueError(
        f"Row {index}, {patch_id!r}, is no patch: the id of one is"
        " image#row,column."
      )
    images[index], cells[index] = image_id, (int(row), int(column))
  return images, cells


def patches_of(
  ids: Sequence[str] | np.ndarray, image_ids: Sequence[str]
) -> np.ndarray:
  """Those ids that are patches of these images, in their order.

  Raises:
    ValueError: an image of which there is no patch, named.
  """
  images, _ = patch_places(ids)
  asked = set(image_ids)
  absent = asked.difference(images)
  if absent:
    raise ValueError(
      f"No row is a patch of {min(absent)!r} ({len(absent)} such images)."
    )
  return np.asarray(ids, object)[[image in asked for image in images]]


def _patch_dim(encoder: Encoder) -> int:
  """The width of a patch row, from the shapes alone."""
  shape = (1, *encoder.preprocess.shape, 3)
  pixels = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(encoder.apply, encoder.params, pixels).shape[-1]


def _chosen(
  image_id: str, *, grid: tuple[int, int], kept: int, seed: int
) -> np.ndarray:
  """Positions in the grid of the patches that are kept, ascending, [kept]."""
  count = grid[0] * grid[1]
  if kept == count:
    return np.arange(count)
  digest = hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
  stream = np.random.default_rng(int.from_bytes(digest[:8], "little"))
  return np.sort(stream.permutation(count)[:kept])


def _keep(
  ids: np.ndarray,
  choose: Callable[[str], np.ndarray],
  kept: int,
  block: Block,
) -> Block:
  """The chosen patches of each image of a block."""
  if not len(block.rows):  # None of its images can be read.
    return dataclasses.replace(block, embeddings=block.embeddings[:, :kept])
  values = []
  for row, embeddings in zip(block.rows, block.embeddings, strict=True):
    values.append(embeddings[choose(ids[row])])
    check_unit_rows(values[-1], np.full(kept, ids[row], object))
  return dataclasses.replace(block, embeddings=np.stack(values))


def _labels(
  source: ImageSource, rows: np.ndarray, chosen: np.ndarray, encoder: Encoder
) -> Int32[np.ndarray, "N kept"]:
  """The label of each kept patch: of its pixels, or of its image."""
  if not has_masks(source):
    return np.broadcast_to(source.labels[rows][:, None], chosen.shape)
  return np.stack(
    [
      patch_labels(
        source.mask(row), preprocess=encoder.preprocess, grid=encoder.grid
      ).reshape(-1)[places]
      for row, places in zip(rows, chosen, strict=True)
    ]
  )


def _patch_ids(
  ids: np.ndarray, chosen: np.ndarray, grid: tuple[int, int]
) -> np.ndarray:
  """image#row,column for every kept patch, [N * kept]."""
  cells = [
    f"{_SEPARATOR}{row},{column}"
    for row in range(grid[0])
    for column in range(grid[1])
  ]
  result = np.empty(chosen.size, object)
  result[:] = [
    image_id + cells[place]
    for image_id, places in zip(ids, chosen, strict=True)
    for place in places
  ]
  return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseBatch:
  """Some images of a source.

  Attributes:
    rows: their positions in the source, [B].
    features: float32 patch tokens, on the host, [B, rows, columns, D].
    skipped: images of this batch that could not be read.
  """

  rows: Int[np.ndarray, "B"]
  features: Float32[np.ndarray, "B h w D"]
  skipped: tuple[Skipped, ...]


def dense_features(
  encoder: Encoder,
  source: ImageSource,
  *,
  batch_size: int,
  rows: Sequence[int] | np.ndarray | None = None,
) -> Iterator[DenseBatch]:
  """The patch features of a source, in the order of its rows.

  Args:
    encoder: has patches.
    source: the images.
    batch_size: images at once, on the default device.
    rows: positions to read; all by default.

  Raises:
    ValueError: an encoder without patches.
  """
  encoder = patch_encoder(encoder)
  params = jax.device_put(encoder.params)
  for batch in batches(
    source, encoder.preprocess, batch_size=batch_size, rows=rows
  ):
    mask = batch.data.mask
    tokens = np.asarray(_tokens(encoder.apply, params, batch.data.images))
    features = tokens[mask].reshape(-1, *encoder.grid, tokens.shape[-1])
    yield DenseBatch(
      rows=batch.rows[mask], features=features, skipped=batch.skipped
    )


@functools.partial(jax.jit, static_argnums=0)
def _tokens(
  apply: Callable[..., jax.Array], params: Any, pixels: jax.Array
) -> jax.Array:
  """Patch tokens in float32, [B, P, D]."""
  return apply(params, pixels).astype("float32")
