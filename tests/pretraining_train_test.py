"""Training: learning, resuming, devices, feeds, signals, bad checkpoints."""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pretraining_process
import pytest

from visual_memory import checkpoints, distributed
from visual_memory.data.array_source import array_source, digits
from visual_memory.data.decoding import UnreadableImage
from visual_memory.pretraining import feeds, knn, meter, pools, step
from visual_memory.pretraining import train as train_lib

ROOT = pathlib.Path(__file__).parent.parent
COMMAND = (sys.executable, str(ROOT / "tests" / "pretraining_process.py"))
# As here: the number of threads, and so rounding, depends on the devices.
ENV = {
  "JAX_PLATFORMS": "cpu",
  "JAX_NUM_CPU_DEVICES": str(jax.device_count()),
  "PYTHONPATH": str(ROOT),
}
NUM_STEPS = pretraining_process.NUM_STEPS
EVERY = {"log_every": 1, "save_every": 2, "evaluate_every": 4}


def run(recipe, feed, directory, *, mesh=None, log=None, evaluate=None):
  lines = []
  state = train_lib.train(
    recipe, feed, directory=directory, log=log or (lambda **v: lines.append(v)),
    mesh=mesh or distributed.make_mesh(1), evaluate=evaluate, **EVERY,
  )  # fmt: skip
  return jax.device_get(state), lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """An undisturbed run: recipe, feed, final state, lines, directory."""
  recipe, feed = pretraining_process.make()
  directory = tmp_path_factory.mktemp("whole")
  state, lines = run(recipe, feed, directory)
  return recipe, feed, state, lines, directory


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for path, leaf in jax.tree_util.tree_leaves_with_path(a):
    other = dict(jax.tree_util.tree_leaves_with_path(b))[path]
    np.testing.assert_array_equal(leaf, other, jax.tree_util.keystr(path))


def test_lines_say_loss_entropy_and_speed(whole):
  recipe, _, state, lines, _ = whole
  assert int(state["step"]) == NUM_STEPS == len(lines)
  most = np.log(recipe.head.prototypes)
  # The first step compiles: it has no speed.
  assert "images_per_s" not in lines[0]
  for line in lines[1:]:
    assert {"images_per_s", "tflops_per_s"} <= set(line)
  for line in lines:
    assert {"loss", "momentum"} <= set(line)
    assert 0 < line["teacher_entropy"] <= line["batch_entropy"] <= most + 1e-4
  assert lines[0]["learning_rate"] == 0
  assert lines[1]["learning_rate"] == pytest.approx(1e-3)


def test_the_teacher_follows_the_student(whole):
  recipe, _, state, _, _ = whole
  first = jax.device_get(step.init_state(recipe, distributed.make_mesh(1)))
  for name in ("student", "teacher"):
    moved = jax.tree.map(
      lambda a, b: np.abs(a - b).max(), first[name], state[name]
    )
    assert max(jax.tree.leaves(moved)) > 0
  distance = jax.tree.map(
    lambda s, t, f: np.abs(s - f).sum() - np.abs(t - f).sum(),
    state["student"], state["teacher"], first["student"],
  )  # fmt: skip
  assert sum(jax.tree.leaves(distance)) > 0


