"""Every table and figure of a paper that there is data for.

  python -m experiments.paper --data=DIR --workdir=work/paper \\
      [--paper=procedural] [--only=table4,figure9] [--list]

The visual-memory paper (configs/paper), or the procedural-data paper
(configs/paper_procedural).

Prints ours beside the published numbers, and keeps them in workdir/paper.md and
paper.json. What has no data is skipped and says what is missing; what was run
before is not run again; runs that differ in their title alone are one run.
Embeddings and neighbors are shared through workdir/cache. DIR holds, unpacked:

  imagenet/{train,val}/SYNSET/*.JPEG        ImageNet-1K
  imagenet-a/SYNSET/*.jpg                   and imagenet-r, sketch
  imagenetv2-matched-frequency-format-val/{0..999}/*        ImageNet-V2
  real.json                                 ReaL's labels
  ninco/CLASS/*                             NINCO
  inaturalist/{train,train_mini,val}/*/*    iNaturalist 2021
  weights/NAME.pth (or a folder NAME)       weights; else they are downloaded

and for the procedural-data paper, as their authors lay them out:

  flowers102/ cub200/ food101/ NAMEmnist_224.npz nights/ coco/
  ADEChallengeData2016/ VOCdevkit/VOC2012/
  weights/{kml,kml_mixup,...}.pth           its encoders; others are left out

Published numbers: experiments/published.py and published_procedural.py.
"""

import copy
import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import pkgutil
import sys
from collections.abc import Mapping, Sequence

from absl import app, flags, logging

from experiments import launch, published, published_procedural
from visual_memory import distributed, files
from visual_memory.reports import tables


@dataclasses.dataclass(frozen=True)
class Paper:
  """The package of a paper's configs, and its numbers by their names."""

  package: str
  expected: Mapping[str, list[published.Expected]]


PAPERS = {
  "visual_memory": Paper("configs.paper", published.EXPECTED),
  "procedural": Paper(
    "configs.paper_procedural", published_procedural.EXPECTED
  ),
}

_DATA = flags.DEFINE_string("data", None, "Where the data sets are.")
_PAPER = flags.DEFINE_enum(
  "paper", "visual_memory", list(PAPERS), "Which paper."
)
_ONLY = flags.DEFINE_list("only", [], "Names of its configs; default: all.")
_LIST = flags.DEFINE_bool("list", False, "Say what would run, and stop.")


def main(argv: list[str]) -> None:
  """Runs what can be run; fails if a run failed."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  if not _DATA.value or not launch.WORKDIR.value:
    raise app.UsageError("Name --data=DIR and --workdir=DIR.")
  distributed.initialize()
  items = load_configs(_DATA.value, _ONLY.value, paper=_PAPER.value)
  if _LIST.value:
    print(listing(items, paper=_PAPER.value))
    return
  outcomes = run(items, launch.WORKDIR.value, paper=_PAPER.value)
  if distributed.is_lead():
    print((pathlib.Path(launch.WORKDIR.value) / "paper.md").read_text())
  if any(value["state"] == "failed" for value in outcomes.values()):
    sys.exit(1)


def listing(items: dict, *, paper: str = "visual_memory") -> str:
  """Every config with its title and whether it can be run, as lines."""
  package = importlib.import_module(PAPERS[paper].package)
  width = 2 + max(map(len, items))
  lines = [
    f"{name:{width}}{config.title}: {missing(config) or 'can be run'}"
    for name, config in items.items()
  ]
  return "\n".join([*lines, *getattr(package, "WITHOUT", ())])


def load_configs(
  data: str, only: list[str], *, paper: str = "visual_memory"
) -> dict:
  """A paper's configs by name (and form), over the data sets of one directory.

  Raises:
    ValueError: a name of `only` that there is no config of.
  """
  os.environ["VISUAL_MEMORY_DATA"] = str(data)
  names = _names(paper)
  unknown = sorted(set(only) - set(names))
  if unknown:
    raise ValueError(f"No {unknown[0]!r}; there are: {', '.join(names)}.")
  items = {}
  for name in only or names:
    module, _, form = name.partition(":")
    package = PAPERS[paper].package
    config = importlib.import_module(f"{package}.{module}").get_config(form)
    for section in _encoders(config):
      section.weights = section.weights or _weights(data, section.name)
    _leave_out_absent(config)
    items[name] = config
  return items


def _names(paper: str) -> list[str]:
  """The modules of a paper's configs, with their forms where there are any."""
  package = importlib.import_module(PAPERS[paper].package)
  names = []
  for found in pkgutil.iter_modules(package.__path__):
    module = importlib.import_module(f"{package.__name__}.{found.name}")
    forms = getattr(module, "VARIANTS", ())
    names += [f"{found.name}:{form}" for form in forms] or [found.name]
  return names


