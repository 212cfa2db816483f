"""The training loop: any recipe, any feed, any mesh; stopped and resumed.

  state = train(
    recipe, feed, directory="runs/1", mesh=make_mesh(), log=jsonl_log(path),
    evaluate=None, log_every=50, save_every=1000, evaluate_every=5000,
  )

Running the same call again continues from the last checkpoint, bit for bit as
if nothing had happened; what only logs, saves or evaluates may be changed, and
the number of devices too. SIGTERM ends with `Preempted` once the step that is
being computed is done and saved.
"""

import contextlib
import hashlib
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from visual_memory import checkpoints, distributed, files
from visual_memory.pretraining import step as step_lib
from visual_memory.pretraining.feeds import Feed
from visual_memory.pretraining.meter import Log, Meter
from visual_memory.pretraining.recipe import Recipe, differences
from visual_memory.pretraining.step import State

Evaluate = Callable[[Any], dict[str, float]]
"""From the params of a teacher's backbone to metrics; "score" ranks them."""

_RUN, _BEST = "run.json", "best.json"


class Preempted(SystemExit):
  """The run was told to stop, and saved what it had; run it again."""


def train(
  recipe: Recipe,
  feed: Feed,
  *,
  directory: str | os.PathLike,
  mesh: Mesh,
  log: Log,
  evaluate: Evaluate | None,
  log_every: int,
  save_every: int,
  evaluate_every: int,
  first_backbone: Any = None,
) -> State:
  """The state after recipe.optimizer.num_steps steps.

  Args:
    recipe: what to compute.
    feed: the images.
    directory: of checkpoints; holds those of an earlier, stopped call.
    mesh: the devices.
    log: gets lines of metrics.
    evaluate: scores the teacher's backbone; the best one is kept too.
    log_every: steps between lines of metrics.
    save_every: steps between checkpoints.
    evaluate_every: steps between evaluations; the last step has one.
    first_backbone: params of the recipe's transformer to begin with, of student
      and teacher alike; random ones by default.

  Raises:
    ValueError: the directory is of another recipe or feed: lists every
      difference.
    FloatingPointError: the loss is not finite any more.
    Preempted: SIGTERM came.
  """
  directory = pathlib.Path(directory)
  claim = {"recipe": recipe.to_dict(), "feed": feed.identity}
  if first_backbone is not None:
    claim["first_backbone"] = _fingerprint(first_backbone)
  _claim(directory, claim)
  run = _Run(recipe, directory, mesh, log, evaluate, first_backbone)
  num_steps = recipe.optimizer.num_steps
  with run.rolling, _stop_signal(mesh) as stopped:
    state = run.state
    done = int(state["step"])
    advance = step_lib.make_step(recipe, mesh)
    rows = step_lib.num_rows(recipe, mesh)
    batches = iter(
      feed.batches(done, mesh, rows=rows) if done < num_steps else ()
    )
    while done < num_steps:
      with run.meter.feeding() as fed:
        batch = next(batches)
        fed(batch.images)
      for image in batch.skipped:
        log(step=done, skipped=image.id, reason=image.reason)
      state, metrics = advance(state, batch.images, batch.labels, batch.aspects)
      done += 1
      # Waits for the step before: two are on their way at most, so that no
      # signal and no error waits for a long queue.
      run.meter.add(metrics)
      is_last = done == num_steps
      if done % log_every == 0 or is_last:
        log(step=done, **run.meter.line())
      if evaluate and (done % evaluate_every == 0 or is_last):
        run.evaluate(state, done)
      told = stopped()
      if done % save_every == 0 or is_last or told:
        run.save("last", state, done)
      if told and not is_last:
        run.rolling.wait()
        raise Preempted(f"Stopped at step {done}, which is saved.")
  return state


