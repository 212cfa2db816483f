"""What a script says on a terminal, run as a user runs it."""

import os
import pathlib
import re

import processes

ROOT = pathlib.Path(__file__).resolve().parents[1]


def launch(*words):
  return processes.python(
    "-m",
    "experiments.launch",
    *words,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )


def test_a_run_says_what_it_does_and_nothing_else(tmp_path):
  done = launch("--config=configs/evaluate.py:smoke", f"--workdir={tmp_path}/a")
  assert done.returncode == 0, done.stderr
  assert "Report: " in done.stdout.splitlines()[-1]
  for chatter in ("TPU", "tpu", "xla_bridge", "Unable to initialize"):
    assert chatter not in done.stderr
  # No prefixes of a logger: a level's letter and a date.
  assert not re.search(r"^[IWE]\d{4} ", done.stderr, re.M)


def test_errors_of_users_are_sentences(tmp_path):
  config = "--config=configs/privacy.py:smoke"

  for words in [
    (config, "--config.retrieval.precision=float31"),
    (config, "--config.encoder.name=none"),
  ]:
    done = launch(*words, f"--workdir={tmp_path}/b")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "b" / "report.json").exists()
  shown = launch(
    config, "--config.encoder.name=none", f"--workdir={tmp_path}/b", "--debug"
  )
  assert "Traceback" in shown.stderr
