"""What a script says on a terminal, run as a user runs it."""

import os
import pathlib
import re

import processes

ROOT = pathlib.Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_run_says_what_it_does_and_nothing_else(tmp_path):
  done = processes.python(
    "-m", "experiments.launch", "--config=configs/evaluate.py:smoke",
    f"--workdir={tmp_path}/a", env=ENVIRONMENT,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert "Report: " in done.stdout.splitlines()[-1]
  for chatter in ("TPU", "tpu", "xla_bridge", "Unable to initialize"):
    assert chatter not in done.stderr
  # No prefixes of a logger: a level's letter and a date.
  assert not re.search(r"^[IWE]\d{4} ", done.stderr, re.M)


def test_errors_of_users_are_sentences(tmp_path):
  words = "--config=configs/privacy.py:smoke", f"--workdir={tmp_path / 'run'}"
  *told, shown, misspelt = processes.modules(
    "experiments.launch",
    (*words, "--config.retrieval.precision=float31"),
    (*words, "--config.encoder.name=none"),
    (*words, "--config.encoder.name=none", "--debug"),
    (*words, "--config.voting.ofset=3"),
    imported=["jax", "experiments.launch", "experiments.privacy"],
    env=ENVIRONMENT,
  )
  for done in told:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
  assert "Traceback" in shown.stderr
  assert misspelt.returncode
  assert "ofset" in misspelt.stderr and "offset" in misspelt.stderr
  assert not (tmp_path / "run").exists()
