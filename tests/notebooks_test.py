"""Every notebook runs from top to bottom, and is stored with its outputs.

python tests/notebooks_test.py [NAME...]     runs them, and stores outputs
"""

import ast
import os
import pathlib
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

COLABS = pathlib.Path(__file__).resolve().parents[1] / "colabs"
NOTEBOOKS = sorted(COLABS.glob("*.ipynb"))
MOST_BYTES = 500_000


def execute(notebook):
  """Runs a notebook where this file lies, without its installation."""
  sources = [cell.source for cell in notebook.cells]
  for cell in notebook.cells:
    if cell.cell_type == "code":
      # Installation is for Colab; here the project is installed already.
      cell.source = "\n".join(
        line for line in cell.source.splitlines() if not line.startswith("%pip")
      )
  NotebookClient(
    notebook,
    timeout=None,
    record_timing=False,
    resources={"metadata": {"path": str(COLABS)}},
  ).execute()
  for cell, source in zip(notebook.cells, sources, strict=True):
    cell.source = source
  return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, data_file):
  if path.stem == "dual_memory":
    data_file("clip_bpe_simple_vocab_16e6.txt.gz")  # Or skip: it reads words.
  execute(nbformat.read(path, as_version=4))


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
