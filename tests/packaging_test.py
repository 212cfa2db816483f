"""What a stranger installs: a wheel, used from an empty folder."""

import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import visual_memory as vm

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """A folder that holds what the wheel brings, and nothing of the clone."""
  out = tmp_path_factory.mktemp("wheel")
  command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
  flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
  done = subprocess.run(
    [*command, "wheel", *flags, "--wheel-dir", out, ROOT],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  (wheel,) = out.glob("*.whl")
  assert vm.__version__ in wheel.name
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(out / "site")
  return out / "site"


def test_the_wheel_brings_what_is_needed_and_no_more(installed):
  names = {
    str(path.relative_to(installed))
    for path in installed.rglob("*")
    if path.is_file()
  }
  for needed in (
    "visual_memory/py.typed",
    "visual_memory/encoders/shipped/procedural_patches.npz",
    "visual_memory/encoders/shipped/procedural_vit.npz",
    "visual_memory/reports/templates/page.html.jinja",
    "visual_memory/server/static/index.html",
  ):
    assert needed in names, needed
  tops = {name.split("/")[0] for name in names}
  assert {t for t in tops if not t.endswith(".dist-info")} == {"visual_memory"}


def test_a_newcomer_gets_from_a_folder_to_a_receipt(installed, tmp_path):
  rng = np.random.default_rng(0)
  for label, color in {"red": (200, 20, 20), "blue": (20, 20, 200)}.items():
    (tmp_path / "photos" / label).mkdir(parents=True)
    for number in range(5):
      pixels = np.clip(rng.normal(color, 30, (40, 40, 3)), 0, 255)
      picture = Image.fromarray(pixels.astype(np.uint8))
      picture.save(tmp_path / "photos" / label / f"{number}.png")

  def run(*words, code=0):
    done = subprocess.run(
      [sys.executable, "-m", "visual_memory.cli", *words],
      cwd=tmp_path,
      env={
        **os.environ,
        "PYTHONPATH": str(installed),
        "JAX_PLATFORMS": "cpu",
      },
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == code, done.stderr
    assert "TPU" not in done.stderr
    return done.stderr if code else done.stdout

  assert vm.__version__ in run("--version")
  assert "10 images of 2 classes" in run("build", "photos")
  assert "red" in run("classify", "photos/red/1.png")
  run("explain", "photos/red/1.png", "-o", "why.html", "--no-open")
  assert "red/1.png" in (tmp_path / "why.html").read_text(encoding="utf-8")
  assert "for good" in run("remove", "red/1.png")
  assert "Sound" in run("verify")
  said = run("run", "evaluate:smoke", "work", code=1)
  assert "git clone" in said and said.count("\n") == 1
