"""What a stranger installs, from an empty folder; and what examples/ says."""

import os
import pathlib
import re
import subprocess
import sys
import zipfile

import numpy as np
import processes
import pytest
from distributed_test import free_port
from PIL import Image

import visual_memory as vm
from visual_memory import files

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

  commands = (
    ("--version",),
    ("build", "photos"),
    ("classify", "photos/red/1.png"),
    ("explain", "photos/red/1.png", "-o", "why.html", "--no-open"),
    ("remove", "red/1.png"),
    ("verify",),
    ("run", "evaluate:smoke", "work"),
  )
  *done, refused = processes.modules(
    "visual_memory.cli",
    *commands,
    imported=[
      "jax",
      "visual_memory.cli.main",
      "visual_memory.cli.building",
      "visual_memory.collection.answering",
      "visual_memory.collection.sureness",
      "visual_memory.encoders.vit",
      "visual_memory.reports.explanation",
      "visual_memory.voting.weighting",
    ],
    cwd=tmp_path,
    env={
      **os.environ,
      "PYTHONPATH": str(installed),
      "JAX_PLATFORMS": "cpu",
    },
  )
  for command in done:
    assert command.returncode == 0, command.stderr
    assert "TPU" not in command.stderr
  version, built, classified, _, removed, verified = [x.stdout for x in done]
  assert vm.__version__ in version
  assert "10 images of 2 classes" in built
  assert "red" in classified
  assert "red/1.png" in (tmp_path / "why.html").read_text(encoding="utf-8")
  assert "for good" in removed
  assert "Sound" in verified
  assert refused.returncode == 1
  assert "git clone" in refused.stderr and refused.stderr.count("\n") == 1


POD = (ROOT / "examples" / "pod.md").read_text(encoding="utf-8")
PORT = "127.0.0.1:29400"


def masked(text):
  """Without what differs from run to run: seconds, and where files are."""
  text = re.sub(r"\d+\.\d+ s\b", "# s", text)
  return re.sub(r"\S*work/rehearsal", "work/rehearsal", text).splitlines()


def test_a_rehearsal_of_a_pod(tmp_path):
  (commands,) = re.findall(r"```sh\n(.*?)```", POD, re.S)
  said, prints = re.findall(r"```text\n(.*?)```", POD, re.S)
  assert PORT in commands
  commands = commands.replace(PORT, f"127.0.0.1:{free_port()}")
  commands = commands.replace(
    "work/rehearsal", str(tmp_path / "work" / "rehearsal")
  )
  commands = commands.replace('"python ', f'"{sys.executable} ')
  done = subprocess.run(
    ["bash", "-euc", commands],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout[-3000:]
  # Gloo's threads write into one another's lines, or a number alone.
  theirs = re.compile(r".*(Gloo|peer rank).*|[^A-Za-z]*")
  told = [line for line in masked(done.stdout) if not theirs.fullmatch(line)]
  assert told == masked(said)
  left = tmp_path / "work" / "rehearsal"
  env = files.read_json(left / "env.json")
  assert (env["num_devices"], env["num_processes"]) == (8, 2)
  report = files.read_json(left / "report.json")
  assert report["neighbors_fingerprint"] == prints.strip()
