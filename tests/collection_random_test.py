"""Random trees and random commands: no picture is lost, doubled or confused.

The model knows what lies on the disk and which content was ever given which
class; the memory is asked after every command.
"""

import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from collection_cases import (
  ARGUMENTS,
  add,
  build,
  encoder,
  paint,
  picture_bytes,
)
from PIL import Image

from visual_memory.collection import ingest, meant_rows, provenance
from visual_memory.collection.identity import Status, picture_of
from visual_memory.collection.provenance import relocate
from visual_memory.data import contents

FOLDERS = ["cat", "dog", "Käfer", "x/猫", "x/cat", "y/z/dog", "a b"]
NAMES = ["1.png", "2.png", "IMG_1.png", "é.png", "it's [1].png", "3.PNG"]


@functools.cache
def content(seed):
  """The bytes of a picture, their content, and its embedding."""
  data = picture_bytes(seed)
  pixels = np.asarray(Image.open(__import__("io").BytesIO(data)))
  vector = encoder().encode([pixels])[0]
  return data, contents.of_bytes(data), vector


class World:
  """Two folders of pictures, archives of them, and a memory."""

  def __init__(self, root, rng):
    self.root, self.rng, self.seeds = root, rng, 0
    self.files = {}  # (folder, path): seed
    self.roots = {"one": root / "one", "two": root / "two"}
    self.classes = {}  # content: its class in the memory
    self.forgotten, self.forgotten_ids = set(), set()
    self.made = 0
    for name in self.roots:
      for _ in range(4):
        self.create(name)
    self.store, report = build(
      root / "m", self.roots["one"], class_level="last"
    )
    self.check(report, [("one", self.roots["one"])])

  # What happens on the disk.
  def create(self, name=None):
    name = name or self.rng.choice(list(self.roots))
    self.seeds += 1
    self.write(name, self.place(), self.seeds)

  def place(self):
    return f"{self.rng.choice(FOLDERS)}/{self.rng.choice(NAMES)}"

  def write(self, name, path, seed):
    at = self.roots[name] / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(content(seed)[0])
    self.files[name, path] = seed

  def some(self):
    return self.rng.choice(sorted(self.files))

  def overwrite(self):
    self.seeds += 1
    self.write(*self.some(), self.seeds)

  def delete(self):
    if len([k for k in self.files if k[0] == "one"]) > 2:
      key = self.some()
      if sum(k[0] == key[0] for k in self.files) > 1:
        self.unlink(key)

  def unlink(self, key):
    os.unlink(self.roots[key[0]] / key[1])
    return self.files.pop(key)

  def move(self):
    key = self.some()
    if sum(k[0] == key[0] for k in self.files) > 1:
      seed = self.unlink(key)
      self.write(self.rng.choice(list(self.roots)), self.place(), seed)

  def swap(self):
    one, two = self.some(), self.some()
    seeds = self.files[one], self.files[two]
    self.write(*one, seeds[1])
    self.write(*two, seeds[0])

  def twin(self):
    seed = self.files[self.some()]
    self.write(self.rng.choice(list(self.roots)), self.place(), seed)

  # What is asked of the memory.
  def add(self, **options):
    name = self.rng.choice(list(self.roots))
    report = add(self.store, self.roots[name], class_level="last", **options)
    self.check(report, [(name, self.roots[name])], **options)

  def update(self):
    self.add(update=True)

  def add_archive(self):
    name = self.rng.choice(list(self.roots))
    self.made += 1
    path = self.root / f"{name}{self.made}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
      for folder, file in sorted(self.files):
        if folder == name:
          archive.write(self.roots[name] / file, file)
    report = add(self.store, path, class_level="last")
    self.check(report, [(name, path)])

  def remove(self):
    ids = self.store.ids.tolist()
    if len(ids) < 3:
      return
    row_id = self.rng.choice(ids)
    gone = picture_of(self.store.metadata([row_id])[0]).content
    _, removed = meant_rows.forget(self.store, [row_id])
    self.forgotten.add(gone)
    self.forgotten_ids.update(removed)
    del self.classes[gone]
    assert gone not in self.rows()
    self.check(None, [])

  def relabel(self):
    row_id = self.rng.choice(self.store.ids.tolist())
    self.store.relabel([row_id], ["by hand"])
    self.classes[picture_of(self.store.metadata([row_id])[0]).content] = (
      "by hand"
    )

  def relocate(self):
    name = self.rng.choice(list(self.roots))
    self.made += 1
    new = self.root / f"{name}-{self.made}"
    os.rename(self.roots[name], new)
    recorded = [o.path for o in provenance.origins_of(self.store)]
    if str(self.roots[name]) in recorded:
      relocate(self.store, str(self.roots[name]), str(new), force=True)
    self.roots[name] = new

  def rows(self):
    """{content: (id, class, embedding)}, of which there is one each."""
    rows = self.store.embedded()
    names = np.array([*rows.class_names, None], object)[rows.labels]
    contents = [picture_of(m).content for m in self.store.metadata(rows.ids)]
    assert len(set(contents)) == len(contents), "a picture is there twice"
    values = zip(rows.ids, names, rows.embeddings, strict=True)
    return dict(zip(contents, values, strict=True))

  def check(self, report, added, *, update=False):
    rows = self.rows()
    told = set()
    if report is not None:
      out = [Status.FORGOTTEN] + [Status.CHANGED] * (not update)
      told = {e.found.content for status in out for e in report.plan.of(status)}
      for entry in report.plan.of(Status.FORGOTTEN):
        by_content = entry.found.content in self.forgotten
        assert by_content or entry.found.id in self.forgotten_ids
      moved = {e.id for e in report.plan.of(Status.MOVED)}
      relabelled = dict(report.plan.relabel)
    by_content = {content(seed)[1]: seed for seed in range(1, self.seeds + 1)}
    for name, _ in added:
      says = {}
      for (folder, path), seed in sorted(self.files.items()):
        if folder == name:
          says.setdefault(content(seed)[1], set()).add(path.split("/")[-2])
      for key, classes in says.items():
        assert key in rows or key in told, "a picture is lost without a word"
        if key in rows and key not in self.classes:
          replaced = {e.id for e in report.plan.of(Status.CHANGED)}
          row_id, name_now, _ = rows[key]
          if row_id not in replaced:
            assert name_now in classes
          self.classes[key] = name_now
        elif key in rows and rows[key][0] in relabelled:
          assert rows[key][0] in moved and rows[key][1] in classes
          self.classes[key] = rows[key][1]
    assert not self.forgotten.intersection(rows)
    for key, (_, name_now, vector) in rows.items():
      assert self.classes[key] == name_now
      np.testing.assert_allclose(vector, content(by_content[key])[2], atol=1e-6)
    gone = set(self.classes) - set(rows)
    if gone:  # Only what --update replaced may be gone.
      assert update and len(gone) <= report.num_updated
      for key in gone:
        del self.classes[key]


