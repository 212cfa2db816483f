"""Drawing shaders of strangers in a child process with a time limit.

with Worker(size=256, time_limit_s=20) as worker:
  images = worker.draw(code, "shadertoy", times=[0.5, 3.0])

A shader that never ends cannot be interrupted within a process: the child is
killed, and the next shader gets a new one.
"""

import multiprocessing
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from visual_memory.procedural import glsl
from visual_memory.procedural.glsl_dialects import UnsupportedShader

_START_LIMIT_S = 60.0


class Worker:
  """One child process with a renderer, started when it is needed."""

  def __init__(self, *, size: int, time_limit_s: float, warmup: int = 0):
    """Describes the child; nothing starts yet.

    Args:
      size: S, the side of the pictures in pixels.
      time_limit_s: for all pictures of one shader, its compilation included.
      warmup: see glsl.Renderer.draw.
    """
    self._size, self._limit, self._warmup = size, time_limit_s, warmup
    self._process = self._pipe = None

  def __enter__(self) -> "Worker":
    """This worker."""
    return self

  def __exit__(self, *exception: object) -> None:
    """Ends the child."""
    self._stop()

  def draw(
    self, code: str, dialect: str, *, times: Sequence[float]
  ) -> UInt8[np.ndarray, "T S S 3"]:
    """One picture of the shader at each time.

    Raises:
      UnsupportedShader: it does not compile, takes longer than the limit,
        ends its process, has NaN pixels, or is flat at all times.
      RuntimeError: there is no OpenGL here; it says what to install.
    """
    self._start()
    self._pipe.send((code, dialect, tuple(times), self._warmup))
    kind, value = self._receive(self._limit)
    if kind == "images":
      return value
    raise UnsupportedShader(value)

  def _start(self) -> None:
    if self._process is not None:
      return
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(theirs, self._size), daemon=True
    )
    self._process.start()
    theirs.close()
    kind, value = self._receive(_START_LIMIT_S)
    if kind != "ready":
      self._stop()
      raise RuntimeError(value)

  def _receive(self, limit_s: float) -> tuple:
    """The child's answer, or why there is none; then the child is gone."""
    try:
      if self._pipe.poll(limit_s):
        return self._pipe.recv()
      reason = f"no picture within {limit_s:g} s: it may never end"
    except (EOFError, ConnectionError):
      self._process.join(5)
      reason = f"ended its process (exit code {self._process.exitcode})"
    self._stop()
    return "failed", reason

  def _stop(self) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.join()
      self._pipe.close()
      self._process = self._pipe = None


def _serve(pipe, size: int) -> None:
  """The child: draws what it is sent until the pipe closes."""
  try:
    renderer = glsl.Renderer(size=size)
  except RuntimeError as error:
    pipe.send(("failed", str(error)))
    return
  pipe.send(("ready", renderer.device))
  while True:
    try:
      code, dialect, times, warmup = pipe.recv()
    except EOFError:
      return
    try:
      program = renderer.compile(code, dialect)
      images = np.stack(
        [renderer.draw(program, time=t, warmup=warmup) for t in times]
      )
      program.release()
      for_all = images.reshape(-1, *images.shape[2:])
      glsl.check_picture(for_all)
      pipe.send(("images", images))
    except UnsupportedShader as error:
      pipe.send(("failed", str(error)))
