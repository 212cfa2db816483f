"""Other processes of this Python."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def python(*words, **options):
  """What became of Python with these words, started at the root: its output."""
  command = [sys.executable, *map(str, words)]
  options = {"cwd": ROOT, "check": False, **options}
  return subprocess.run(command, capture_output=True, text=True, **options)
