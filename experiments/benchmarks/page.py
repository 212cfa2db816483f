"""Times the page of a large memory in a headless Chromium.

  python -m experiments.benchmarks.page \\
      --config=configs/benchmark_page.py[:smoke] --workdir=DIR

Made-up rows of the encoder's dimension with small photographs-to-be (noise in
blobs) are served by `visual-memory serve` in a process of its own. Timed are
the first paint with thumbnails, scrolling (frames, and how many tiles in sight
had no picture yet in any of them), a frame of the map while it is dragged, and
the answer to a dropped picture. The store stays in the workdir.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zlib

import jax
import numpy as np
from absl import logging
from PIL import Image

import visual_memory as vm
from experiments import terminal
from visual_memory import files, types
from visual_memory.collection.identity import PICTURE, Picture
from visual_memory.collection.origins import Origin
from visual_memory.collection.provenance import Provenance
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.reports import workdir
from visual_memory.store.store import Store

# Frames of a scroll; in each, the tiles in sight without a picture.
_SCROLL = """([pixelsPerSecond, seconds]) => new Promise((done) => {
  const box = document.getElementById("grid"), frames = [], blanks = [];
  const from = performance.now();
  let last = from;
  const blank = () => {
    const {top, bottom} = box.getBoundingClientRect();
    const tiles = [...box.querySelectorAll(".tile")].filter((tile) => {
      const at = tile.getBoundingClientRect();
      return at.bottom > top && at.top < bottom;
    });
    const side = tiles[0]?.getBoundingClientRect();
    const columns = Math.round((box.clientWidth + 8) / (side.width + 8));
    const lines = Math.floor(box.clientHeight / side.height);
    const drawn = tiles.filter((tile) => {
      const image = tile.querySelector("img");
      return !image || (image.complete && image.naturalWidth);
    }).length;
    return Math.max(tiles.length, columns * lines) - drawn;
  };
  const step = (now) => {
    frames.push(now - last);
    last = now;
    blanks.push(blank());
    if (now - from > 1000 * seconds) {
      frames.sort((a, b) => a - b);
      done({frames: frames.length, blank_tiles: Math.max(...blanks),
        frames_with_blank_tiles: blanks.filter(Boolean).length,
        median_frame_ms: frames[frames.length >> 1], pixels: box.scrollTop,
        longest_frame_ms: frames.at(-1)});
      return;
    }
    box.scrollTop = pixelsPerSecond * (now - from) / 1000;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
# A jump to somewhere, until all tiles in sight have their pictures.
_JUMP = """(part) => new Promise((done) => {
  const box = document.getElementById("grid"), from = performance.now();
  box.scrollTop = part * box.scrollHeight;
  const look = () => {
    const tiles = [...box.querySelectorAll(".tile")];
    const {top, bottom} = box.getBoundingClientRect();
    const inSight = tiles.filter((tile) => {
      const at = tile.getBoundingClientRect();
      return at.bottom > top && at.top < bottom;
    });
    const ready = inSight.length && inSight.every((tile) => {
      const image = tile.querySelector("img");
      return !image || (image.complete && image.naturalWidth);
    });
    if (ready) done(performance.now() - from); else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
# Frames while the map is dragged: each moves it, and the next is waited for.
_DRAG = """(count) => new Promise((done) => {
  const canvas = document.getElementById("canvas"), times = [];
  const box = canvas.getBoundingClientRect();
  const tell = (kind, i) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, bubbles: true, clientX: box.left + 200 + 3 * i,
    clientY: box.top + 200 + i}));
  canvas.setPointerCapture = () => {};
  tell("pointerdown", 0);
  let i = 0, last = performance.now();
  const step = (now) => {
    if (i > 1) times.push(now - last);
    last = now;
    if (i++ > count) {
      tell("pointerup", i);
      times.sort((a, b) => a - b);
      done({median_frame_ms: times[times.length >> 1],
        longest_frame_ms: times.at(-1)});
      return;
    }
    tell("pointermove", i);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
# Until the first line of the grid has its pictures, since navigation began.
_PAINTED = """() => new Promise((done) => {
  const look = () => {
    const images = [...document.querySelectorAll(".tile img")].slice(0, 8);
    if (images.length && images.every((image) => image.naturalWidth)) {
      requestAnimationFrame(() => done({
        first_contentful_paint_ms: performance.getEntriesByName(
          "first-contentful-paint")[0]?.startTime,
        first_pictures_ms: performance.now()}));
    } else setTimeout(look, 5);
  };
  look();
})"""


def main(config, path) -> None:
  """Makes the store where it is not there yet, and drives its page."""
  path.mkdir(parents=True, exist_ok=True)
  if not (path / "made").exists():
    logging.info("Making a memory of %d rows", config.num_rows)
    make_store(config, path)
    files.write_text(path / "made", "made\n")
  found = {
    "config": config.to_dict(),
    "environment": workdir.environment(),
    "page": _drive(config, path),
  }
  files.write_json(path / "benchmark_page.json", found)
  print(json.dumps(found["page"], indent=1))


def make_store(config, path) -> None:
  """A memory of made-up rows with pictures, at path / memory."""
  folder = path / "pictures"
  shutil.rmtree(path / "memory", ignore_errors=True)
  shutil.rmtree(folder, ignore_errors=True)
  (folder / "made").mkdir(parents=True)
  contents = []
  for number in range(config.num_pictures):
    file = folder / "made" / f"{number}.jpg"
    _picture(config.side, number).save(file, quality=85)
    data = file.read_bytes()
    contents.append((len(data), zlib.crc32(data)))
  encoder = vm.load_encoder(config.encoder)
  rows = synthetic_embeddings(
    num_rows=config.num_rows,
    dim=encoder.dim,
    num_classes=config.num_classes,
    seed=0,
    spread=1.0,
  )
  ids, records = [], []
  for row, label in enumerate(rows.labels.tolist()):
    name = rows.class_names[label]
    (folder / name).mkdir(exist_ok=True)
    number, at = row % config.num_pictures, f"{name}/{row}.jpg"
    os.link(folder / "made" / f"{number}.jpg", folder / at)
    ids.append(at)
    picture = Picture(content=contents[number], places=((0, at),))
    records.append({PICTURE: picture.to_record(), "number": row})
  made = types.embedded_set(
    rows.embeddings,
    rows.labels,
    ids,
    class_names=rows.class_names,
    fingerprint=encoder.fingerprint,
  )
  origin = Origin(path=str(folder.resolve()), class_level="first")
  known = Provenance(
    encoder={"name": config.encoder},
    preprocess=encoder.preprocess.to_dict(),
    origins=(origin,),
  )
  Store.create(
    path / "memory",
    made,
    metadata=records,
    attributes=known.to_attributes(),
  )


def _picture(side, seed) -> Image.Image:
  """Smooth noise: it compresses as a photograph does."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
  return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def _drive(config, path) -> dict:
  """What a browser sees, in milliseconds."""
  from playwright.sync_api import sync_playwright

  found = {}
  with served(path / "memory") as address, sync_playwright() as driver:
    browser = driver.chromium.launch(
      executable_path=shutil.which("chromium") or None,
      args=["--no-sandbox", "--disable-gpu", "--no-first-run"],
    )
    context = browser.new_context(
      viewport={"width": config.width, "height": config.height}
    )
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    found["first_visit"] = page.evaluate(_PAINTED)
    page.reload()
    found["second_visit"] = page.evaluate(_PAINTED)
    for name, speed in {"slow": 800, "fast": 3000}.items():
      scrolled = page.evaluate(_SCROLL, [speed, config.scrolled_s])
      found[f"scrolled_{name}"] = {"pixels_per_s": speed} | scrolled
    found["jumped_ms"] = [page.evaluate(_JUMP, p) for p in (0.3, 0.9, 0.6)]
    found["answered"] = _ask(page, config, path)
    page.click("[data-view=map]")
    page.wait_for_selector("#legend li")
    page.wait_for_timeout(500)
    found["map"] = page.evaluate(_DRAG, 60)
    browser.close()
  return found


def _ask(page, config, path) -> dict:
  """Milliseconds from a picture that is dropped to its answer on screen."""
  watch = """() => { window.answered = new Promise((done) => {
    const from = performance.now();
    new MutationObserver((_, watch) => {
      if (!document.querySelector("#prediction")) return;
      watch.disconnect();
      requestAnimationFrame(() => done(performance.now() - from));
    }).observe(document.getElementById("answer"), {childList: true});
  }); }"""
  times = []
  for number in range(config.num_asked):
    page.evaluate("document.getElementById('answer').replaceChildren()")
    page.evaluate(watch)
    page.set_input_files(
      "#file", str(path / "pictures" / "made" / f"{number}.jpg")
    )
    times.append(page.evaluate("window.answered"))
  return {
    "first_ms": times[0],
    "median_ms": float(np.median(times[1:])),
    "longest_ms": max(times[1:]),
  }


@contextlib.contextmanager
def served(store):
  """The address at which a store is served."""
  process = subprocess.Popen(
    [sys.executable, "-m", "visual_memory.cli", "serve", "--json", "-s", store],
    stdout=subprocess.PIPE,
    text=True,
    env={**os.environ, "JAX_PLATFORMS": jax.default_backend()},
  )
  try:
    text = ""
    while not text.rstrip().endswith("}"):
      text += process.stdout.readline()
    yield json.loads(text)["address"]
  finally:
    process.terminate()
    process.wait()


if __name__ == "__main__":
  terminal.run(main)