def test_a_killed_run_ends_with_the_same_bits(whole, tmp_path):
  """SIGKILL after some checkpoint, then the same call again, here."""
  recipe, feed, expected, _, _ = whole
  process = subprocess.Popen(
    [*COMMAND, str(tmp_path), str(NUM_STEPS)], cwd=ROOT,
    env={**os.environ, **ENV},
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  last = tmp_path / "checkpoints" / "last"
  deadline = time.monotonic() + 3600  # It may be paused meanwhile.
  while checkpoints.latest(last) is None:
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  process.wait()
  state, lines = run(recipe, feed, tmp_path)
  assert_equal(state, expected)
  assert len(lines) < NUM_STEPS


def test_sigterm_saves_and_the_rest_is_the_same(whole, tmp_path):
  recipe, feed, expected, _, _ = whole

  def log(**values):
    if values["step"] == 3:
      os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(train_lib.Preempted, match="step 3"):
    run(recipe, feed, tmp_path, log=log)
  assert checkpoints.latest(tmp_path / "checkpoints" / "last").name == "3"
  state, lines = run(recipe, feed, tmp_path)
  assert lines[0]["step"] == 4
  assert_equal(state, expected)


def test_a_finished_run_is_not_run_again(whole):
  recipe, feed, expected, _, directory = whole
  state, lines = run(recipe, feed, directory)
  assert lines == []
  assert_equal(state, expected)


def steps(recipe, feed, devices, count=2):
  """The state and metrics after a few steps on so many devices."""
  mesh = distributed.make_mesh(devices)
  state = step.init_state(recipe, mesh)
  advance = step.make_step(recipe, mesh)
  batches = feed.batches(0, mesh, rows=step.num_rows(recipe, mesh))
  for _ in range(count):
    batch = next(batches)
    state, metrics = advance(state, batch.images, batch.labels, batch.aspects)
  return jax.device_get((state, metrics))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
  ("objective", "devices"),
  [
    ("contrastive", 3),  # A batch of 16 is filled up.
    pytest.param("contrastive", 8, marks=SLOW),
    pytest.param("dino", 3, marks=SLOW),
    pytest.param("dino", 8, marks=SLOW),
  ],
)
def test_any_devices_and_micro_batches_agree_with_one(
  whole, objective, devices
):
  """Rounding may differ; the data, the views and the loss may not."""
  recipe, feed, _, _, _ = whole
  recipe = dataclasses.replace(recipe, objective=objective)
  # With DINO two parts are one.
  parts = 2 if objective == "dino" else 1
  split = dataclasses.replace(recipe, micro_batches=parts, remat=True)
  one = steps(recipe, feed, 1)
  other = steps(split, feed, devices)
  # Adam divides by the root of small squares, which magnifies rounding.
  for a, b in zip(
    jax.tree.leaves(one[0]["student"]),
    jax.tree.leaves(other[0]["student"]),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, atol=2e-4)
  np.testing.assert_allclose(one[1]["loss"], other[1]["loss"], rtol=1e-6)
  if objective == "dino":
    np.testing.assert_allclose(one[0]["center"], other[0]["center"], atol=1e-6)


