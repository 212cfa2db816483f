"""A grid of overrides of one config, run one after the other, in one table.

  python -m experiments.sweep --config=configs/NAME.py --workdir=DIR \\
      --sweep=voting.offset=1,2,4 --sweep=voting.temperature=0.05,0.07

Each run has a workdir of its own below DIR; embeddings and neighbors that no
override changes are computed once. The table is DIR/sweep.csv and sweep.md.
Running a stopped sweep again continues it.
"""

import copy
import itertools
import pathlib

from absl import app, flags

from experiments import launch
from visual_memory import distributed, files
from visual_memory.reports import tables

_SWEEP = flags.DEFINE_multi_string(
  "sweep", None, "KEY=VALUE,VALUE,...: one axis of the grid."
)
flags.mark_flags_as_required(["sweep", "config", "workdir"])


def main(argv: list[str]) -> None:
  """Runs the grid and writes its table."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  distributed.initialize()
  records = run(launch.CONFIG.value, launch.WORKDIR.value, _SWEEP.value)
  if distributed.is_lead():
    print((pathlib.Path(launch.WORKDIR.value) / "sweep.md").read_text())
    print(f"{len(records)} runs.")


def run(config, path: str, axes: list[str]) -> list[dict]:
  """Runs every point of the grid; one record for each, best first."""
  root = pathlib.Path(path)
  grid = [parse_axis(config, axis) for axis in axes]
  records = []
  for values in itertools.product(*(values for _, values in grid)):
    point = dict(zip((key for key, _ in grid), values, strict=True))
    own = copy.deepcopy(config)
    own.update_from_flattened_dict(point)
    own.cache_dir = config.cache_dir or str(root / "cache")
    folder = root / ",".join(f"{k}={_plain(v)}" for k, v in point.items())
    launch.run(own, folder)
    chosen = files.read_json(folder / "report.json")["chosen"]
    records.append(
      {key: _plain(value) for key, value in point.items()}
      | {name: chosen[name] for name in ("voter", "k", "accuracy")}
    )
  table = tables.sweep_table(records, fractions=("accuracy",))
  if distributed.is_lead():
    files.write_text(root / "sweep.csv", table.csv())
    files.write_text(root / "sweep.md", table.markdown())
  return records


def parse_axis(config, axis: str) -> tuple[str, list]:
  """The key of an axis and its values, typed as the config's value is.

  Raises:
    ValueError: no such key in the config, no value, or one of another type.
  """
  key, found, text = axis.partition("=")
  if not found or not text:
    raise ValueError(f"--sweep={axis}: write KEY=VALUE,VALUE,...")
  owner, name = config, key
  while "." in name:
    part, _, name = name.partition(".")
    owner = owner.get(part, {}) if hasattr(owner, "get") else {}
  if name not in owner:
    raise ValueError(f"The config has no key {key!r}.")
  kind = owner.get_type(name)
  if kind not in (str, int, float, bool):
    raise ValueError(f"{key} is a {kind.__name__}: only numbers, texts and"
                     " truth values can be swept.")  # fmt: skip
  try:
    return key, [_typed(value, kind) for value in text.split(",")]
  except ValueError as error:
    raise ValueError(f"--sweep={axis}: {error}.") from error


def _typed(text: str, kind: type):
  """A value of this type from its text."""
  if kind is bool:
    if text.lower() not in ("true", "false"):
      raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
  return kind(text)


def _plain(value) -> str:
  """A value as a word that can be part of a directory's name."""
  return str(value).replace("/", "_")


if __name__ == "__main__":
  app.run(main)
