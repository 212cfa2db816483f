"""Neighbors of seeded rows, as kept in golden/neighbors.json by NumPy alone.

  PYTHONPATH=. python tests/retrieval_golden_test.py    # writes the file anew

The rows are quotients of whole numbers, the same on every processor: what is
found for them must be so too, whatever the first pass and the devices.
"""

import functools
import hashlib
import json
import pathlib

import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.native import library
from visual_memory.retrieval import exact, reference

GOLDEN = pathlib.Path(__file__).parent / "golden" / "neighbors.json"
NUM_ROWS, DIM, NUM_QUERIES, K = 2500, 48, 33, 25
NAMES = ("random", "clustered", "near-duplicates", "ties")


def unit(wholes):
  """Rows of length 1: every step of this is rounded alike everywhere."""
  squares = np.square(wholes.astype(np.int64)).sum(axis=1, keepdims=True)
  return (wholes / np.sqrt(squares.astype(np.float64))).astype(np.float32)


@functools.cache
def rows_and_queries(name):
  rng = np.random.default_rng([0, NAMES.index(name)])
  count = NUM_ROWS + NUM_QUERIES
  wholes = rng.integers(-5000, 5001, (count, DIM))
  if name != "random":
    size = {"clustered": 100, "near-duplicates": 7, "ties": 40}[name]
    noise = {"clustered": 2, "near-duplicates": 500, "ties": 0}[name]
    centers = wholes[: count // size][rng.integers(0, count // size, count)]
    wholes = centers + (wholes // noise if noise else 0)
  order = rng.permutation(count)
  rows = unit(wholes[order])
  return rows[:NUM_ROWS], rows[NUM_ROWS:]


def fingerprint(positions, similarities):
  digest = hashlib.sha256(np.asarray(positions, "<i4").tobytes())
  digest.update(np.asarray(similarities, "<f4").tobytes())
  return digest.hexdigest()


def golden(name):
  return json.loads(GOLDEN.read_text())[name]


def test_the_rows_are_those_of_the_file():
  for name in NAMES:
    found = reference.search(*reversed(rows_and_queries(name)), k=K)
    assert fingerprint(*found) == golden(name)


def check(devices, precision):
  for name in NAMES:
    rows, queries = rows_and_queries(name)
    memory = cases.memory_of(
      rows, mesh=distributed.make_mesh(devices), precision=precision
    )
    near = exact.search(queries, memory, k=K)
    assert fingerprint(near.indices, near.similarities) == golden(name), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "auto"])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_compiled_code_finds_the_same(devices, precision):
  if library.functions() is None:
    pytest.skip("no C++ compiler, or no AVX2")
  check(devices, precision)


@pytest.mark.parametrize(
  "devices, precision",
  [
    (2, "int8"),
    (2, "bfloat16"),  # Its second attempts are those of int8.
    (8, "float32"),
    pytest.param(1, "int8", marks=pytest.mark.slow),
    pytest.param(8, "int8", marks=pytest.mark.slow),
  ],  # fmt: skip
)
def test_xla_finds_the_same(devices, precision, by_xla):
  check(devices, precision)


if __name__ == "__main__":
  made = {}
  for kind in NAMES:
    found = reference.search(*reversed(rows_and_queries(kind)), k=K)
    made[kind] = fingerprint(*found)
  GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
