"""What a run logs: means since the last line, speed, and where it goes."""

import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from visual_memory import distributed
from visual_memory.pretraining import cost
from visual_memory.pretraining.recipe import Recipe

Log = Callable[..., None]
"""Called with step=... and metrics by name."""


class Meter:
  """Collects the metrics of steps without waiting for the devices."""

  def __init__(self, recipe: Recipe, mesh: Mesh):
    """The clock starts."""
    self._flops = cost.step_flops(recipe)
    self._batch_size = recipe.batch_size
    self._mesh = mesh
    self._metrics: list[dict[str, jax.Array]] = []
    self._start_s = time.monotonic()
    self._paused_s = 0.0

  def add(self, metrics: dict[str, jax.Array]) -> None:
    """The metrics of one step."""
    self._metrics.append(metrics)

  def paused(self, seconds: float) -> None:
    """Time since the last line that was no training."""
    self._paused_s += seconds

  def line(self) -> dict[str, float]:
    """Means over the steps since the last line, and their speed.

    Raises:
      FloatingPointError: a loss was not finite.
    """
    fetched = jax.device_get(self._metrics)
    steps = len(fetched)
    line = {
      name: float(sum(metrics[name] for metrics in fetched) / steps)
      for name in fetched[0]
    }
    elapsed_s = time.monotonic() - self._start_s - self._paused_s
    rate = steps / max(elapsed_s, 1e-9)
    line |= {
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
    self._metrics, self._paused_s = [], 0.0
    self._start_s = time.monotonic()
    if not line["loss"] - line["loss"] == 0:
      raise FloatingPointError(
        f"The loss is {line['loss']}: lower the learning rate, or use"
        " precision float32; the last checkpoint is good."
      )
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
