"""What needs no encoder starts without JAX: it is not even imported."""

import json
import pickle

import numpy as np
import processes
import pytest

import visual_memory as vm
from visual_memory.native import library

HEAVY = (
  "jax", "flax", "orbax", "scipy", "tensorstore", "sklearn", "pandas",
  "matplotlib", "pyarrow", "httpx", "starlette", "optax", "grain",
)  # fmt: skip

PROGRAM = """
import contextlib, io, json, os, sys
from visual_memory.cli import main
heavy, commands = json.load(sys.stdin)
for command in commands:
  out = io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
    try:
      code = main.main(command)
    except SystemExit as stop:
      code = stop.code
  assert code == 0, (command, out.getvalue())
  found = [name for name in heavy if name in sys.modules]
  assert not found, (command, found)
"""


def run(program, given):
  done = processes.python("-c", program, input=json.dumps(given))
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_commands_that_need_no_encoder_import_no_jax(tmp_path):
  rows = vm.embedded_set(
    np.eye(4, 8, dtype=np.float32),
    np.array([0, 0, 1, 1]),
    ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg"],
    class_names=["a", "b"],
    fingerprint="f",
  )
  about = {"encoder": {"name": "pixels"}, "preprocess": {}, "origins": [],
           "unfinished": False}  # fmt: skip
  store = vm.Store.create(tmp_path / "memory", rows, attributes=about)
  where = ["--store", store.path]
  table = str(tmp_path / "labels.csv")
  run(
    PROGRAM,
    [
      HEAVY,
      [
        ["--help"],
        ["--version"],
        ["info", *where],
        ["info", "--ids", "--json", *where],
        ["relabel", "a/1.jpg", "--to", "c", *where],
        ["remove", "b/1.jpg", "--later", *where],
        ["pending", *where],
        ["apply", "--yes", *where],
        ["remove", "a/0.jpg", *where],
        ["export", table, *where],
        ["import", table, "--dry-run", *where],
        ["verify", *where],
        ["compact", *where],
        ["remove", "--help"],
      ],
    ],
  )
  left = vm.Store.open(store.path)
  assert left.ids.tolist() == ["a/1.jpg", "b/0.jpg"]
  assert [left.class_names[label] for label in left.labels] == ["c", "b"]


def test_the_package_and_a_store_import_no_jax():
  program = """
import json, sys
import visual_memory as vm
heavy = json.load(sys.stdin)
vm.Store, vm.EmbeddedSet, vm.embedded_set, vm.Neighbors, vm.__version__, dir(vm)
print([name for name in heavy if name in sys.modules])
"""
  assert run(program, HEAVY) == "[]\n"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_first_search_on_the_host_compiles_nothing(precision):
  if library.functions() is None:
    pytest.skip("This machine has no compiled search.")
  program = """
import json, sys
import jax
import numpy as np
import visual_memory as vm
given = json.load(sys.stdin)
compiled = []
jax.monitoring.register_event_duration_secs_listener(
  lambda name, *_, **__: compiled.append(name) if "compile" in name else None
)
rows = vm.embedded_set(
  np.eye(9, 16, dtype=np.float32), np.arange(9), list("abcdefghi"),
  class_names=list("abcdefghi"), fingerprint="f",
)
memory = vm.VisualMemory.from_embedded(rows, precision=given["precision"])
near = vm.search(rows.embeddings[:3], memory, k=1)
print([name for name in given["heavy"] if name in sys.modules], compiled,
      near.ids.ravel().tolist())
"""
  given = {"heavy": ("scipy", "PIL", "flax"), "precision": precision}
  assert run(program, given) == "[] [] ['a', 'b', 'c']\n"


def test_what_jax_must_know_of_a_type_it_is_told_when_it_comes():
  program = """
import sys
import numpy as np
from visual_memory.types import Batch
assert "jax" not in sys.modules
import jax
batch = Batch(images=np.zeros((1, 2, 2, 3), np.float32), mask=np.ones(1, bool))
print(len(jax.tree.leaves(batch)))
"""
  assert run(program, None) == "2\n"


def test_arrays_are_known_with_and_without_jax():
  program = """
import sys
import numpy as np
from visual_memory.checks import Array
print(isinstance(np.zeros(2), Array), isinstance([0.0], Array))
import jax
print(isinstance(jax.numpy.zeros(2), Array), isinstance([0.0], Array))
"""
  assert run(program, None) == "True False\n" * 2


@pytest.mark.parametrize("name", vm.__all__)
def test_public_names_are_found_completed_and_picklable(name):
  value = getattr(vm, name)
  assert name in dir(vm)
  assert pickle.loads(pickle.dumps(value)) is value


def test_help_names_what_there_is(capsys):
  from visual_memory.cli import main

  for words, known in (
    (["build", "--help"], "dinov2_vits14"),
    (["classify", "--help"], "softmax"),
  ):
    with pytest.raises(SystemExit) as stop:
      main.main(words)
    assert stop.value.code == 0
    assert known in capsys.readouterr().out
  with pytest.raises(SystemExit) as stop:
    main.main(["classify", "x.jpg", "--voter", "loudest"])
  assert stop.value.code == 2
  assert "plurality" in capsys.readouterr().err
