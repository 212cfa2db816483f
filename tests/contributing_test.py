"""CONTRIBUTING's recipes, followed as they stand in a copy of the tree."""

import os
import pathlib
import re
import shutil

import processes

ROOT = pathlib.Path(__file__).resolve().parents[1]

_TRIED = """
import json
import numpy as np
import visual_memory as vm
from experiments import launch
from configs import nearness

source = vm.open_source("stripes", num_images=12)
encoder = vm.load_encoder("mean_color")
rows = vm.embed(encoder, source, progress=False)
assert rows.embeddings.shape == (12, 3), rows.embeddings.shape
memory = vm.VisualMemory.from_embedded(rows)
near = vm.search(rows.embeddings, memory, k=4, exclude_self=rows.ids)
votes = vm.vote(near, voter="nearest_half", ks=(4,))
assert votes.class_scores.sum(axis=-1).max() == 3
assert "stripes" in vm.list_sources() and "mean_color" in vm.list_encoders()
launch.run(nearness.get_config(), "work")
report = json.load(open("work/report.json"))
assert 0.5 < report["nearness"] <= 1, report["nearness"]
assert "Nearness" in open("work/report.html").read()
print("followed")
"""


def recipes():
  """(file, text) of every block that begins with a file's name."""
  text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
  yield from re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.S)


def test_every_recipe_works(tmp_path):
  for folder in ("visual_memory", "experiments", "configs"):
    shutil.copytree(
      ROOT / folder,
      tmp_path / folder,
      ignore=shutil.ignore_patterns("__pycache__", "results"),
    )
  followed = list(recipes())
  assert len(followed) == 7
  for name, text in followed:
    path = tmp_path / name
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    # What a script does when it is run stays at its end.
    head, run, tail = before.partition('\nif __name__ == "__main__":')
    path.write_text(f"{head}\n\n{text}{run}{tail}", encoding="utf-8")
  done = processes.python(
    "-c",
    _TRIED,
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"},
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert "followed" in done.stdout
