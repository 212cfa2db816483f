"""What examples/ says is what happens: its rehearsal is run, word for word."""

import pathlib
import re
import subprocess
import sys

from distributed_test import free_port

from visual_memory import files

ROOT = pathlib.Path(__file__).resolve().parents[1]
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
  # Gloo's threads write into one another's lines.
  told = [line for line in masked(done.stdout) if "peer rank" not in line]
  assert list(filter(None, told)) == masked(said)
  left = tmp_path / "work" / "rehearsal"
  env = files.read_json(left / "env.json")
  assert (env["num_devices"], env["num_processes"]) == (8, 2)
  report = files.read_json(left / "report.json")
  assert report["neighbors_fingerprint"] == prints.strip()
