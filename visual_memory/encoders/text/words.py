"""Words in the space of an image encoder: search by text, zero-shot classes.

  encoder = vm.load_encoder("clip_vitb16", weights="ViT-B-16.pt")
  memory = vm.VisualMemory.from_embedded(vm.embed(encoder, source))
  near = vm.search(vm.embed_texts(encoder, ["a dog on a beach"]), memory, k=5)

  head = vm.VisualMemory.from_embedded(
    vm.embed_classes(encoder, memory.class_names)
  )
  vm.search(encoder.encode(images), head, k=1).labels     # zero-shot

Reference: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021), section 3.1; Zhai et al., "Sigmoid Loss for
Language Image Pre-Training" (ICCV 2023).
"""

import functools
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.families import catalog
from visual_memory.encoders.published import places
from visual_memory.encoders.text.class_texts import zero_shot_classifier
from visual_memory.encoders.text.templates import templates as templates_of
from visual_memory.encoders.text.text_encoder import (
  TextEncoder,
  load_text_encoder,
)
from visual_memory.types import EmbeddedSet, embedded_set


def embed_texts(
  encoder: Encoder,
  texts: Sequence[str],
  *,
  vocabulary: str | os.PathLike | None = None,
  truncate: bool = False,
) -> Float32[np.ndarray, "Q D"]:
  """Unit embeddings of texts, in the space of the encoder's images.

  They are queries as images are: `search(embed_texts(...), memory, k=10)`.
  Their similarities to images are lower than those between images; compare them
  with one another.

  Args:
    encoder: of a family with a text tower (CLIP, SigLIP), from `load_encoder`.
    texts: any number of strings.
    vocabulary: the tokenizer's file, where it is not found by itself.
    truncate: cut texts that are too long, instead of raising.

  Raises:
    ValueError: the encoder has no text tower; or a text is too long or not a
      string; says which.
  """
  text_encoder = text_encoder_of(encoder, vocabulary=vocabulary)
  return text_encoder.encode_texts(texts, truncate=truncate)


def embed_classes(
  encoder: Encoder,
  class_names: Sequence[str],
  *,
  templates: str | Sequence[str] = "imagenet_7",
  vocabulary: str | os.PathLike | None = None,
) -> EmbeddedSet:
  """One row for each class from its name alone: a zero-shot head.

  Args:
    encoder: as for `embed_texts`.
    class_names: such as a memory's; underscores are read as spaces.
    templates: sentences with one {} for the name, or the name of a list of
      `templates.TEMPLATES`; a class is the direction of their mean.
    vocabulary: as for `embed_texts`.

  Returns:
    Rows whose ids are "text/NAME", to make a memory of or to add to one.

  Raises:
    ValueError: the encoder has no text tower; there is no class, or no
      template, or one without its {}; says which.
  """
  text_encoder = text_encoder_of(encoder, vocabulary=vocabulary)
  if isinstance(templates, str):
    templates = templates_of(templates)
  rows = zero_shot_classifier(text_encoder, class_names, templates)
  return embedded_set(
    embeddings=rows,
    labels=np.arange(len(rows), dtype=np.int32),
    ids=[f"text/{name}" for name in class_names],
    class_names=tuple(class_names),
    fingerprint=encoder.fingerprint,
  )


def text_encoder_of(
  encoder: Encoder, *, vocabulary: str | os.PathLike | None = None
) -> TextEncoder:
  """The text encoder of the same checkpoint; the last two used are kept.

  Raises:
    ValueError: there is none.
  """
  name, weights, precision = encoder.origin or ("", None, "")
  if not has_text_tower(encoder):
    with_text = [n for n, m in catalog.MODELS.items() if m.text]
    raise ValueError(
      f"The encoder {encoder.name!r} has no text tower, and words need one;"
      f" these have: {', '.join(with_text)}."
    )
  given = None if vocabulary is None else str(vocabulary)
  text_encoder = _loaded(name, weights, precision, given)
  if text_encoder.dim != encoder.dim:
    raise ValueError(
      f"The encoder {encoder.name!r} gives {encoder.dim} values an image, its"
      f" text tower {text_encoder.dim} a text: load it with pooling='class'."
    )
  return text_encoder


def has_text_tower(encoder: Encoder) -> bool:
  """Whether an encoder's checkpoint has a text tower, by its name.

  Of a repository it is known for certain only once its tower is loaded.
  """
  name = encoder.origin[0] if encoder.origin else ""
  model = catalog.MODELS.get(name)
  return bool(model.text if model else places.is_repository(name))


@functools.lru_cache(maxsize=2)
def _loaded(
  name: str, weights: str | None, precision: str, vocabulary: str | None
) -> TextEncoder:
  return load_text_encoder(
    name, weights, vocabulary=vocabulary, precision=precision
  )
