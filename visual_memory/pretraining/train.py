"""The training loop: any recipe, any feed, any mesh; stopped and resumed.

  state = train(
    recipe, feed, directory="runs/1", mesh=make_mesh(), log=jsonl_log(path),
    evaluate=None, log_every=50, save_every=1000, evaluate_every=5000,
  )

Running the same call again continues from the last checkpoint, bit for bit as
if nothing had happened. SIGTERM saves and ends with `Preempted`.
"""

import contextlib
import json
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from visual_memory import checkpoints, distributed
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

  Raises:
    ValueError: the directory is of another recipe or feed: lists every
      difference.
    FloatingPointError: the loss is not finite any more.
    Preempted: SIGTERM came.
  """
  directory = pathlib.Path(directory)
  _claim(directory, {"recipe": recipe.to_dict(), "feed": feed.identity})
  run = _Run(recipe, directory, mesh, log, evaluate)
  num_steps = recipe.optimizer.num_steps
  with run.rolling, _stop_signal() as stopped:
    state = run.state
    done = int(state["step"])
    advance = step_lib.make_step(recipe, mesh)
    batches = feed.batches(done, mesh) if done < num_steps else ()
    for batch in batches:
      for image in batch.skipped:
        log(step=done, skipped=image.id, reason=image.reason)
      state, metrics = advance(state, batch.images, batch.labels)
      run.meter.add(metrics)
      done += 1
      is_last = done == num_steps
      if done % log_every == 0 or is_last:
        log(step=done, **run.meter.line())
      if evaluate and (done % evaluate_every == 0 or is_last):
        run.evaluate(state, done)
      told = stopped() if _may_ask(done, log_every) else False
      if done % save_every == 0 or is_last or told:
        run.save("last", state, done)
      if told and not is_last:
        run.rolling.wait()
        raise Preempted(f"Stopped at step {done}, which is saved.")
      if is_last:
        break
  return state


def restore_state(
  recipe: Recipe, directory: str | os.PathLike, *, kind: str, mesh: Mesh
) -> State | None:
  """The newest checkpoint of a run on a mesh; None if there is none.

  Args:
    recipe: of the run.
    directory: that of `train`.
    kind: "last", or "best": of the highest score.
    mesh: where to put it.

  Raises:
    ValueError: the checkpoint is of another architecture; lists what differs.
  """
  path = checkpoints.latest(
    pathlib.Path(directory).absolute() / "checkpoints" / kind
  )
  if path is None:
    return None
  shapes = jax.eval_shape(lambda: step_lib.init_state(recipe, mesh))
  everywhere = distributed.replicated(mesh)
  template = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    shapes,
  )
  return checkpoints.restore(path, template)


class _Run:
  """What the loop carries beside its state."""

  def __init__(self, recipe, directory, mesh, log, evaluate):
    state = restore_state(recipe, directory, kind="last", mesh=mesh)
    self.state = step_lib.init_state(recipe, mesh) if state is None else state
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
        found = json.loads(self._best_path.read_text(encoding="utf-8"))
        # What a killed run scored after its last checkpoint comes again.
        best = found["score"] if found["step"] < done else -1.0
      if scores["score"] > best:
        self.rolling.save("best", done, state)
        if distributed.is_lead():
          self._best_path.write_text(
            json.dumps({"step": done, **scores}), encoding="utf-8"
          )

  def save(self, kind: str, state: State, done: int) -> None:
    """Begins to write a checkpoint."""
    with self._pause():
      self.rolling.save(kind, done, state)

  @contextlib.contextmanager
  def _pause(self) -> Iterator[None]:
    start_s = time.monotonic()
    yield
    self.meter.paused(time.monotonic() - start_s)


def _claim(directory: pathlib.Path, run: dict[str, Any]) -> None:
  """Writes what a directory is for, or compares.

  Raises:
    ValueError: it is for something else.
  """
  path = directory / _RUN
  if path.exists():
    changes = differences(json.loads(path.read_text(encoding="utf-8")), run)
    if changes:
      raise ValueError(
        f"{directory} holds another run; choose another directory, or undo:\n  "
        + "\n  ".join(changes)
      )
  elif distributed.is_lead():
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=2), encoding="utf-8")


def _may_ask(done: int, log_every: int) -> bool:
  """Whether processes compare their signals now: every step if there is one."""
  return jax.process_count() == 1 or done % log_every == 0


@contextlib.contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
  """A function that says whether any process got SIGTERM."""
  received = []

  def told() -> bool:
    return not distributed.everyone(not received)

  try:
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(True))
  except ValueError:  # Not in the main thread: whoever calls handles signals.
    yield told
    return
  try:
    yield told
  finally:
    signal.signal(signal.SIGTERM, before)