def _leave_out_absent(config) -> None:
  """Drops encoders of a comparison whose own weights are not there."""
  for name, section in list(config.get("encoders", {}).items()):
    if section.weights and not os.path.exists(section.weights):
      del config.encoders[name]


def run(
  items: dict, path: str, *, paper: str = "visual_memory"
) -> dict[str, dict]:
  """What became of each config: its state, reason, report and numbers."""
  root, outcomes, made = pathlib.Path(path), {}, {}
  for name, config in items.items():
    reason = missing(config)
    if reason:
      outcomes[name] = {"state": "skipped", "reason": reason}
      continue
    config = copy.deepcopy(config)
    config.cache_dir = str(root / "cache")
    folder = made.setdefault(_identity(config), root / name)
    try:
      if folder == root / name:
        launch.run(config, folder)
    except OSError as error:  # Weights that are neither here nor elsewhere.
      outcomes[name] = {"state": "skipped", "reason": str(error)}
    except Exception as error:  # The others can still be run.
      logging.exception("%s failed", name)
      outcomes[name] = {"state": "failed", "reason": repr(error)}
    else:
      outcomes[name] = {
        "state": "done",
        "report": str(folder.relative_to(root) / "report.html"),
        "numbers": compare(
          PAPERS[paper].expected.get(name, ()),
          files.read_json(folder / "report.json"),
        ),
      }
  if distributed.is_lead():
    root.mkdir(parents=True, exist_ok=True)
    files.write_json(root / "paper.json", outcomes)
    files.write_text(root / "paper.md", _markdown(outcomes))
  return outcomes


def missing(config) -> str:
  """What a config needs and does not find; empty if it can be run."""
  for section in _sections(config):
    options = section.get("options")
    wanted = section.get("path") or section.get("weights")
    if options is not None and "path" in options:
      wanted = wanted or options.path
    if wanted and not pathlib.Path(wanted).exists():
      return f"there is no {wanted}"
    if section.get("source") == "folder" and options.split:
      path = pathlib.Path(options.path)
      if path.is_dir() and not (path / options.split).is_dir():
        return f"there is no {path / options.split}"
  return ""


def compare(
  published_numbers: Sequence[published.Expected], report: dict
) -> list[dict]:
  """Published numbers with ours beside them."""
  rows = []
  for expected in published_numbers:
    ours = expected.path and published.look_up(report, expected.path)
    rows.append(
      {
        "what": expected.what,
        "published": expected.value,
        "ours": None if ours is None else ours * expected.scale,
        "unit": expected.unit,
      }
    )
  return rows


def _sections(config):
  """Every section of a config, at any depth."""
  for value in config.values():
    if hasattr(value, "values") and hasattr(value, "get"):
      yield value
      yield from _sections(value)


def _encoders(config):
  """The sections that name a published encoder."""
  return [s for s in _sections(config) if "weights" in s and "precision" in s]


def _weights(data, name):
  """An encoder's weights below the data, or None to download them."""
  for suffix in ("", ".pth", ".pt", ".safetensors"):
    path = pathlib.Path(data) / "weights" / f"{name}{suffix}"
    if path.exists():
      return str(path)
  return None


def _identity(config) -> str:
  """Equal for configs that differ in their title alone."""
  content = {**config.to_dict(), "title": ""}
  return hashlib.sha256(
    json.dumps(files.plain(content), sort_keys=True).encode()
  ).hexdigest()


def _markdown(outcomes) -> str:
  """The states, then all numbers."""
  states = tables.Table(
    header=("config", "state", "report or reason"),
    rows=tuple(
      (name, value["state"], value.get("report") or value["reason"])
      for name, value in outcomes.items()
    ),
  )
  show = lambda value: "–" if value is None else f"{value:.2f}"
  numbers = tables.Table(
    header=("config", "what", "published", "ours", "unit"),
    rows=tuple(
      (name, row["what"], f"{row['published']:g}", show(row["ours"]),
       row["unit"])
      for name, value in outcomes.items()
      for row in value.get("numbers", ())
    ),
  )  # fmt: skip
  return f"{states.markdown()}\n{numbers.markdown()}"


if __name__ == "__main__":
  app.run(main)
