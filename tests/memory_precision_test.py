"""Which first pass "auto" is: what the machine is said to do fast."""

import jax
import jax.numpy as jnp
import memory_cases as cases
import numpy as np
import pytest

from visual_memory import distributed
from visual_memory.memory import coarse, precision, room
from visual_memory.native import library
from visual_memory.retrieval import exact

LARGE = {"capacity": precision.VNNI_ROWS, "dim": 384}


def choose(mesh, name="auto", **sizes):
  return precision.choose(name, mesh=mesh, **LARGE | sizes)


@pytest.mark.parametrize(
  "flags, native, expected",
  [
    ({"avx2"}, True, "int8"),
    ({"avx2"}, False, "float32"),
    ({"avx2", "avx512_vnni"}, False, "int8"),
    (set(), False, "float32"),
  ],
)
def test_what_a_cpu_does_fast(flags, native, expected, mesh, monkeypatch):
  monkeypatch.setattr(library, "instructions", lambda: frozenset(flags))
  monkeypatch.setattr(library, "functions", lambda: print if native else None)
  assert choose(mesh) == expected
  assert choose(mesh, capacity=20_000) == "float32"  # Of 31 MB: in a cache.
  assert choose(mesh, "bfloat16") == "bfloat16"
  monkeypatch.setattr(precision.jax, "process_count", lambda: 2)
  assert choose(mesh) == "float32"


def test_what_does_not_fit_is_not_chosen(mesh, monkeypatch):
  monkeypatch.setattr(library, "functions", lambda: print)
  each = room.row_bytes(LARGE["capacity"], 384, "int8") // mesh.size
  free = each * len(mesh.local_devices) + 10**7
  monkeypatch.setattr(room, "free_bytes", lambda device: free)
  assert choose(mesh) == "int8"
  monkeypatch.setattr(room, "free_bytes", lambda device: free - 3 * 10**7)
  assert choose(mesh) == "float32"


def test_a_precision_that_is_none_is_named(mesh):
  with pytest.raises(ValueError, match="'int4': choose one of .'auto', 'fl"):
    choose(mesh, "int4")
  with pytest.raises(ValueError, match="'int4': choose one of"):
    cases.memory_of(cases.random_rows(3, 4), mesh=mesh, precision="int4")


def test_auto_is_shown_and_changes_no_answer(monkeypatch):
  rows, queries = cases.random_rows(600, 32), cases.random_rows(5, 32, seed=1)
  plain = cases.memory_of(rows, precision="float32")
  monkeypatch.setattr(library, "functions", lambda: None)
  monkeypatch.setattr(library, "instructions", lambda: {"avx512_vnni"})
  monkeypatch.setattr(precision, "_CACHED_BYTES", 0)
  monkeypatch.setattr(precision, "VNNI_ROWS", 0)
  memory = cases.memory_of(rows, mesh=distributed.make_mesh(2))
  assert "int8 first pass" in repr(memory)
  cases.assert_same(
    exact.search(queries, memory, k=9), exact.search(queries, plain, k=9)
  )
  assert np.asarray(memory.rows.coarse.values).dtype == np.int8


def test_no_compiler_leaves_out_the_rounding_of_a_copy():
  # To bfloat16 and back is nothing at all to those that may be too precise, as
  # on a GPU: then no residual says what the copy lost, and answers are wrong.
  rows, scale = jnp.asarray(cases.random_rows(64, 16)), jnp.float32(1)
  program = jax.jit(coarse.coarsen, static_argnames="precision").lower(
    rows, scale, precision="bfloat16"
  )
  assert "reduce_precision" in program.as_text()
  copy = coarse.coarsen(rows, scale, "bfloat16")
  lost = np.asarray(copy.values, np.float64) - rows
  assert (np.linalg.norm(lost, axis=1) <= copy.residuals).all()
  assert (np.asarray(copy.residuals) > 1e-4).all()
