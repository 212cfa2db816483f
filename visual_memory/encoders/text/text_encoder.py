"""Text encoders: sentences in, unit embeddings out.

  text_encoder = load_text_encoder("clip_vitb16", weights="ViT-B-16.pt")
  embeddings = text_encoder.encode_texts(["a photo of a cat."])  # [1, 512]

Embeddings share a space with those of the image tower of the same checkpoint.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32, Int32

from visual_memory.encoders.families import catalog
from visual_memory.encoders.outputs import unit_rows
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.settings import TextConfig
from visual_memory.encoders.text import text_tower
from visual_memory.encoders.text.siglip_tokenizer import (
  SiglipTokenizer,
  load_siglip_tokenizer,
)
from visual_memory.encoders.text.tokenizer import ClipTokenizer, load_tokenizer

_VERSION = 1
"""Raised whenever the same weights and texts begin to give other rows."""

_BATCH_SIZE = 128
"""Every batch has this many texts, so that their number compiles nothing."""

_LENGTH_STEP = 8
"""Rows are cut to multiples of this length: few programs, little padding."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEncoder:
  """A frozen text encoder; build one with `load_text_encoder`.

  Attributes:
    params: the text tower's weights, a pytree of arrays.
    config: the text tower's shape.
    tokenizer: from texts to rows of ids.
    name: what `load_text_encoder` calls it.
    precision: of the arithmetic, 'float32' or 'bfloat16'.
    fingerprint: of weights, tokenizer, precision and version.
  """

  params: Any
  config: TextConfig
  tokenizer: ClipTokenizer | SiglipTokenizer
  name: str
  precision: str
  fingerprint: str

  @property
  def dim(self) -> int:
    """The embedding dimension D."""
    return self.config.dim

  @property
  def logit_scale(self) -> float:
    """Logarithm of the inverse temperature, for CLIP about ln 100."""
    return float(np.ravel(self.params["logit_scale"])[0])

  @property
  def logit_bias(self) -> float:
    """What SigLIP adds to its logits before the sigmoid; 0 for CLIP."""
    return float(np.ravel(self.params.get("logit_bias", 0.0))[0])

  def encode_texts(
    self, texts: Sequence[str], *, truncate: bool = False
  ) -> Float32[np.ndarray, "n D"]:
    """Unit embeddings of texts, in their order; equal texts are run once.

    Args:
      texts: any number of strings.
      truncate: cut texts that are too long instead of raising.

    Raises:
      ValueError: a text is too long, or not a string; says which.
    """
    tokens = self.tokenizer(texts, truncate=truncate)
    tokens, row_of = np.unique(tokens, axis=0, return_inverse=True)
    # All batches are queued before the first is read: the device never waits.
    outputs = [
      (rows, _unit_embeddings(self.params, batch, self.config, self.precision))
      for rows, batch in _batches(tokens, whole=not self.config.causal)
    ]
    embeddings = np.empty((len(tokens), self.dim), np.float32)
    for rows, output in outputs:
      embeddings[rows] = np.asarray(output)[: len(rows)]
    return embeddings[row_of.ravel()]


