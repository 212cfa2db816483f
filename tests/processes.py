"""Other processes of this Python."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def python(*words, **options):
  """What became of Python with these words, started at the root: its output."""
  command = [sys.executable, *map(str, words)]
  options = {"cwd": ROOT, "check": False, **options}
  return subprocess.run(command, capture_output=True, text=True, **options)


_FORKING = """
import gc, importlib, json, os, runpy, sys, tempfile
module, imported, commands = json.load(sys.stdin)
for name in imported:
  importlib.import_module(name)
gc.freeze()  # At its end a process would look at all of it.
told = []
for words in commands:
  said = [tempfile.TemporaryFile("w+") for _ in range(2)]
  if not (child := os.fork()):
    for number, file in enumerate(said, start=1):
      os.dup2(file.fileno(), number)
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit()
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  for file in said:
    file.seek(0)
  told.append([words, code, *(file.read() for file in said)])
json.dump(told, sys.stdout)
"""


def modules(module, *commands, imported, **options):
  """What became of `python -m module` with each of these lists of words.

  They run one after the other, each in a process of its own that begins where
  the `imported` are imported: what takes most of the time is done once.
  """
  commands = [list(map(str, words)) for words in commands]
  asked = json.dumps([module, imported, commands])
  done = python("-c", _FORKING, input=asked, **options)
  assert done.returncode == 0, done.stderr
  return [subprocess.CompletedProcess(*x) for x in json.loads(done.stdout)]
