"""A grid of overrides of one config, run one after the other, in one table.

  python -m experiments.sweep --config=configs/NAME.py --workdir=DIR \\
      --sweep=voting.offset=1,2,4 --sweep=voting.temperature=0.05,0.07

Each run has a workdir of its own below DIR; embeddings and neighbors that no
override changes are computed once. The table is DIR/sweep.csv and sweep.md, and
on a page DIR/sweep.html, with the reports behind it.
Running a stopped sweep again continues it.
"""

import contextlib
import copy
import itertools
import pathlib

from absl import flags

from experiments import from_config, launch, terminal
from visual_memory import distributed, files
from visual_memory.reports import runs, tables

_SWEEP = flags.DEFINE_multi_string(
  "sweep", None, "KEY=VALUE,VALUE,...: one axis of the grid."
)


def main(config, path) -> None:
  """Runs the grid and writes its table."""
  distributed.initialize()
  records = run(config, str(path), _SWEEP.value)
  if distributed.is_lead():
    print((path / "sweep.md").read_text())
    print(f"{len(records)} runs: {path / 'sweep.html'}")


def run(config, path: str, axes: list[str]) -> list[dict]:
  """Runs every point of the grid; one record for each, best first."""
  root = pathlib.Path(path)
  grid = [from_config.parse_axis(config, axis) for axis in axes]
  points, records = [], []
  for values in itertools.product(*(values for _, values in grid)):
    point = dict(zip((key for key, _ in grid), values, strict=True))
    own = copy.deepcopy(config)
    own.update_from_flattened_dict(point)
    own.cache_dir = config.cache_dir or str(root / "cache")
    launch.settings_of(own)  # All are checked before the first one is run.
    points.append((point, own))
  for point, own in points:
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
    with contextlib.suppress(ImportError):  # Nothing to draw with.
      runs.write_runs(
        root / "sweep.html", runs.find_runs([root]), title="Sweep"
      )
  return records


def _plain(value) -> str:
  """A value as a word that can be part of a directory's name."""
  return str(value).replace("/", "_")


if __name__ == "__main__":
  terminal.run(main, required=("config", "workdir", "sweep"))
