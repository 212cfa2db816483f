"""What classes are called: words for people and models, not names of folders.

  names = read_class_names("imagenet_1k")     # {"n01440764": "tench", ...}
  source = renamed(source, names)
  require_words(source.class_names, what="A study with people")

`open_source(..., class_names=...)` does the first two for any source.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from visual_memory.data import image_source, relabeling
from visual_memory.data.image_source import ImageSource

_FOLDER = pathlib.Path(__file__).parent / "names"
SHIPPED = {"imagenet_1k": "imagenet_1k.tsv", "digits": "digits.tsv"}
"""Maps that come with the package: ImageNet's 1,000 classes, by WordNet's first
word for each synset (six that would repeat are told apart), and ten digits."""

_NO_WORD = re.compile(r"n\d{8}|[\d._-]*")


def read_class_names(
  names: str | os.PathLike | Mapping[str, str],
) -> dict[str, str]:
  """What classes are called, by the names that a source gives them.

  Args:
    names: a key of SHIPPED; a file, JSON ({name: words}) or text (a name, a
      tab and words on each line); or the mapping itself. A file's classes may
      also be named by their number in it, from "0".

  Raises:
    ValueError: neither a shipped map nor a file, or no such content.
  """
  if isinstance(names, Mapping):
    return dict(names)
  path = pathlib.Path(names)
  if str(names) in SHIPPED:
    path = _FOLDER / SHIPPED[str(names)]
  elif not path.is_file():
    raise ValueError(
      f"class_names={str(names)!r} is no file, and none of the maps that come"
      f" with the package: {', '.join(SHIPPED)}."
    )
  text = path.read_text(encoding="utf-8")
  try:
    found = (
      json.loads(text)
      if path.suffix == ".json"
      else dict(line.split("\t") for line in text.splitlines() if line)
    )
    if not all(isinstance(word, str) and word for word in found.values()):
      raise ValueError("a class without words")
  except (AttributeError, ValueError) as error:
    raise ValueError(
      f"{path} does not say what classes are called ({error}): it must be JSON,"
      ' {"name": "words"}, or lines of a name, a tab and words.'
    ) from error
  return {str(row): words for row, words in enumerate(found.values())} | found


def renamed(source: ImageSource, names: Mapping[str, str]) -> ImageSource:
  """The same images, whose classes are called otherwise.

  Raises:
    ValueError: a class that the names lack, or two classes of one name.
  """
  lacking = [name for name in source.class_names if name not in names]
  if lacking:
    raise ValueError(
      f"The class {lacking[0]!r} is not among the {len(names)} class_names"
      f" ({len(lacking)} of {len(source.class_names)} classes are not)."
    )
  called = tuple(names[name] for name in source.class_names)
  for row, name in enumerate(called):
    if called.index(name) < row:
      pair = source.class_names[called.index(name)], source.class_names[row]
      raise ValueError(
        f"The classes {pair[0]!r} and {pair[1]!r} are both called {name!r}:"
        " class_names must tell them apart."
      )
  fingerprint = image_source.digest(source.fingerprint, list(called))
  if any(field.name == "class_names" for field in dataclasses.fields(source)):
    return dataclasses.replace(
      source, class_names=called, fingerprint=fingerprint
    )
  return relabeling.relabeled(source, source.labels, class_names=called)


def require_words(class_names: Sequence[str], *, what: str) -> None:
  """Refuses class names that say nothing to people and models.

  Args:
    class_names: that are to be spoken or shown.
    what: needs words, such as "A prompt".

  Raises:
    ValueError: a name that is a number or a synset's.
  """
  for name in class_names:
    if _NO_WORD.fullmatch(name):
      raise ValueError(
        f"{what} needs words, and a class is called {name!r}: say what the"
        " classes are called by class_names (a file, or"
        f" {' or '.join(SHIPPED)}) of the source."
      )