def load_text_encoder(
  name: str,
  weights: str | os.PathLike | None = None,
  *,
  vocabulary: str | os.PathLike | None = None,
  precision: str = "float32",
) -> TextEncoder:
  """The text encoder of a published CLIP or SigLIP.

  Args:
    name: one of `catalog.MODELS` that has a text tower ("clip_vitb16"), or a
      repository or directory that says what it is.
    weights: the checkpoint, the same file as for the image tower; downloaded
      and kept if None. Formats as in `params.load_tower`.
    vocabulary: the tokenizer's file; see `tokenizer.load_tokenizer` for CLIP.
      SigLIP's comes with its weights.
    precision: 'float32' or 'bfloat16'.

  Raises:
    ValueError: unknown name or precision, or files that are not what they
      should be; says what is wrong with them.
    FileNotFoundError: there is no such file or directory.
    ImportError: an extra is not installed; says which.
  """
  known = catalog.MODELS.get(name)
  # Before anything is downloaded.
  found = catalog.find(name, weights) if not known or known.text else None
  config = found.model.text if found else None
  if config is None:
    with_text = [n for n, model in catalog.MODELS.items() if model.text]
    raise ValueError(
      f"{name!r} has no text encoder; these have: {', '.join(with_text)}."
    )
  if config.tokenizer == "clip":
    tokenizer = load_tokenizer(vocabulary)
  else:
    tokenizer = load_siglip_tokenizer(vocabulary or found.place, config)
  params = catalog.read_tower(
    found,
    template=text_tower.shapes(config),
    namings=found.family.text,
    others=found.family.image,
  ).params
  return make_text_encoder(
    found.name,
    params=params,
    config=config,
    tokenizer=tokenizer,
    weights_fingerprint=_fingerprint(params, config),
    precision=precision,
  )


def _fingerprint(params: Any, config: TextConfig) -> str:
  """Identifies every weight, and every setting that weights do not show."""
  settings = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(config)
    if field.name in ("act", "eps", "causal")
    and getattr(config, field.name) != field.default
  }
  weights = params_lib.fingerprint(params)
  return f"{weights} {sorted(settings.items())}" if settings else weights


def make_text_encoder(
  name: str,
  *,
  params: Any,
  config: TextConfig,
  tokenizer: ClipTokenizer | SiglipTokenizer,
  weights_fingerprint: str,
  precision: str = "float32",
) -> TextEncoder:
  """A TextEncoder from its parts, with its fingerprint.

  Args:
    name: what to call it.
    params: a nested dict of arrays, as `text_tower.shapes(config)` says.
    config: the shape of the tower.
    tokenizer: whose ids the tower was trained on.
    weights_fingerprint: identifies params and architecture by value.
    precision: 'float32' or 'bfloat16'.

  Raises:
    ValueError: unknown precision, or the tokenizer has another number of ids
      than the tower.
  """
  text_tower.check_precision(precision)
  if tokenizer.vocabulary_size != config.vocabulary_size:
    raise ValueError(
      f"The tokenizer has {tokenizer.vocabulary_size} ids and the text tower"
      f" {config.vocabulary_size}: they do not belong together."
    )
  identity = {
    "version": _VERSION,
    "weights": weights_fingerprint,
    "precision": precision,
    "tokenizer": tokenizer.fingerprint,
  }
  digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
  return TextEncoder(
    params=jax.device_put(params),
    config=config,
    tokenizer=tokenizer,
    name=name,
    precision=precision,
    fingerprint=f"{name}-text-{digest.hexdigest()[:24]}",
  )


def _batches(
  tokens: Int32[np.ndarray, "n T"], *, whole: bool
) -> Iterator[tuple[np.ndarray, Int32[np.ndarray, "B t"]]]:
  """Row positions and their tokens: rows of alike length, cut, padded.

  Rows are cut behind the first end mark, unless their padding is read, too.
  """
  lengths = np.argmax(tokens, axis=1) + 1
  lengths = -(-lengths // _LENGTH_STEP) * _LENGTH_STEP
  if whole:
    lengths = np.full(len(tokens), tokens.shape[1])
  for length in np.unique(lengths):
    alike = np.flatnonzero(lengths == length)
    for start in range(0, len(alike), _BATCH_SIZE):
      rows = alike[start : start + _BATCH_SIZE]
      batch = tokens[rows, :length]
      yield rows, np.pad(batch, [(0, _BATCH_SIZE - len(rows)), (0, 0)])


@functools.partial(jax.jit, static_argnums=(2, 3))
def _unit_embeddings(
  params: Any, tokens: jax.Array, config: TextConfig, precision: str
) -> jax.Array:
  return unit_rows(
    text_tower.forward(params, tokens, config=config, precision=precision)
  )
