"""Experiments: run one, and show what finished runs found."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import webbrowser

import visual_memory
from visual_memory.cli import commands, output
from visual_memory.cli.commands import command, option

_RUN = """\
  visual-memory run evaluate:smoke work/a        seconds, no download
  visual-memory run cifar10 work/b --config.voting.k=20"""
_SHOW = """\
  visual-memory show work/a work/b               two runs, side by side
  visual-memory show work/sweep --output sweep.html --no-open"""
_ROOT = pathlib.Path(visual_memory.__file__).resolve().parents[1]
_URL = "https://github.com/visual-memory/visual_memory"


@command(
  "run",
  option("name", metavar="NAME[:FORM]", help="of configs/NAME.py"),
  option("workdir", metavar="WORKDIR", help="where results go"),
  option(
    "overrides",
    metavar="--config.KEY=VALUE",
    nargs=argparse.REMAINDER,
    help="settings other than the config's",
  ),
  examples=_RUN,
  store=False,
)
def run(arguments: argparse.Namespace) -> int:
  """Run an experiment by the name of its config.

  Needs a clone of the repository, where experiments and configs are. Running a
  stopped one again continues it.
  """
  if not (_ROOT / "experiments" / "launch.py").is_file():
    raise FileNotFoundError(
      "Experiments and their configs come with the repository, not with this"
      f" installation: git clone {_URL}, then `pip install -e .` there, and the"
      " same command."
    )
  name, _, form = arguments.name.partition(":")
  config = f"configs/{name}.py"
  if not (_ROOT / config).is_file():
    there = sorted(file.stem for file in (_ROOT / "configs").glob("[a-z]*.py"))
    raise ValueError(f"There is no {config}; there are: {', '.join(there)}.")
  words = [
    f"--config={config}{form and ':' + form}",
    f"--workdir={os.path.abspath(arguments.workdir)}",
    *arguments.overrides,
  ]
  launch = [sys.executable, "-m", "experiments.launch", *words]
  return subprocess.run(launch, cwd=_ROOT, check=False).returncode


@command(
  "show",
  option(
    "workdirs",
    metavar="WORKDIR",
    nargs="+",
    help="of runs, or directories that hold several, such as a sweep's",
  ),
  commands.page,
  examples=_SHOW,
  store=False,
)
def show(arguments: argparse.Namespace) -> None:
  """Show finished runs side by side.

  Accuracies with their intervals, the settings that differ, and links to the
  reports, on one page.
  """
  from visual_memory.reports import runs

  found = runs.find_runs(arguments.workdirs)
  path = arguments.output
  if path is None:
    file, path = tempfile.mkstemp(prefix="runs-", suffix=".html")
    os.close(file)
  runs.write_runs(path, found)
  lines = runs.table(found).markdown().splitlines()
  output.show(
    arguments,
    {"page": os.path.abspath(path), "runs": [run.to_dict() for run in found]},
    "\n".join([*map(output.shown, lines), f"Page: {os.path.abspath(path)}"]),
  )
  if not arguments.no_open and not webbrowser.open(
    pathlib.Path(path).resolve().as_uri()
  ):
    output.say("No browser could be started: open the page yourself.")
