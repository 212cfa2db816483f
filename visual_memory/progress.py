"""How far a long job is, its rate and the time that is left.

with Progress(len(rows), what="images") as progress:
  for batch in batches:
    ...
    progress.advance(len(batch))
"""

import io
import sys
import time
from collections.abc import Callable

_TTY_INTERVAL_S = 1.0
_LOG_INTERVAL_S = 10.0


class Progress:
  """A counter that prints itself, never often.

  On a terminal it rewrites one line at most once a second; elsewhere it prints
  a line every ten seconds, so jobs shorter than that print nothing.
  """

  def __init__(
    self,
    total: int,
    *,
    what: str,
    enabled: bool = True,
    stream: io.TextIOBase | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """A counter at zero of `total` items called `what` (a plural).

    Args:
      total: how many items there are to do.
      what: their name, for the printed line.
      enabled: False prints nothing (processes other than the lead).
      stream: where to print; standard error by default.
      clock: seconds, from any start.
    """
    self._total = total
    self._what = what
    self._enabled = enabled
    self._stream = sys.stderr if stream is None else stream
    self._clock = clock
    self._tty = self._stream.isatty()
    self._interval_s = _TTY_INTERVAL_S if self._tty else _LOG_INTERVAL_S
    self._start_s = self._printed_s = clock()
    self._printed = False
    self.done = 0

  def __enter__(self) -> "Progress":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Prints the last line, if any was printed before it."""
    if self._printed:
      self._print(end="\n")

  @property
  def elapsed_s(self) -> float:
    """Seconds since the start."""
    return self._clock() - self._start_s

  def advance(self, count: int) -> None:
    """Counts `count` items as done; prints if it is time to."""
    self.done += count
    now = self._clock()
    if self._enabled and now - self._printed_s >= self._interval_s:
      self._printed_s = now
      self._printed = True
      self._print(end="" if self._tty else "\n")

  def line(self) -> str:
    """What is printed: items done, the mean rate, the time left."""
    rate = self.done / max(self.elapsed_s, 1e-9)
    text = f"{self.done:,} of {self._total:,} {self._what}"
    if self.done:
      left_s = (self._total - self.done) / rate
      text += f", {rate:,.1f} per second, {duration(left_s)} left"
    return text

  def _print(self, *, end: str) -> None:
    start = "\r\x1b[K" if self._tty else ""
    print(f"{start}{self.line()}", end=end, file=self._stream, flush=True)


def duration(seconds: float) -> str:
  """Seconds as h:mm:ss."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{seconds:02}"
