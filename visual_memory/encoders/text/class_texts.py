"""Texts of classes: templates, and descriptions that a language model wrote.

  texts = class_texts(names, templates("dtd"), descriptions=read("CuPL.json"))
  classifier = cached_classifier(text_encoder, texts, cache_dir="cache")

Every text of a class has one vote: with fifty descriptions and one template,
the descriptions decide.

Reference: Pratt et al., "What does a platypus look like?" (ICCV 2023) for the
files of descriptions, {class name: [sentence, ...]}; Zhang et al., "Dual Memory
Networks" (CVPR 2024) for the union with templates.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from visual_memory import files
from visual_memory.encoders.text.templates import fill
from visual_memory.encoders.text.text_encoder import TextEncoder
from visual_memory.encoders.text.zero_shot import text_classifier


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


def spoken_names(
  class_names: Sequence[str], path: str | os.PathLike | None
) -> tuple[str, ...]:
  """Class names as one says them, from a JSON object {name: spoken name}.

  Folders are often called by a WordNet id or a number. Without a file the
  names are taken as they are.

  Raises:
    ValueError: the file lacks a class; names it.
  """
  if not path:
    return tuple(class_names)
  with open(path, encoding="utf-8") as file:
    spoken = json.load(file)
  for name in class_names:
    if not isinstance(spoken.get(name), str):
      raise ValueError(f"{path} has no spoken name for the class {name!r}.")
  return tuple(spoken[name] for name in class_names)


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
