"""Times the page of a large memory in a headless Chromium.

  python -m experiments.benchmarks.page \\
      --config=configs/benchmark_page.py[:smoke] --workdir=DIR

Made-up rows of the encoder's dimension with small photographs-to-be (noise in
blobs) are served by `visual-memory serve` in a process of its own. Timed are
the first paint with thumbnails, scrolling (frames, and how many tiles in sight
had no picture yet in any of them), a frame of a map while it is dragged, and
the answer to a dropped picture. The store stays in the workdir.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys

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
from visual_memory.data import contents
from visual_memory.data.synthetic import synthetic_embeddings
from visual_memory.reports import workdir
from visual_memory.store.store import Store

# The tiles in sight, and whether each shows its picture (or that it has none).
_TILES = """
  const box = document.getElementById("grid");
  const inSight = () => {
    const {top, bottom} = box.getBoundingClientRect();
    return [...box.querySelectorAll(".tile")].filter((tile) => {
      const at = tile.getBoundingClientRect();
      return at.bottom > top && at.top < bottom;
    });
  };
  const shows = (tile) => {
    const image = tile.querySelector("img");
    return !image || (image.complete && image.naturalWidth);
  };
  const one = inSight()[0].getBoundingClientRect();
  const least = Math.round((box.clientWidth + 8) / (one.width + 8))
    * Math.floor(box.clientHeight / one.height);
  const blank = () => {
    const tiles = inSight();
    return Math.max(tiles.length, least) - tiles.filter(shows).length;
  };
"""
# Frames of a scroll from the top, which has been looked at for a second; in
# each, the places without a picture.
_SCROLL = f"""([pixelsPerSecond, seconds]) => new Promise((done) => {{
  {_TILES}
  const frames = [], blanks = [];
  let from = 0, last = 0;
  const step = (now) => {{
    frames.push(now - last);
    last = now;
    blanks.push(blank());
    if (now - from > 1000 * seconds) {{
      frames.sort((a, b) => a - b);
      done({{frames: frames.length, blank_tiles: Math.max(...blanks),
        frames_with_blank_tiles: blanks.filter(Boolean).length,
        median_frame_ms: frames[frames.length >> 1], pixels: box.scrollTop,
        longest_frame_ms: frames.at(-1)}});
      return;
    }}
    box.scrollTop = pixelsPerSecond * (now - from) / 1000;
    requestAnimationFrame(step);
  }};
  const begin = (now) => {{
    if (blank()) {{ requestAnimationFrame(begin); return; }}
    if (!last) {{ last = now; }}
    if (now - last < 1000) {{ requestAnimationFrame(begin); return; }}
    from = last = now;
    requestAnimationFrame(step);
  }};
  box.scrollTop = 0;
  requestAnimationFrame(begin);
}})"""
# A jump to somewhere, until all tiles in sight have their pictures.
_JUMP = f"""(part) => new Promise((done) => {{
  {_TILES}
  const from = performance.now();
  box.scrollTop = part * box.scrollHeight;
  const look = () => {{
    if (blank()) requestAnimationFrame(look);
    else done(performance.now() - from);
  }};
  requestAnimationFrame(look);
}})"""
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
  result = path / "benchmark_page.json"
  page = files.read_json(result)["page"] if result.exists() else {}
  for name, seen in _drive(config, path):
    page[name] = seen
    files.write_json(
      result,
      {
        "config": config.to_dict(),
        "environment": workdir.environment(),
        "page": page,
      },
    )
    print(name, json.dumps(seen))


def make_store(config, path) -> None:
  """A memory of made-up rows with pictures, at path / memory."""
  folder = path / "pictures"
  shutil.rmtree(path / "memory", ignore_errors=True)
  shutil.rmtree(folder, ignore_errors=True)
  (folder / "made").mkdir(parents=True)
  known = []
  for number in range(config.num_pictures):
    file = folder / "made" / f"{number}.jpg"
    _picture(config.side, number).save(file, quality=85)
    known.append(contents.of_file(file))
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
    picture = Picture(content=known[number], places=((0, at),))
    records.append({PICTURE: picture.to_record(), "number": row})
  made = types.embedded_set(
    rows.embeddings,
    rows.labels,
    ids,
    class_names=rows.class_names,
    fingerprint=encoder.fingerprint,
  )
  origin = Origin(path=str(folder.resolve()), class_level="first")
  provenance = Provenance(
    encoder={"name": config.encoder},
    preprocess=encoder.preprocess.to_dict(),
    origins=(origin,),
  )
  Store.create(
    path / "memory",
    made,
    metadata=records,
    attributes=provenance.to_attributes(),
  )


def _picture(side, seed) -> Image.Image:
  """Smooth noise: it compresses as a photograph does."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
  return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def _drive(config, path):
  """What a browser sees, in milliseconds, part by part."""
  from playwright.sync_api import sync_playwright

  with served(path / "memory") as address, sync_playwright() as driver:
    browser = driver.chromium.launch(
      executable_path=shutil.which("chromium") or None,
      args=["--no-sandbox", "--disable-gpu", "--no-first-run"],
    )
    context = browser.new_context(
      viewport={"width": config.width, "height": config.height}
    )
    page = context.new_page()
    page.set_default_timeout(300_000)
    # A browser that runs already: its own start is not the page's.
    page.goto("data:text/html,<p>ready")
    page.goto(address)
    if "paint" in config.parts:
      yield "first_visit", page.evaluate(_PAINTED)
      # What questions need is ready by then.
      page.wait_for_timeout(1000 * config.ready_s)
      page.reload()
      yield "second_visit", page.evaluate(_PAINTED)
    if "ask" in config.parts:
      yield "answered", _ask(page, config, path)
      page.click("[data-view=browse]")
    if "scroll" in config.parts:
      page.wait_for_selector(".tile img")
      for name, speed in {"slow": 800, "fast": 3000}.items():
        scrolled = page.evaluate(_SCROLL, [speed, config.scrolled_s])
        yield f"scrolled_{name}", {"pixels_per_s": speed} | scrolled
      yield "jumped_ms", [page.evaluate(_JUMP, p) for p in (0.3, 0.9, 0.6)]
    if "map" in config.parts:
      page.route("**/api/map", lambda route: route.fulfill(json=_map(config)))
      page.click("[data-view=map]")
      page.wait_for_selector("#legend li")
      page.wait_for_timeout(500)
      yield "map", page.evaluate(_DRAG, 60)
    browser.close()


def _map(config) -> dict:
  """A map as the server gives it, of made-up places: its drawing is timed.

  Laying it out is what benchmarks/maps.py times.
  """
  rng = np.random.default_rng(0)
  labels = np.arange(config.num_rows) % config.num_classes
  middles = rng.uniform(2000, 14_000, (config.num_classes, 2))
  places = middles[labels] + rng.normal(0, 700, (config.num_rows, 2))
  x, y = np.clip(places, 0, 1 << 14).astype(int).T.tolist()
  labels = labels.tolist()
  return {
    "generation": 1, "positions": list(range(config.num_rows)),
    "labels": labels, "predicted": labels, "x": x, "y": y, "grid": 1 << 14,
    "class_names": [f"class_{c}" for c in range(config.num_classes)],
    "complete": True,
  }  # fmt: skip


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
