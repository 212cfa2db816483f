"""Class names and descriptions to a classifier; zero-shot logits.

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
union with templates.
"""

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
from visual_memory.encoders.encoder import unit_rows
from visual_memory.encoders.text.templates import fill
from visual_memory.encoders.text.text_encoder import TextEncoder
from visual_memory.types import Array

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
