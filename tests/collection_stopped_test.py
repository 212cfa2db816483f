"""A build that is killed goes on where it was, and embeds little again."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from collection_cases import ARGUMENTS, build, paint

from visual_memory.collection import ingest

ROOT = pathlib.Path(__file__).parents[1]

# Each picture takes a while and is noted once it is embedded; what is held back
# is half a second of work, as four seconds are of a real build.
PROGRAM = """
import sys, time
from visual_memory.cli import main
from visual_memory.collection import embedding
pictures, folder, log, wait = sys.argv[1:]
embedding.HELD_S = 0.5
real = embedding.embed_batches

def noted(encoder, host, *, mesh):
  for block in real(encoder, host, mesh=mesh):
    time.sleep(float(wait) * len(block.rows))
    with open(log, "a") as file:
      file.write("x" * len(block.rows))
    yield block

embedding.embed_batches = noted
sys.exit(main.main([
  "build", pictures, "-s", folder, "-e", "pixels", "--option", "size=4",
  "--batch-size", "8",
]))
"""


def process(*words):
  return subprocess.Popen(
    [sys.executable, "-c", PROGRAM, *map(str, words)],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    stderr=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
  )


def size(path):
  return os.path.getsize(path) if os.path.exists(path) else 0


def test_a_killed_build_embeds_little_again(tmp_path):
  count, wait_s = 200, 0.02
  top = paint(
    tmp_path / "top", {f"{'ab'[i % 2]}/{i}.png": i for i in range(count)}
  )
  log, memory = tmp_path / "log", tmp_path / "m"
  with process(top, memory, log, wait_s) as build_process:
    end = time.monotonic() + 120
    while size(log) < 100 and time.monotonic() < end:
      assert build_process.poll() is None
      time.sleep(0.01)
    build_process.send_signal(signal.SIGKILL)
  store = ingest.unfinished(memory)
  assert store is not None and store.verify().num_rows == len(store)
  with process(top, memory, log, wait_s) as build_process:
    assert build_process.wait(timeout=120) == 0
  again = size(log) - count
  # Half a second of work, the batch that was under way, and one that was done
  # when the store was being written to.
  assert 0 <= again <= 0.5 / wait_s + 8 + 8
  store, _ = build(tmp_path / "whole", top)
  whole, stopped = store.embedded(), ingest.Store.open(memory).embedded()
  assert ARGUMENTS["size"] == 4 and len(stopped) == count
  order = np.argsort(whole.ids), np.argsort(stopped.ids)
  np.testing.assert_array_equal(
    whole.embeddings[order[0]], stopped.embeddings[order[1]]
  )
  assert list(whole.ids[order[0]]) == list(stopped.ids[order[1]])
