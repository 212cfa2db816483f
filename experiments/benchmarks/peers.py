"""Peers in processes of their own, which take turns.

  with running({name: ([sys.executable, "-m", ...], environment)}) as peers:
    seconds = peers[name].ask("run")["seconds"]

A peer reads commands from its standard input and answers each with one line,
"@" and JSON; the first answer, unasked, says that it is ready.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from visual_memory.native import library

PAUSE_S = 0.2
"""Of a peer's turn, before it is asked."""


class Peer:
  """A peer's process; asking it something waits for the answer."""

  def __init__(
    self,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    remedy: str,
  ):
    """Starts it and waits until it is ready: the next finds a quiet machine."""
    self._name, self._remedy = name, remedy
    self._process = subprocess.Popen(
      command,
      env=os.environ | environment,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self._answer()

  def ask(self, command: str) -> dict:
    """The answer to a command, after a short pause."""
    time.sleep(PAUSE_S)
    self._process.stdin.write(command + "\n")
    self._process.stdin.flush()
    return self._answer()

  def stop(self) -> None:
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()

  def _answer(self) -> dict:
    for line in self._process.stdout:
      if line.startswith("@"):
        return json.loads(line[1:])
    raise RuntimeError(
      f"Peer {self._name} ended with status {self._process.wait()}; its error"
      f" is above. Leave it out with --config.peers, or install what it needs:"
      f" {self._remedy}."
    )


@contextlib.contextmanager
def running(
  commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]],
  *,
  remedy: str,
) -> Iterator[dict[str, Peer]]:
  """Peers that run until the block ends, started one after the other.

  Args:
    commands: (command, environment variables) of each peer.
    remedy: how to install what a peer may lack.
  """
  with contextlib.ExitStack() as stack:
    peers = {}
    for name, (command, environment) in commands.items():
      peers[name] = Peer(name, command, environment, remedy=remedy)
      stack.callback(peers[name].stop)
    yield peers


def median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
  """The median over rounds of other / time: how many times as fast."""
  pairs = zip(times, others, strict=True)
  return statistics.median(other / own for own, other in pairs)


def processor() -> str:
  """What tells a CPU's speed in matrix products: its widest instructions."""
  found = library.instructions()
  names = {"avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx2": "AVX2"}
  return next((name for flag, name in names.items() if flag in found), "other")


def cpu() -> str:
  """The CPU's name and how many cores this process may use."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = []
  model = next((x.split(":")[1] for x in lines if x.startswith("model na")), "")
  return f"{model.strip() or 'unknown'}, {os.cpu_count()} cores"
