"""Seeded, time-boxed fuzzers: files and answers that a stranger could send.

  make fuzz                              every fuzzer, for SECONDS=600 each
  make fuzz ONLY=journal SECONDS=60      one of them
  python tests/fuzz/fuzzing.py --only journal --seed 123     one case again

To add a fuzzer, put a file NAME_fuzz.py beside this one with a function

  def check(seed: int, folder: pathlib.Path) -> str:

It makes one case out of the seed alone (`random_of(seed)`), in an empty folder
of its own, gives it to the product, and returns a word for how it ended, which
is counted: "read", "refused". What the product raises for a case that it
refuses is given to `assert_clear`. Everything else that is raised is a
finding, as is a case that takes longer than LIMIT_S or more than LIMIT_BYTES
of memory. A case is best made from a sound file by `mutated`, or from its
JSON by `mutated_json`: random bytes seldom get past the first check.

`make test` runs the first seeds of every fuzzer, `make test-slow` 60 seconds
of each: see fuzz_test.py, which finds the files by their names.
"""

import argparse
import collections
import contextlib
import copy
import importlib
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent
LIMIT_S = 30
LIMIT_BYTES = 512 << 20
_LONGEST_MESSAGE = 4000
_RAW = ("Traceback", "allow_pickle", "object at 0x", "Errno")
"""What no sentence for people has in it."""

Check = Callable[[int, pathlib.Path], str]


class TooLong(BaseException):
  """A case took too long; nothing may catch it as an error of its own."""


class Tally:
  """What became of the cases of one fuzzer.

  Attributes:
    counts: how many cases ended in each way.
    findings: seeds, and what was wrong.
    seconds: how long it took.
  """

  def __init__(self):
    """Nothing yet."""
    self.counts = collections.Counter()
    self.findings: list[tuple[int, str]] = []
    self.seconds = 0.0

  def __str__(self) -> str:
    """One line."""
    ways = ", ".join(f"{n:,} {way}" for way, n in sorted(self.counts.items()))
    return (
      f"{self.counts.total():,} cases in {self.seconds:,.0f} s ({ways});"
      f" {len(self.findings)} findings"
    )


def names() -> list[str]:
  """The fuzzers that there are."""
  return sorted(p.stem.removesuffix("_fuzz") for p in HERE.glob("*_fuzz.py"))


def load(name: str) -> Check:
  """The function of a fuzzer."""
  for folder in (HERE, HERE.parent, HERE.parent.parent):
    if str(folder) not in sys.path:
      sys.path.insert(0, str(folder))
  return importlib.import_module(f"{name}_fuzz").check


def run(
  check: Check, *, first: int = 0, cases: int | None = None, seconds: float
) -> Tally:
  """Runs cases from a seed on, until there were enough or time is over."""
  tally, begun = Tally(), time.monotonic()
  seed = first
  while cases is None or seed < first + cases:
    if time.monotonic() - begun > seconds:
      break
    problem = None
    before = _peak_bytes()
    try:
      with tempfile.TemporaryDirectory() as folder, _limited():
        tally.counts[check(seed, pathlib.Path(folder))] += 1
    except KeyboardInterrupt:
      raise
    except BaseException:
      problem = traceback.format_exc()
    if seed > first and _peak_bytes() - before > LIMIT_BYTES:
      problem = f"took {(_peak_bytes() - before) >> 20} MiB of memory"
    if problem:
      tally.findings.append((seed, problem))
    seed += 1
  tally.seconds = time.monotonic() - begun
  return tally


def random_of(seed: int) -> random.Random:
  """The randomness of a case."""
  return random.Random(seed)


def mutated(data: bytes, rng: random.Random) -> bytes:
  """The bytes with a few changes of the kinds that break readers."""
  data = bytearray(data)
  for _ in range(rng.choice([1, 1, 1, 2, 4])):
    start = rng.randrange(len(data) + 1)
    length = min(rng.choice([1, 2, 4, 8, 64, 512]), len(data) - start)
    kind = rng.randrange(8)
    if kind == 0 and data:
      data[min(start, len(data) - 1)] ^= 1 << rng.randrange(8)
    elif kind == 1:
      data[start : start + length] = rng.randbytes(length)
    elif kind == 2:
      data[start : start + length] = bytes(length)
    elif kind == 3:
      del data[start : start + length]
    elif kind == 4:
      del data[start:]
    elif kind == 5:
      data[start:start] = rng.randbytes(rng.choice([1, 8, 300]))
    elif kind == 6:
      number = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
      data[start : start + 8] = number.to_bytes(8, "little")
    else:
      data[start:start] = data[: rng.randrange(1 + min(len(data), 4096))]
  return bytes(data)


