"""What a run logs: means since the last line, speed, and where it goes."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.pretraining import cost
from visual_memory.pretraining.recipe import Recipe
from visual_memory.progress import duration

Log = Callable[..., None]
"""Called with step=... and metrics by name."""


class Meter:
  """Collects the metrics of steps, one step behind the devices.

  Speed is that of whole steps, data included, without compilation: the clock
  starts when the first step is done. One step in each line is timed by itself:
  the devices are let run empty, then its batch is waited for, then the step.
  """

  def __init__(self, recipe: Recipe, mesh: Mesh):
    """No step is done yet."""
    self._flops = cost.step_flops(recipe)
    self._batch_size = recipe.batch_size
    self._mesh = mesh
    self._metrics: list[dict[str, jax.Array]] = []
    self._timed = 0
    self._start_s: float | None = None
    self._paused_s = 0.0
    self._step_s: float | None = None
    self._fed_s: float | None = None

  @contextlib.contextmanager
  def feeding(self) -> Iterator[Callable[[jax.Array], None]]:
    """Around the making of a batch, whose images are to be handed over."""
    alone = self._start_s is not None and len(self._metrics) == 1
    if alone:
      jax.block_until_ready(self._metrics[-1])
    self._fed_s = None

    def fed(images: jax.Array) -> None:
      if alone:
        jax.block_until_ready(images)
        self._fed_s = time.monotonic()

    yield fed

  def add(self, metrics: dict[str, jax.Array]) -> None:
    """The metrics of one step; returns when the step before it is done."""
    self._metrics.append(metrics)
    if self._start_s is None:
      jax.block_until_ready(metrics)
      self._start_s = time.monotonic()
      return
    self._timed += 1
    if self._fed_s is not None:
      jax.block_until_ready(metrics)
      self._step_s = time.monotonic() - self._fed_s
    elif len(self._metrics) > 1:
      jax.block_until_ready(self._metrics[-2])

  def paused(self, seconds: float) -> None:
    """Time since the last line that was no training."""
    self._paused_s += seconds

  def line(self) -> dict[str, float]:
    """Means over the steps since the last line, and their speed.

    images_per_s, tflops_per_s and mfu (the share of the devices' peak, where
    that is known) are of all time but evaluations and checkpoints; step_s is
    of a step alone, and feed_share the share of time that is not spent in
    steps: what the data costs. Nothing of these before a second step is done.

    Raises:
      FloatingPointError: a loss was not finite.
    """
    fetched = jax.device_get(self._metrics)
    line = {
      name: float(sum(metrics[name] for metrics in fetched) / len(fetched))
      for name in fetched[0]
    }
    if self._timed:
      line |= self._speed(time.monotonic() - self._start_s - self._paused_s)
    self._metrics, self._paused_s, self._timed = [], 0.0, 0
    self._start_s = time.monotonic()
    if not line["loss"] - line["loss"] == 0:
      raise FloatingPointError(
        f"The loss is {line['loss']}: lower the learning rate, or use"
        " precision float32; the last checkpoint is good."
      )
    return line

  def _speed(self, elapsed_s: float) -> dict[str, float]:
    """Of the steps since the clock was started."""
    rate = self._timed / max(elapsed_s, 1e-9)
    line = {
      "images_per_s": rate * self._batch_size,
      "tflops_per_s": rate * self._flops / 1e12,
    }
    share = cost.utilization(
      rate * self._flops,
      device_kind=self._mesh.devices.flat[0].device_kind,
      num_devices=self._mesh.size,
    )
    if share is not None:
      line["mfu"] = share
    if self._step_s is not None:
      line["step_s"] = self._step_s
      line["feed_share"] = max(0.0, 1.0 - rate * self._step_s)
    return line


def jsonl_log(path: str | os.PathLike) -> Log:
  """A Log that appends lines of JSON to a file, in the lead process.

  What a killed process left of a line is cut off first. A resumed run may log
  a step again: the later line counts.
  """
  path = pathlib.Path(path)
  if distributed.is_lead():
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_bytes() if path.exists() else b""
    path.write_bytes(text[: text.rfind(b"\n") + 1])

  def log(**values: Any) -> None:
    if distributed.is_lead():
      with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")

  return log


def terminal_log(recipe: Recipe) -> Log:
  """A Log that prints a line for whoever watches, in the lead process.

  It says what a run is watched for; all that is measured is in the other logs.
  """

  def log(**values: Any) -> None:
    if distributed.is_lead():
      print(told(values, recipe), flush=True)

  return log


def told(values: dict[str, Any], recipe: Recipe) -> str:
  """What is printed of logged values: how far, how well, how fast, how long."""
  step, num_steps = values["step"], recipe.optimizer.num_steps
  parts = [f"step {step:,} of {num_steps:,}"]
  if "loss" in values:
    parts.append(f"loss {values['loss']:.4g}")
  if "score" in values:
    parts.append(f"leave-one-out accuracy {values['score']:.1%}")
  if "images_per_s" in values:
    rate = values["images_per_s"]
    parts.append(f"{rate:,.1f} images/s")
    if "mfu" in values:
      parts.append(f"{values['mfu']:.1%} of the peak")
    if "feed_share" in values:
      parts.append(f"{values['feed_share']:.0%} of the time for pictures")
    left_s = (num_steps - step) * recipe.batch_size / rate
    parts.append(f"{duration(left_s)} left")
  return ", ".join(parts)


def tensorboard_log(directory: str | os.PathLike) -> Log:
  """A Log that writes scalars for TensorBoard, in the lead process.

  Raises:
    ImportError: tensorboardX is not installed.
  """
  try:
    from tensorboardX import SummaryWriter
  except ImportError as error:
    raise ImportError(
      "TensorBoard files are written by tensorboardX: pip install"
      " 'visual_memory[train]'."
    ) from error
  writer = SummaryWriter(str(directory)) if distributed.is_lead() else None

  def log(*, step: int, **values: Any) -> None:
    if writer is not None:
      for name, value in values.items():
        if isinstance(value, float):
          writer.add_scalar(name, value, step)
      writer.flush()

  return log


def all_of(*logs: Log) -> Log:
  """A Log that is several."""

  def log(**values: Any) -> None:
    for each in logs:
      each(**values)

  return log
