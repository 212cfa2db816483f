"""Every fuzzer of tests/fuzz: its first seeds, and a minute of more."""

import os
import pathlib
import sys

import jaxtyping
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "fuzz"))
import fuzzing

_FIRST = 40
_SECONDS = 60


def assert_nothing_found(tally):
  """Asserts that there were cases, and that none of them was a finding."""
  assert tally.counts.total() or tally.findings
  for seed, problem in tally.findings[:3]:
    print(f"seed {seed}:\n{problem}")
  assert not tally.findings, tally


@pytest.fixture(autouse=True)
def as_users_run_it():
  """Without the checks of annotations, which would hide the product's own."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", fuzzing.names())
def test_the_first_seeds_find_nothing(name):
  check = fuzzing.load(name)
  assert_nothing_found(fuzzing.run(check, cases=_FIRST, seconds=_SECONDS))


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.names())
def test_a_minute_finds_nothing(name):
  check = fuzzing.load(name)
  tally = fuzzing.run(check, first=_FIRST, seconds=_SECONDS)
  print(name, tally)
  assert_nothing_found(tally)


def test_what_is_raised_is_a_finding_and_a_case_repeats():
  def check(seed, folder):
    assert not list(folder.iterdir())
    rng = fuzzing.random_of(seed)
    seen.append(fuzzing.mutated(b"abc" * 100, rng))
    if seed == 3:
      raise OSError("wrong")
    return "read"

  seen = []
  tally = fuzzing.run(check, cases=6, seconds=60)
  again = fuzzing.run(check, cases=6, seconds=60)
  assert seen[:6] == seen[6:] and len(set(seen)) == 6
  assert [seed for seed, _ in tally.findings] == [3]
  assert tally.counts == again.counts == {"read": 5}


def test_a_case_that_hangs_or_writes_outside_is_a_finding(monkeypatch):
  monkeypatch.setattr(fuzzing, "LIMIT_S", 1)

  def hang(seed, folder):
    while True:
      pass

  def escape(seed, folder):
    with fuzzing.guarded(folder, os.mkdir) as place:
      (place / "../outside/y").resolve().write_bytes(b"mine")
    return "read"

  for check, says in ((hang, "took more than"), (escape, "changed outside")):
    tally = fuzzing.run(check, cases=1, seconds=60)
    assert says in tally.findings[0][1]


def test_errors_for_people_are_told_from_raw_ones():
  assert fuzzing.assert_clear(ValueError("No such row.")) == "refused"
  for bad in (ValueError(""), ValueError("set allow_pickle=True")):
    with pytest.raises(AssertionError):
      fuzzing.assert_clear(bad)
