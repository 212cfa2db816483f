"""Words in the space of an image encoder: search by text, zero-shot classes.

  near = vm.search(vm.embed_texts(encoder, ["a dog on a beach"]), memory, k=5)
  head = vm.VisualMemory.from_embedded(
    vm.embed_classes(encoder, memory.class_names)
  )
  vm.search(encoder.encode(images), head, k=1).labels     # zero-shot

  names, sentences = source.class_names, templates("imagenet_7")
  classifier = zero_shot_classifier(text_encoder, names, sentences)   # [C, D]
  logits = zero_shot_logits(
    embeddings, classifier, logit_scale=text_encoder.logit_scale
  )
  texts = class_texts(names, templates("dtd"), descriptions=read("CuPL.json"))
  classifier = cached_classifier(text_encoder, texts, cache_dir="cache")

Every text of a class has one vote: with fifty descriptions and one template,
the descriptions decide.

References: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021), sections 3.1.2 and 3.1.4; Pratt et al., "What
does a platypus look like?" (ICCV 2023) for the files of descriptions, {class
name: [sentence, ...]}; Zhang et al., "Dual Memory Networks" (CVPR 2024) for the
union with templates; Zhai et al., "Sigmoid Loss for Language Image
Pre-Training" (ICCV 2023).
"""

import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from visual_memory import files
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.families import catalog
from visual_memory.encoders.outputs import unit_rows
from visual_memory.encoders.published import places
from visual_memory.encoders.text.templates import fill
from visual_memory.encoders.text.templates import templates as templates_of
from visual_memory.encoders.text.text_encoder import (
  TextEncoder,
  load_text_encoder,
)
from visual_memory.types import Array, EmbeddedSet, embedded_set

_TEXTS_AT_ONCE = 4096
"""Texts whose embeddings are held at the same time: 8 MiB at D = 512."""


def zero_shot_classifier(
  text_encoder: TextEncoder,
  class_names: Sequence[str],
  templates: Sequence[str],
) -> Float32[np.ndarray, "C D"]:
  """A unit row for each class: the direction of its sentences' mean.

  Args:
    text_encoder: embeds the sentences.
    class_names: C names; underscores are read as spaces.
    templates: sentences with one {} for the name, such as those of
      `templates.templates("imagenet_7")`.

  Raises:
    ValueError: no class, no template, a template without its {}, or a
      sentence that is too long; says which.
  """
  names = list(dict.fromkeys(class_names))  # ImageNet has two names twice.
  sentences = (
    [fill(template, name) for template in templates] for name in names
  )
  rows = text_classifier(text_encoder, sentences)
  row_of = {name: row for row, name in enumerate(names)}
  return rows[[row_of[name] for name in class_names]]


def text_classifier(
  text_encoder: TextEncoder, texts_of_classes: Iterable[Sequence[str]]
) -> Float32[np.ndarray, "C D"]:
  """A unit row for each class, from texts of its own (descriptions, say).

  Each text is embedded and normalized, the texts of a class are averaged, and
  the mean is normalized. Texts are consumed class by class and embedded a few
  thousand at a time, so neither all texts nor all embeddings are ever held.

  Args:
    text_encoder: embeds the texts.
    texts_of_classes: for each class its texts, at least one.

  Raises:
    ValueError: there is no class, or a class without texts; says which.
  """
  means = []
  for texts, counts in _chunks(texts_of_classes):
    embeddings = text_encoder.encode_texts(texts)
    starts = np.cumsum([0, *counts[:-1]])
    sums = np.add.reduceat(embeddings, starts, axis=0)
    means.append(sums / np.float32(counts)[:, None])
  if not means:
    raise ValueError("A classifier needs at least one class; got none.")
  return np.asarray(unit_rows(np.concatenate(means)))


def _chunks(
  texts_of_classes: Iterable[Sequence[str]],
) -> Iterator[tuple[list[str], list[int]]]:
  """The texts of some whole classes, and how many are each class's."""
  texts, counts = [], []
  for index, of_class in enumerate(texts_of_classes):
    if isinstance(of_class, str) or not len(of_class):
      raise ValueError(
        f"Class {index} needs a list of texts; got {of_class!r}."
      )
    if texts and len(texts) + len(of_class) > _TEXTS_AT_ONCE:
      yield texts, counts
      texts, counts = [], []
    texts += of_class
    counts.append(len(of_class))
  if texts:
    yield texts, counts


def zero_shot_logits(
  embeddings: Float[Array, "N D"],
  classifier: Float[Array, "C D"],
  *,
  logit_scale: float,
) -> Float32[jax.Array, "N C"]:
  """exp(logit_scale) * cosine: the logits that CLIP was trained to give.

  Args:
    embeddings: unit rows of images, from the image tower of the same model.
    classifier: unit rows of classes.
    logit_scale: logarithm of the inverse temperature (TextEncoder's, about
      ln 100).
  """
  cosines = jnp.matmul(embeddings, classifier.T, precision="highest")
  return math.exp(logit_scale) * cosines.astype(jnp.float32)


def class_texts(
  class_names: Sequence[str],
  templates: Sequence[str],
  *,
  descriptions: Mapping[str, Sequence[str]] | None = None,
) -> list[list[str]]:
  """The texts of each class: its templates, then its descriptions.

  Args:
    class_names: underscores are read as spaces, here and in the descriptions.
    templates: with one {} each; may be empty if there are descriptions.
    descriptions: sentences by class name; None for none.

  Raises:
    ValueError: classes without any description (lists them), or without text.
  """
  spoken = [name.replace("_", " ") for name in class_names]
  written = {
    name.replace("_", " "): list(texts)
    for name, texts in (descriptions or {}).items()
  }
  if descriptions is not None:
    missing = [name for name in spoken if not written.get(name)]
    if missing:
      raise ValueError(
        f"{len(missing)} classes have no description, {missing[0]!r} first: add"
        " them to the file, or leave descriptions out."
      )
  texts = [
    [fill(template, name) for template in templates] + written.get(name, [])
    for name in spoken
  ]
  if not all(texts):
    raise ValueError("There is neither a template nor a description to use.")
  return texts


def read_descriptions(path: str | os.PathLike) -> dict[str, list[str]]:
  """The sentences of a file in CuPL's layout.

  Raises:
    ValueError: the file is not {class name: [sentence, ...]}.
  """
  with open(path, encoding="utf-8") as file:
    try:
      values = json.load(file)
    except json.JSONDecodeError as error:
      raise ValueError(f"{path} is not JSON: {error}.") from error
  good = isinstance(values, dict) and all(
    isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    for texts in values.values()
  )
  if not good:
    raise ValueError(
      f"{path} must be an object {{class name: [sentence, ...]}}."
    )
  return values


def cached_classifier(
  text_encoder: TextEncoder,
  texts: Sequence[Sequence[str]],
  *,
  cache_dir: str | os.PathLike | None,
) -> Float32[np.ndarray, "C D"]:
  """A unit row for each class, kept under the encoder and all its texts."""
  if cache_dir is None:
    return text_classifier(text_encoder, texts)
  digest = hashlib.sha256(
    json.dumps([text_encoder.fingerprint, list(map(list, texts))]).encode()
  )
  path = pathlib.Path(cache_dir) / f"{digest.hexdigest()[:32]}.npy"
  if path.exists():
    return np.load(path)
  rows = text_classifier(text_encoder, texts)
  with files.replacing(path) as partial:
    np.save(partial, rows)
  return rows


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
