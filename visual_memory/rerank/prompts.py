"""Prompts for re-ranking, and labels from the answers.

  parts = fill_prompt(TEMPLATE, question, class_names)   # texts and images
  label, status = parse('{"label": "tabby cat"}', question.choices, class_names)

A template is text with the marks {neighbors}, {query} and {choices}. The first
becomes every neighbor's image with its label, best first, the second the
query's image, the third the names that may be answered.
"""

import json
import re
from collections.abc import Sequence

import numpy as np

from visual_memory.rerank.rerank import Question
from visual_memory.types import UNLABELED

TEMPLATE = """Here are labeled pictures, the most similar to a new one first.
{neighbors}
This is the new picture:
{query}
Which of these labels fits the new picture best? The labels: {choices}.
Reply with a JSON object, {"label": "..."}, that repeats one label exactly."""
"""A prompt of ours; the published one is unknown."""

_MARK = re.compile(r"\{(neighbors|query|choices)\}")


def fill_prompt(
  template: str, question: Question, class_names: Sequence[str]
) -> list[str | np.ndarray]:
  """Texts and images in the order in which the model sees them.

  Raises:
    ValueError: the template lacks {query}, or has a mark twice.
  """
  found = _MARK.findall(template)
  if "query" not in found or len(set(found)) != len(found):
    raise ValueError(
      "The prompt needs {query} once, and {neighbors} and {choices} at most"
      f" once; it has {found}."
    )
  parts: list[str | np.ndarray] = []
  for place, piece in enumerate(_MARK.split(template)):
    if place % 2 == 0:
      parts.append(piece)
    elif piece == "query":
      parts.append(question.image)
    elif piece == "choices":
      parts.append(
        ", ".join(_spoken(class_names[label]) for label in question.choices)
      )
    else:
      for image, label in zip(
        question.neighbor_images, question.neighbor_labels, strict=True
      ):
        parts += [image, f"Label: {_spoken(class_names[label])}\n"]
  return _merged(parts)


def parse(
  text: str,
  choices: Sequence[int],
  class_names: Sequence[str],
  *,
  max_characters: int,
) -> tuple[int, str]:
  """The class that an answer names, and its status (see rerank.STATUSES).

  First the value of "label" in a JSON object, or the whole text, as it stands;
  then, as a repair, without regard to case, punctuation, underscores and
  articles; then the one choice that the text mentions (the longest, where one
  name holds another). Always the same label for the same text.

  Args:
    text: the raw answer.
    choices: the classes that were offered.
    class_names: of all classes.
    max_characters: a longer answer is not read.
  """
  if len(text) > max_characters:
    return UNLABELED, "too_long"
  if not text.strip():
    return UNLABELED, "empty"
  said = _label_of_json(text)
  exact = {_spoken(class_names[label]): label for label in reversed(choices)}
  for candidate in (said, text.strip()):
    if candidate is not None and candidate in exact:
      return exact[candidate], "ok"
  plain = {_plain(name): label for name, label in exact.items()}
  for candidate in (said, text):
    if candidate is not None and _plain(candidate) in plain:
      return plain[_plain(candidate)], "repaired"
  mentioned = _mentioned(_plain(text if said is None else said), plain)
  if mentioned is not None:
    return mentioned, "repaired"
  return UNLABELED, "outside"


def _mentioned(text: str, plain: dict[str, int]) -> int | None:
  """The one name in a text; None for none or several."""
  names = [name for name in plain if name and f" {name} " in f" {text} "]
  longest = [
    name
    for name in names
    if not any(name != other and f" {name} " in f" {other} " for other in names)
  ]
  return plain[longest[0]] if len(longest) == 1 else None


def _label_of_json(text: str) -> str | None:
  """The string at "label" in the first JSON object of a text."""
  start = text.find("{")
  while start >= 0:
    try:
      value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
      value = None
    if isinstance(value, dict) and isinstance(value.get("label"), str):
      return value["label"].strip()
    start = text.find("{", start + 1)
  return None


def _plain(text: str) -> str:
  """Lower case, words alone, no article in front."""
  words = re.findall(r"\w+", text.replace("_", " ").casefold())
  return " ".join(words[1:] if words[:1] in (["a"], ["an"], ["the"]) else words)


def _spoken(name: str) -> str:
  return name.replace("_", " ")


def _merged(parts: list) -> list[str | np.ndarray]:
  """Neighboring texts as one; empty ones left out."""
  out: list[str | np.ndarray] = []
  for part in parts:
    if isinstance(part, str) and out and isinstance(out[-1], str):
      out[-1] += part
    elif not isinstance(part, str) or part:
      out.append(part)
  return out
