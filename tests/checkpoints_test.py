"""Checkpoints: what is saved comes back, or one error says why not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from visual_memory import checkpoints, distributed


def _tree():
  return {
    "blocks": {index: {"k": np.full((2, 3), index, "f")} for index in (0, 10)},
    "half": jnp.arange(4, dtype=jnp.bfloat16),
    "pair": (np.arange(5), np.float64(0.1)),
    "step": 7,
    "nothing": None,
  }


def test_every_kind_of_leaf_comes_back_exactly(tmp_path):
  tree = _tree()
  checkpoints.save(tmp_path / "c", tree)
  template = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype),
    tree,
  )
  restored = checkpoints.restore(tmp_path / "c", template)
  assert jax.tree.structure(restored) == jax.tree.structure(tree)
  for mine, its in zip(
    jax.tree.leaves(tree), jax.tree.leaves(restored), strict=True
  ):
    assert isinstance(its, (np.ndarray, np.generic))
    np.testing.assert_array_equal(np.asarray(mine), its, strict=True)


def test_a_sharded_leaf_comes_back_where_the_template_says(tmp_path, mesh):
  rows = np.arange(16, dtype=np.float32).reshape(8, 2)
  saved = distributed.shard_rows(rows, mesh)
  checkpoints.save(tmp_path / "c", {"rows": saved})
  everywhere = distributed.replicated(mesh)
  template = jax.ShapeDtypeStruct(rows.shape, rows.dtype, sharding=everywhere)
  restored = checkpoints.restore(tmp_path / "c", {"rows": template})["rows"]
  assert restored.sharding == everywhere
  np.testing.assert_array_equal(restored, rows)
  same = checkpoints.restore(tmp_path / "c", {"rows": saved})["rows"]
  assert same.sharding == saved.sharding


def test_a_tree_that_differs_is_reported_whole(tmp_path):
  checkpoints.save(tmp_path / "c", {"a": np.zeros(3, "f"), "b": {"c": 1.5}})
  template = {"a": np.zeros(4, "f"), "b": {"d": 1.5}}
  with pytest.raises(ValueError) as error:
    checkpoints.restore(tmp_path / "c", template)
  for part in (
    "missing: b/d",
    "unexpected: b/c",
    "a is float32[3], expected float32[4]",
  ):
    assert part in str(error.value)


def test_a_checkpoint_is_replaced_only_on_request(tmp_path):
  checkpoints.save(tmp_path / "c", {"a": 1})
  with pytest.raises(ValueError, match="already holds a checkpoint"):
    checkpoints.save(tmp_path / "c", {"a": 2})
  checkpoints.save(tmp_path / "c", {"a": 2}, overwrite=True)
  assert checkpoints.restore(tmp_path / "c", {"a": 0})["a"] == 2


@pytest.mark.parametrize("tree", [{}, {"a": np.zeros((0, 3))}])
def test_nothing_to_save_is_an_error_before_the_first_write(tmp_path, tree):
  with pytest.raises(ValueError, match="nothing to save|empty array"):
    checkpoints.save(tmp_path / "c", tree)
  assert not (tmp_path / "c").exists()


def test_latest_is_the_largest_finished_step(tmp_path):
  assert checkpoints.latest(tmp_path / "absent") is None
  assert checkpoints.latest(tmp_path) is None
  for step in (2, 10):
    checkpoints.save(tmp_path / str(step), {"step": step})
  (tmp_path / "30").mkdir()  # Begun, never finished.
  assert checkpoints.latest(tmp_path).name == "10"
  with pytest.raises(ValueError, match="not a finished checkpoint"):
    checkpoints.restore(tmp_path / "30", {"step": 0})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _State:
  params: dict
  step: jax.Array


def test_dataclasses_are_trees_too(tmp_path):
  state = _State(params={"w": jnp.ones(2)}, step=jnp.asarray(3))
  checkpoints.save(tmp_path / "c", state)
  restored = checkpoints.restore(tmp_path / "c", state)
  assert isinstance(restored, _State) and restored.step == 3
