"""Every notebook runs from top to bottom, and is stored with its outputs.

python tests/notebooks_test.py [NAME...]     runs them, and stores outputs
"""

import ast
import os
import pathlib
import sys

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

from visual_memory.data import array_source, selection, sources

COLABS = pathlib.Path(__file__).resolve().parents[1] / "colabs"
NOTEBOOKS = sorted(COLABS.glob("*.ipynb"))
MOST_BYTES = 500_000
SMALLER = {
  "cosine_decay_schedule(1e-3, 200)": "cosine_decay_schedule(1e-3, 40)",
  "range(200)": "range(40)",
  "range(0, len(pixels) - len(pixels) % 100, 100)": "range(0, 300, 100)",
  "num_images=24": "num_images=8",
  "num_images=6": "num_images=2",
  'tokens="patches", progress': 'tokens="patches", batch_size=8, progress',
  "num_programs=12, num_views=6": "num_programs=6, num_views=4",
  "dim=96, depth=4": "dim=96, depth=2",
}
"""What is less where all notebooks run; in a kernel they are as a reader's."""


def smaller(cell):
  """What a cell does, with less to do."""
  source = installed(cell)
  for much, less in SMALLER.items():
    source = source.replace(much, less)
  return source


def installed(cell):
  """A cell without its installation, which is for Colab."""
  lines = cell.source.splitlines()
  return "\n".join(line for line in lines if not line.startswith("%pip"))


def execute(notebook):
  """Runs a notebook in a kernel of its own, where the notebooks lie."""
  sources = [cell.source for cell in notebook.cells]
  for cell in notebook.cells:
    if cell.cell_type == "code":
      cell.source = installed(cell)
  NotebookClient(
    notebook,
    timeout=None,
    record_timing=False,
    resources={"metadata": {"path": str(COLABS)}},
  ).execute()
  for cell, source in zip(notebook.cells, sources, strict=True):
    cell.source = source
  return notebook


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request, data_file):
  if request.param.stem == "dual_memory":
    data_file("clip_bpe_simple_vocab_16e6.txt.gz")  # Or skip: it reads words.
  return nbformat.read(request.param, as_version=4)


@pytest.fixture
def few_digits(monkeypatch):
  """Every other scanned digit."""

  def few(**options):
    digits = array_source.digits(**options)
    return selection.subset(digits, np.arange(0, len(digits), 2))

  monkeypatch.setitem(sources.SOURCES, "digits", few)


def test_notebook_runs(
  notebook, on_one_device, few_digits, tmp_path, monkeypatch
):
  """As a kernel would run its cells, and show what they return."""
  monkeypatch.chdir(COLABS)
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
  monkeypatch.setenv("PYTHONPATH", str(COLABS.parent))
  monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
  shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
  shell.display_formatter.active_types = shell.display_formatter.format_types
  with plt.rc_context({"backend": "agg"}):
    for cell in notebook.cells:
      if cell.cell_type == "code":
        shell.run_cell(smaller(cell)).raise_error()
    plt.close("all")
  shell.reset(new_session=False)  # It is kept until Python ends.


def test_what_is_made_smaller_is_there():
  notebooks = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
  told = "".join(cell.source for found in notebooks for cell in found.cells)
  assert all(much in told for much in SMALLER)


@pytest.mark.slow
def test_notebook_runs_in_a_kernel(notebook):
  execute(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored(path):
  """A reader sees what comes out without running anything."""
  assert path.stat().st_size < MOST_BYTES
  text = path.read_text(encoding="utf-8")
  assert "colab-badge.svg" in text and f"colabs/{path.name})" in text
  notebook = nbformat.read(path, as_version=4)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  for cell in code:
    shown = ast.parse(cell.source.replace("%pip", "#")).body[-1:]
    value = shown and isinstance(shown[0], ast.Expr)
    if value and not cell.source.rstrip().endswith(";"):
      assert cell.outputs, f"nothing is stored for:\n{cell.source}"
    for output in cell.outputs:
      assert output.output_type != "error"
      assert output.get("name") != "stderr", output.text
  assert sum(bool(cell.outputs) for cell in code) >= len(code) / 3
  # Nothing of the machine where it ran.
  for part in (str(pathlib.Path.home()), str(COLABS.parent), "/tmp/"):
    assert part not in text, part


def main(names):
  """Runs notebooks, and stores them with their outputs."""
  os.environ["PYTHONPATH"] = str(COLABS.parent)
  for path in NOTEBOOKS:
    if names and path.stem not in names:
      continue
    try:
      notebook = execute(nbformat.read(path, as_version=4))
    except CellExecutionError as error:
      print(path, error)
      continue
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
      cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)
    print(path, path.stat().st_size)


if __name__ == "__main__":
  main(sys.argv[1:])