def restore_state(
  recipe: Recipe, directory: str | os.PathLike, *, kind: str, mesh: Mesh
) -> State | None:
  """The newest whole checkpoint of a run on a mesh; None if there is none.

  Args:
    recipe: of the run.
    directory: that of `train`.
    kind: "last", or "best": of the highest score.
    mesh: where to put it.

  Raises:
    ValueError: the checkpoint is of another architecture; lists what differs.
  """
  shapes = jax.eval_shape(lambda: step_lib.init_state(recipe, mesh))
  everywhere = distributed.replicated(mesh)
  template = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    shapes,
  )
  return checkpoints.restore_newest(
    pathlib.Path(directory).absolute() / "checkpoints" / kind, template
  )


class _Run:
  """What the loop carries beside its state."""

  def __init__(self, recipe, directory, mesh, log, evaluate, first_backbone):
    state = restore_state(recipe, directory, kind="last", mesh=mesh)
    if state is None:
      state = step_lib.init_state(recipe, mesh)
      if first_backbone is not None:
        for name in ("student", "teacher"):
          # Apart: a step uses up its arguments.
          state[name]["backbone"] = jax.device_put(
            jax.tree.map(np.array, first_backbone), distributed.replicated(mesh)
          )
    self.state = state
    self.rolling = checkpoints.Rolling(directory / "checkpoints")
    self.meter = Meter(recipe, mesh)
    self._best_path = directory / _BEST
    self._log = log
    self._evaluate = evaluate

  def evaluate(self, state: State, done: int) -> None:
    """Scores the teacher, and keeps it if it is the best so far."""
    with self._pause():
      scores = self._evaluate(state["teacher"]["backbone"])
      self._log(step=done, **scores)
      best = -1.0
      if self._best_path.exists():
        found = files.read_json(self._best_path)
        # What a killed run scored after its last checkpoint comes again.
        best = found["score"] if found["step"] < done else -1.0
      if scores["score"] > best:
        self.rolling.save("best", done, state)
        if distributed.is_lead():
          files.write_json(self._best_path, {"step": done, **scores})

  def save(self, kind: str, state: State, done: int) -> None:
    """Begins to write a checkpoint."""
    with self._pause():
      self.rolling.save(kind, done, state)

  @contextlib.contextmanager
  def _pause(self) -> Iterator[None]:
    start_s = time.monotonic()
    yield
    self.meter.paused(time.monotonic() - start_s)


def _fingerprint(params: Any) -> str:
  """Of params, by name and value."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    digest.update(jax.tree_util.keystr(path).encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:16]


def _claim(directory: pathlib.Path, run: dict[str, Any]) -> None:
  """Writes what a directory is for, or compares.

  Raises:
    ValueError: it is for something else.
  """
  path = directory / _RUN
  if path.exists():
    changes = differences(files.read_json(path), run)
    if changes:
      raise ValueError(
        f"{directory} holds another run; choose another directory, or undo:\n  "
        + "\n  ".join(changes)
      )
  elif distributed.is_lead():
    directory.mkdir(parents=True, exist_ok=True)
    files.write_json(path, run)


@contextlib.contextmanager
def _stop_signal(mesh: Mesh) -> Iterator[Callable[[], bool]]:
  """A function that says, once a step, whether any process got SIGTERM.

  All processes of a run must stop at the same step. Each hands in what it
  knows as an array that the devices add up behind the step they are at, and
  reads what was handed in a step ago: nobody waits for anybody.
  """
  received, asked = [], []
  rows = distributed.row_sharding(mesh)
  anyone = jax.jit(jnp.any, out_shardings=distributed.replicated(mesh))

  def told() -> bool:
    if jax.process_count() == 1:
      return bool(received)
    mine = np.full(mesh.size, bool(received))
    asked.append(
      anyone(jax.make_array_from_callback(mine.shape, rows, mine.__getitem__))
    )
    return len(asked) > 1 and bool(asked.pop(0))

  try:
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
  except ValueError:  # Not in the main thread: whoever calls handles signals.
    yield told
    return
  try:
    yield told
  finally:
    signal.signal(signal.SIGTERM, before)
