"""Every table and figure of the visual-memory paper that there is data for.

  python -m experiments.paper --data=DIR --workdir=work/paper \\
      [--only=table4,figure9] [--list]

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

Published numbers: experiments/published.py.
"""

import copy
import hashlib
import importlib
import json
import os
import pathlib
import pkgutil
import sys

from absl import app, flags, logging

import configs.paper
from experiments import launch, published
from visual_memory import distributed
from visual_memory.reports import files, tables

_DATA = flags.DEFINE_string("data", None, "Where the data sets are.")
_ONLY = flags.DEFINE_list("only", [], "Names of configs/paper; default: all.")
_LIST = flags.DEFINE_bool("list", False, "Say what would run, and stop.")


def main(argv: list[str]) -> None:
  """Runs what can be run; fails if a run failed."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  if not _DATA.value or not launch.WORKDIR.value:
    raise app.UsageError("Name --data=DIR and --workdir=DIR.")
  distributed.initialize()
  items = load_configs(_DATA.value, _ONLY.value)
  if _LIST.value:
    for name, config in items.items():
      print(f"{name:16}{missing(config) or config.title}")
    return
  outcomes = run(items, launch.WORKDIR.value)
  if distributed.is_lead():
    print((pathlib.Path(launch.WORKDIR.value) / "paper.md").read_text())
  if any(value["state"] == "failed" for value in outcomes.values()):
    sys.exit(1)


def load_configs(data: str, only: list[str]) -> dict:
  """The paper's configs by name, over the data sets of one directory.

  Raises:
    ValueError: a name of `only` that there is no config of.
  """
  os.environ["VISUAL_MEMORY_DATA"] = str(data)
  names = [found.name for found in pkgutil.iter_modules(configs.paper.__path__)]
  unknown = sorted(set(only) - set(names))
  if unknown:
    raise ValueError(f"No {unknown[0]!r}; there are: {', '.join(names)}.")
  items = {}
  for name in only or names:
    config = importlib.import_module(f"configs.paper.{name}").get_config()
    for section in _encoders(config):
      section.weights = section.weights or _weights(data, section.name)
    items[name] = config
  return items


def run(items: dict, path: str) -> dict[str, dict]:
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
        "numbers": compare(name, files.read_json(folder / "report.json")),
      }
  if distributed.is_lead():
    root.mkdir(parents=True, exist_ok=True)
    files.write_json(root / "paper.json", outcomes)
    files.write_text(root / "paper.md", _markdown(outcomes))
  return outcomes


def missing(config) -> str:
  """What a config needs and does not find; empty if it can be run."""
  for section in _sources(config):
    options = section.options
    path = pathlib.Path(options.path)
    if not path.exists():
      return f"there is no {path}"
    if options.split and path.is_dir() and not (path / options.split).is_dir():
      return f"there is no {path / options.split}"
    if section.get("labels") and not pathlib.Path(section.labels).exists():
      return f"there is no {section.labels}"
  return ""


def compare(name: str, report: dict) -> list[dict]:
  """The published numbers of a config with ours beside them."""
  rows = []
  for expected in published.EXPECTED.get(name, ()):
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


def _sources(config):
  """The sections that name a folder of images."""
  for section in _sections(config):
    if section.get("source") == "folder" and "options" in section:
      yield section


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