@pytest.mark.parametrize(
  "parts",
  [
    [(2, 3), (1, NUM_STEPS)],
    pytest.param([(8, 3), (3, 6), (1, NUM_STEPS)], marks=SLOW),
  ],
  ids=["two then one", "eight then three then one"],
)
def test_a_run_goes_on_with_other_devices_and_another_log(
  whole, tmp_path, parts
):
  recipe, feed, expected, _, _ = whole
  for devices, stop in parts:
    seen = []

    def log(stop=stop, seen=seen, **values):
      seen.append(values["step"])
      if values["step"] == stop < NUM_STEPS:
        os.kill(os.getpid(), signal.SIGTERM)

    arguments = dict(mesh=distributed.make_mesh(devices), log=log)
    if stop < NUM_STEPS:
      with pytest.raises(train_lib.Preempted, match=f"step {stop}"):
        run(recipe, feed, tmp_path, **arguments)
    else:
      state, _ = run(recipe, feed, tmp_path, **arguments)
  assert seen == list(range(parts[-2][1] + 1, NUM_STEPS + 1))
  np.testing.assert_allclose(state["center"], expected["center"], atol=1e-4)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, tmp_path):
  recipe, feed, expected, _, directory = whole
  shutil.copytree(directory, tmp_path / "copy")
  last = tmp_path / "copy" / "checkpoints" / "last"
  assert sorted(path.name for path in last.iterdir()) == ["6", "8"]
  largest = max(
    (path for path in (last / "8").rglob("*") if path.is_file()),
    key=lambda path: path.stat().st_size,
  )
  data = bytearray(largest.read_bytes())
  data[len(data) // 2] ^= 64
  largest.write_bytes(data)
  with pytest.warns(UserWarning, match="damaged.*goes on from step 6"):
    state, lines = run(recipe, feed, tmp_path / "copy")
  assert [line["step"] for line in lines] == [7, 8]
  assert_equal(state, expected)


def test_what_is_damaged_is_told_in_one_line(whole, monkeypatch):
  def torn():
    raise OSError("torn\n" * 200)

  monkeypatch.setattr(checkpoints, "_checkpointer", torn)
  with pytest.raises(checkpoints.Damaged, match=" is damaged: torn") as told:
    checkpoints.restore(whole[-1] / "checkpoints" / "last" / "8", whole[2])
  assert len(str(told.value)) < 500 and "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["run.json", "best.json"])
def test_a_torn_file_of_a_run_is_named(whole, tmp_path, name):
  recipe, feed, _, _, directory = whole
  copy = tmp_path / "copy"
  shutil.copytree(directory, copy)
  if name == "best.json":  # The last step is done anew, and scored.
    shutil.rmtree(copy / "checkpoints" / "last" / "8")
  (copy / name).write_text('{"step": 4, "sc')
  with pytest.raises(ValueError, match=name):
    run(recipe, feed, copy, evaluate=lambda params: {"score": 0.5})


def test_another_recipe_or_feed_is_refused_with_its_differences(whole):
  recipe, feed, _, _, directory = whole
  other = dataclasses.replace(recipe, temperature=0.2)
  with pytest.raises(ValueError, match=r"recipe.temperature: 0.1 -> 0.2"):
    run(other, feed, directory)
  fewer = dataclasses.replace(feed, identity={**feed.identity, "size": 8})
  with pytest.raises(ValueError, match=r"feed.size: 16 -> 8"):
    run(recipe, fewer, directory)


def test_a_checkpoint_of_another_architecture_is_one_clear_error(whole):
  recipe, _, _, _, directory = whole
  wider = dataclasses.replace(
    recipe, backbone=dataclasses.replace(recipe.backbone, dim=48)
  )
  with pytest.raises(ValueError, match=r"holds another tree.*expected"):
    train_lib.restore_state(
      wider, directory, kind="last", mesh=distributed.make_mesh(1)
    )


def test_evaluation_keeps_the_best(whole, tmp_path):
  recipe, feed, _, _, _ = whole
  scores = iter([0.5, 0.25])
  seen = []

  def evaluate(params):
    seen.append(jax.tree.leaves(params)[0].shape)
    return {"score": next(scores)}

  _, lines = run(recipe, feed, tmp_path, evaluate=evaluate)
  assert [line["score"] for line in lines if "score" in line] == [0.5, 0.25]
  assert checkpoints.latest(tmp_path / "checkpoints" / "best").name == "4"
  best = train_lib.restore_state(
    recipe, tmp_path, kind="best", mesh=distributed.make_mesh(1)
  )
  assert int(best["step"]) == 4
  assert json.loads((tmp_path / "best.json").read_text())["score"] == 0.5


def test_knn_evaluation_scores_tuning_rows(whole):
  recipe, _, state, _, _ = whole
  mesh = distributed.make_mesh(1)
  evaluate = knn.knn_evaluation(
    recipe, digits(split="test"), ks=(1, 10), mesh=mesh
  )
  scores = evaluate(state["teacher"]["backbone"])
  # An untrained network tells many digits apart; chance is 10 %.
  assert 0.3 < scores["knn_1"] <= scores["score"] == max(scores.values()) <= 1


def test_a_loss_that_is_not_finite_ends_the_run(whole):
  recipe, _, _, _, _ = whole
  counter = meter.Meter(recipe, distributed.make_mesh(1))
  counter.add({"loss": jnp.float32(jnp.nan)})
  with pytest.raises(FloatingPointError, match="learning rate"):
    counter.line()


def test_the_order_is_a_function_of_seed_and_step(whole):
  _, feed, _, _, _ = whole
  mesh = distributed.make_mesh(8)
  batches = feed.batches(0, mesh, rows=16)
  first = [np.asarray(next(batches).images) for _ in range(6)]
  again = feed.batches(5, distributed.make_mesh(1), rows=16)
  np.testing.assert_array_equal(next(again).images, first[5])
  # Four batches of 16 are an epoch of 64: every image once.
  epoch = np.concatenate(first[:4])
  assert len({image.tobytes() for image in epoch}) == 64
  assert first[4].tobytes() != first[0].tobytes()


def test_groups_of_a_class_stay_together(whole):
  _, feed, _, _, _ = whole
  grouped = dataclasses.replace(feed, group=2)
  order = grouped.order(3)
  assert sorted(order) == list(range(64))
  labels = feed.source.labels[order].reshape(-1, 2)
  assert (labels[:, 0] == labels[:, 1]).all()
  assert not np.array_equal(order, grouped.order(4))


def test_unreadable_images_are_replaced_and_reported(whole):
  _, feed, _, _, _ = whole

  class Broken:
    labels, ids = feed.source.labels, feed.source.ids
    class_names, fingerprint = feed.source.class_names, "broken"

    def __len__(self):
      return 64

    def __getitem__(self, row):
      if row == 5:
        raise UnreadableImage("5", "torn")
      return feed.source[row]

  batches = dataclasses.replace(feed, source=Broken()).batches(
    0, distributed.make_mesh(1), rows=16
  )
  found = [next(batches) for _ in range(4)]
  skipped = [image for batch in found for image in batch.skipped]
  assert [image.id for image in skipped] == ["5"]
  assert all((np.asarray(b.images).max((1, 2, 3)) > 0).all() for b in found)


def test_procedural_feed_draws_by_step_on_any_mesh():
  @functools.partial(jax.jit, static_argnames="mesh")
  def draw(keys, ids, *, mesh):
    del mesh
    noise = jax.vmap(
      lambda k, i: jax.random.bits(jax.random.fold_in(k, i), (4, 4, 3))
    )(keys, ids)
    return noise.astype(jnp.uint8)

  feed = feeds.procedural_feed(
    draw, identity={}, batch_size=16, num_programs=1000, group=2, seed=0
  )
  one = next(feed.batches(3, distributed.make_mesh(1), rows=16))
  eight = next(feed.batches(3, distributed.make_mesh(8), rows=16))
  three = next(feed.batches(3, distributed.make_mesh(3), rows=18))
  np.testing.assert_array_equal(one.images, eight.images)
  np.testing.assert_array_equal(one.images, three.images[:16])
  np.testing.assert_array_equal(one.labels[:8], one.labels[8:])
  assert not np.array_equal(one.images[:8], one.images[8:])
  with pytest.raises(ValueError, match="groups of 3"):
    feeds.procedural_feed(
      draw, identity={}, batch_size=16, num_programs=9, group=3, seed=0
    )


def test_mixtures_of_a_pool_are_new_at_every_step_on_any_mesh():
  pictures = np.random.default_rng(0).integers(
    0, 256, (20, 8, 8, 3), dtype=np.uint8
  )
  feed = pools.mixed_feed(
    pictures, identity={}, family="mixup", batch_size=4, seed=0
  )
  one = feed.batches(2, distributed.make_mesh(1), rows=4)
  first, second = next(one), next(one)
  two = next(feed.batches(2, distributed.make_mesh(2), rows=6))
  np.testing.assert_array_equal(first.images, two.images[:4])
  assert not np.array_equal(first.images, second.images)
  # Each is the mean of its own picture and of one other of the pool.
  for image, label in zip(first.images, first.labels, strict=True):
    means = (pictures[int(label)].astype(int) + pictures) / 2
    assert np.abs(means - np.asarray(image)).max((1, 2, 3)).min() <= 0.5
  with pytest.raises(ValueError, match="'dead_leaves' is not made of shaders"):
    pools.mixed_feed(
      pictures, identity={}, family="dead_leaves", batch_size=4, seed=0
    )


def test_views_are_cropped_from_the_whole_picture():
  """A wide picture is squeezed, and its boxes are squeezed alike."""
  wide = np.zeros((8, 32, 3), np.uint8)
  wide[:, 24:] = 255  # What a central square would lose.
  source = array_source(
    np.stack([wide] * 4), np.zeros(4, int), ids=list("abcd"), class_names=["0"],
    fingerprint="wide",
  )  # fmt: skip
  feed = feeds.source_feed(source, size=16, batch_size=4, seed=0, group=1)
  batch = next(feed.batches(0, distributed.make_mesh(1), rows=4))
  assert batch.images.dtype == jnp.uint8
  np.testing.assert_array_equal(batch.aspects, 4.0)
  assert (np.asarray(batch.images)[:, :, 14:] > 200).all()


@pytest.mark.slow
def test_two_hundred_steps_learn_without_collapse_and_survive_a_kill(tmp_path):
  recipe, feed = pretraining_process.make(200)
  expected, lines = run(recipe, feed, tmp_path / "whole")
  losses = [line["loss"] for line in lines]
  assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.5
  # No collapse: the teacher prefers something, and not always the same.
  most = np.log(recipe.head.prototypes)
  assert lines[-1]["teacher_entropy"] < 0.95 * most
  assert lines[-1]["batch_entropy"] > lines[-1]["teacher_entropy"] + 0.5
  process = subprocess.Popen(
    [*COMMAND, str(tmp_path / "cut"), "200"],
    cwd=ROOT,
    env={**os.environ, **ENV},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  last = tmp_path / "cut" / "checkpoints" / "last"
  while not (found := checkpoints.latest(last)) or int(found.name) < 50:
    assert process.poll() is None
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.wait()
  state, _ = run(recipe, feed, tmp_path / "cut")
  assert_equal(state, expected)