def mutated_json(value: Any, rng: random.Random) -> Any:
  """The JSON value with one part of it changed, lost, doubled or misnamed."""
  value = copy.deepcopy(value)
  places = list(_places(value))
  if not places:
    return rng.choice(_STRANGE)
  parent, key = rng.choice(places)
  kind = rng.randrange(6)
  if kind == 0:
    del parent[key]
  elif kind == 1 and isinstance(parent, list):
    parent.insert(key, parent[key])
  elif kind == 2 and isinstance(parent, dict):
    parent[rng.choice(["", "x", "__class__", key + "s"])] = parent.pop(key)
  elif kind == 3 and isinstance(parent[key], str):
    text = parent[key].encode("utf-8", "surrogatepass")
    parent[key] = mutated(text, rng).decode("utf-8", "replace")
  elif kind == 4 and isinstance(parent[key], int | float):
    parent[key] = rng.choice([-1, 0, 1]) + parent[key] * rng.choice([1, -1, 9])
  else:
    parent[key] = copy.deepcopy(rng.choice(_STRANGE))
  return value


_STRANGE = (
  None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 1.5, 1e308,
  float("nan"), float("inf"), "", "x", "\0", "../../outside", "/etc/x",
  "a" * 5000,
  "\ud800", [], {}, [[]], {"a": None}, ["x"] * 3, [0] * 1000,
)  # fmt: skip


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
  """Every (container, key) inside a JSON value."""
  if isinstance(value, dict | list):
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
      yield value, key
      yield from _places(value[key])


def assert_clear(error: BaseException) -> str:
  """Asserts that an error is one for people; gives the word "refused"."""
  text = str(error)
  assert text and len(text) < _LONGEST_MESSAGE, repr(error)[:300]
  for raw in _RAW:
    assert raw not in text, text
  return "refused"


@contextlib.contextmanager
def guarded(
  folder: pathlib.Path, fill: Callable[[pathlib.Path], None]
) -> Iterator[pathlib.Path]:
  """A place in a folder, filled; nothing beside it may change in the block.

  Two files and a directory of files lie beside it, for `..` and links to hit.
  """
  outside = folder / "outside"
  (outside / "kept").mkdir(parents=True)
  for path in (folder / "target", outside / "kept" / "x", outside / "y"):
    path.write_bytes(b"not yours " * 100)
  inside = folder / "place"
  fill(inside)
  before = _all_but(folder, inside)
  yield inside
  after = _all_but(folder, inside)
  assert after == before, f"changed outside: {set(after) ^ set(before)}"


def _all_but(folder: pathlib.Path, inside: pathlib.Path) -> dict[str, bytes]:
  """The files of a folder, but for those in a part of it."""
  return {
    os.path.join(where, name): pathlib.Path(where, name).read_bytes()
    for where, _, files in os.walk(folder)
    for name in files
    if not pathlib.Path(where, name).is_relative_to(inside)
  }


@contextlib.contextmanager
def _limited() -> Iterator[None]:
  """Raises TooLong in the block once it has computed for too long.

  The processor's time counts: a machine may be busy with other things.
  """

  def stop(signum, frame):
    raise TooLong(f"took more than {LIMIT_S} s of the processor")

  signal.signal(signal.SIGPROF, stop)
  signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)


def _peak_bytes() -> int:
  """The most memory that this process ever had."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
  """Runs fuzzers; 1 if something was found."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--only", action="append", choices=names())
  parser.add_argument("--seconds", type=float, default=600)
  parser.add_argument("--first", type=int, default=0, help="the first seed")
  parser.add_argument("--seed", type=int, help="this case alone")
  arguments = parser.parse_args()
  failed = False
  for name in arguments.only or names():
    check = load(name)
    if arguments.seed is not None:
      tally = run(check, first=arguments.seed, cases=1, seconds=LIMIT_S)
    else:
      tally = run(check, first=arguments.first, seconds=arguments.seconds)
    print(f"{name}: {tally}", flush=True)
    for seed, problem in tally.findings[:5]:
      print(f"--only {name} --seed {seed}:\n{problem[-3000:]}", flush=True)
    failed = failed or bool(tally.findings)
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
