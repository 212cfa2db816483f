"""How the paper's neighbor files are called.

  published_name(memory="imagenet2012", memory_split="train",
                 query="imagenet2012", query_split="validation",
                 featurizer="dinov2_vitl14")
  find_published(folder, ...)      # under any name that it may have there

Names of data sets are written with "-" for "_"; several, and their splits, are
joined by "-and-". What was written and what is read differ in two places, so
that a file may have either name: sub-sampled memories with and without
"subsampled_", and ReaL's split as "validation" and as "test".
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence

_PATTERN = re.compile(
  r"memory-(?P<memory>.+)_msplit-(?P<memory_split>[^_]+)"
  r"_query-(?P<query>[^_]+)_qsplit-(?P<query_split>[^_]+)"
  r"_(?P<featurizer>.+?)_full"
  r"(_(?P<subsampled>subsampled_)?(?P<sample>\d+))?_neighbor_info\.json"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedName:
  """What the name of a file says.

  Attributes:
    memory: data sets of the memory.
    memory_split: their splits.
    query: data set of the queries.
    query_split: its split.
    featurizer: the encoder.
    sample: images that the memory was sub-sampled to; None if it is whole.
  """

  memory: tuple[str, ...]
  memory_split: tuple[str, ...]
  query: str
  query_split: str
  featurizer: str
  sample: int | None = None


def published_name(name: PublishedName, *, subsampled: bool = True) -> str:
  """The file's name.

  Args:
    name: what it should say.
    subsampled: whether a sub-sampled memory is said to be ("read" form); the
      published writer leaves the word out.
  """
  dashed = lambda value: value.replace("_", "-")
  query = dashed(name.query)
  if query == "imagenet2012-real":
    query = "imagenet-real"
  sample = ""
  if name.sample is not None:
    sample = f"_{'subsampled_' if subsampled else ''}{name.sample}"
  return (
    f"memory-{'-and-'.join(map(dashed, name.memory))}"
    f"_msplit-{'-and-'.join(map(dashed, name.memory_split))}"
    f"_query-{query}_qsplit-{dashed(name.query_split)}"
    f"_{name.featurizer}_full{sample}_neighbor_info.json"
  )


def parse_published(filename: str) -> PublishedName:
  """What a file's name says (data sets with "-", as written).

  Raises:
    ValueError: it is no such name.
  """
  found = _PATTERN.fullmatch(os.path.basename(filename))
  if found is None:
    raise ValueError(
      f"{filename!r} is not the name of a published neighbor file:"
      " memory-M_msplit-S_query-Q_qsplit-T_FEATURIZER_full_neighbor_info.json."
    )
  split = lambda text: tuple(text.split("-and-"))
  return PublishedName(
    memory=split(found["memory"]),
    memory_split=split(found["memory_split"]),
    query=found["query"],
    query_split=found["query_split"],
    featurizer=found["featurizer"],
    sample=int(found["sample"]) if found["sample"] else None,
  )


def find_published(
  folder: str | os.PathLike, name: PublishedName
) -> pathlib.Path:
  """The one file that says this, under any name that it may have.

  Raises:
    FileNotFoundError: there is none; names those tried.
    ValueError: there are several.
  """
  splits = [name.query_split]
  if name.query in ("imagenet2012_real", "imagenet-real"):
    splits = ["validation", "test"]
  tried = _names(name, splits)
  found = [path for path in map(pathlib.Path(folder).joinpath, tried)
           if path.exists()]  # fmt: skip
  if not found:
    raise FileNotFoundError(
      f"{os.fspath(folder)!r} has no {' nor '.join(tried)}."
    )
  if len(found) > 1:
    raise ValueError(
      f"{os.fspath(folder)!r} has {' and '.join(x.name for x in found)}, which"
      " say the same: keep one."
    )
  return found[0]


def _names(name: PublishedName, splits: Sequence[str]) -> list[str]:
  """The names that a file may have."""
  return list(
    dict.fromkeys(
      published_name(
        dataclasses.replace(name, query_split=split), subsampled=subsampled
      )
      for split in splits
      for subsampled in (True, False)
    )
  )