COMMANDS = ["create", "create", "overwrite", "delete", "move", "move", "swap",
            "twin", "add", "add", "add", "update", "add_archive", "remove",
            "relabel", "relocate"]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_random_commands_on_random_trees(tmp_path, seed):
  rng = random.Random(seed)
  world = World(tmp_path, rng)
  for _ in range(30):
    getattr(world, rng.choice(COMMANDS))()
  world.add()
  world.store.verify()


ROOT = pathlib.Path(__file__).parents[1]

# Each picture takes a while and is noted once it is embedded; what is held back
# is a quarter of a second's work, as four seconds are of a real build.
PROGRAM = """
import sys, time
from visual_memory.cli import main
from visual_memory.collection import embedding
pictures, folder, log, wait = sys.argv[1:]
embedding.HELD_S = 0.25
real = embedding.embed_batches

def noted(encoder, host, **options):
  for block in real(encoder, host, **options):
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
  count, wait_s = 100, 0.01
  top = paint(
    tmp_path / "top", {f"{'ab'[i % 2]}/{i}.png": i for i in range(count)}
  )
  log, memory = tmp_path / "log", tmp_path / "m"
  with process(top, memory, log, wait_s) as build_process:
    end = time.monotonic() + 120
    while size(log) < 60 and time.monotonic() < end:
      assert build_process.poll() is None
      time.sleep(0.01)
    build_process.send_signal(signal.SIGKILL)
  store = ingest.unfinished(memory)
  assert store is not None and store.verify().num_rows == len(store)
  with process(top, memory, log, wait_s) as build_process:
    assert build_process.wait(timeout=120) == 0
  again = size(log) - count
  # What was held back, the batch that was under way, and one that was done when
  # the store was being written to.
  assert 0 <= again <= 0.25 / wait_s + 8 + 8
  store, _ = build(tmp_path / "whole", top)
  whole, stopped = store.embedded(), ingest.Store.open(memory).embedded()
  assert ARGUMENTS["size"] == 4 and len(stopped) == count
  order = np.argsort(whole.ids), np.argsort(stopped.ids)
  np.testing.assert_array_equal(
    whole.embeddings[order[0]], stopped.embeddings[order[1]]
  )
  assert list(whole.ids[order[0]]) == list(stopped.ids[order[1]])
