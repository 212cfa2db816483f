"""A folder of GLSL shaders becomes a dataset of pictures in ArrayRecord files.

report = render_folder("shaders", "dataset", size=256, num_images=100, seed=0,
                       time_limit_s=60)
images = read_pictures("dataset/0a1b2c3d.array_record")

Each shader is a class with a file of its own. A run that was stopped goes on
where it stopped; shaders that cannot be drawn are reported and skipped.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from visual_memory import files
from visual_memory.procedural import glsl_dialects
from visual_memory.procedural.glsl_dialects import UnsupportedShader
from visual_memory.procedural.glsl_worker import Worker

SUFFIXES = (".glsl", ".frag", ".fs", ".txt", ".json")
TIMES_S = (0.1, 10.0)
_REPORT = "report.json"
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderReport:
  """What became of every shader.

  Attributes:
    written: the file of pictures of each shader that was drawn.
    skipped: the reason for each shader that was not.
    resumed: how many of both were known from an earlier run.
  """

  written: dict[str, str]
  skipped: dict[str, str]
  resumed: int


def render_folder(
  shaders: str | os.PathLike,
  output: str | os.PathLike,
  *,
  size: int,
  num_images: int,
  seed: int,
  time_limit_s: float,
  progress: Callable[[str], None] = lambda line: None,
) -> FolderReport:
  """Draws every shader of a folder at random times.

  Times are uniform in TIMES_S and depend on the seed, the shader's name and
  code, and the picture's number: not on the other shaders.

  Args:
    shaders: a folder, searched to any depth for files with SUFFIXES; their
      dialect is that of glsl_dialects.detect, .json is Shadertoy's.
    output: a folder for one ArrayRecord file per shader and report.json.
    size: S, the side of the pictures in pixels.
    num_images: pictures of each shader.
    seed: chooses times.
    time_limit_s: for all pictures of one shader.
    progress: called with one line for each shader.

  Raises:
    ValueError: no shaders, or an output folder of other options.
    RuntimeError: no OpenGL here.
  """
  shaders, output = pathlib.Path(shaders), pathlib.Path(output)
  names = sorted(
    path.relative_to(shaders).as_posix()
    for path in shaders.rglob("*")
    if path.suffix in SUFFIXES and path.is_file()
  )
  if not names:
    raise ValueError(
      f"There are no shaders ({', '.join(SUFFIXES)}) under {shaders}."
    )
  options = dict(size=size, num_images=num_images, seed=seed, version=_VERSION)
  known = _open_report(output, options)
  written, skipped, resumed = {}, {}, 0
  with Worker(size=size, time_limit_s=time_limit_s) as worker:
    for name in names:
      code = (shaders / name).read_text(encoding="utf-8", errors="replace")
      digest = hashlib.sha256(f"{name}\n{code}".encode()).hexdigest()[:16]
      entry = known["shaders"].get(name)
      if entry is None or entry["digest"] != digest:
        entry = _draw(worker, name, code, digest, output, options)
        known["shaders"][name] = entry
        files.write_text(output / _REPORT, json.dumps(known, indent=1))
        progress(f"{name}: {entry.get('skipped', 'drawn')}")
      else:
        resumed += 1
      kind = skipped if "skipped" in entry else written
      kind[name] = entry.get("skipped") or entry["file"]
  return FolderReport(written=written, skipped=skipped, resumed=resumed)


def _draw(worker, name, code, digest, output, options) -> dict:
  """One shader's entry in the report, after its file is written."""
  try:
    if name.endswith(".json"):
      _, code = glsl_dialects.read_shadertoy(code)
      dialect = "shadertoy"
    else:
      dialect = glsl_dialects.detect(code)
    rng = np.random.default_rng([options["seed"], int(digest, 16)])
    times = rng.uniform(*TIMES_S, options["num_images"])
    images = worker.draw(code, dialect, times=times.tolist())
  except UnsupportedShader as error:
    return {"digest": digest, "skipped": str(error)}
  file = f"{digest}.array_record"
  _write_pictures(output / file, name, times, images)
  return {"digest": digest, "dialect": dialect, "file": file}


def _open_report(output: pathlib.Path, options: dict) -> dict:
  """The report of an earlier run with the same options, or a new one."""
  output.mkdir(parents=True, exist_ok=True)
  path = output / _REPORT
  if not path.exists():
    return {"options": options, "shaders": {}}
  known = json.loads(path.read_text())
  if known["options"] != options:
    raise ValueError(
      f"{output} holds pictures with {known['options']}, not {options}: choose"
      " another folder."
    )
  return known


def _write_pictures(path: pathlib.Path, name, times, images) -> None:
  """Writes one shader's pictures: a line of JSON, then PNG, in each record."""
  from array_record.python import array_record_module

  with files.replacing(path) as partial:
    writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1")
    for number, (time, image) in enumerate(zip(times, images, strict=True)):
      head = {"id": f"{name}/{number}", "shader": name, "time_s": time}
      data = io.BytesIO()
      Image.fromarray(image).save(data, "PNG")
      writer.write(json.dumps(head).encode() + b"\n" + data.getvalue())
    writer.close()


def read_pictures(path: str | os.PathLike) -> list[tuple[dict, np.ndarray]]:
  """The pictures of one shader: (id, shader and time_s; uint8 [S, S, 3])."""
  from array_record.python import array_record_module

  reader = array_record_module.ArrayRecordReader(str(path))
  found = []
  for record in reader.read_all():
    head, _, data = record.partition(b"\n")
    with Image.open(io.BytesIO(data)) as image:
      found.append((json.loads(head), np.asarray(image.convert("RGB"))))
  reader.close()
  return found
