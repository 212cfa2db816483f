"""A process that forks one that edits a store, for each line that it is told.

A line is a JSON list: the name of a function of store_cases and its arguments.
It answers with the process's number at once, and with its status at its end.
"""

import json
import os
import subprocess
import sys


class Editor:
  """The other side: starts store_editor.py and talks to it."""

  def __init__(self):
    self._process = subprocess.Popen(
      [sys.executable, __file__],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def start(self, name, *arguments):
    """Starts a function in a process of its own; the process's number."""
    print(json.dumps([name, *arguments]), file=self._process.stdin, flush=True)
    return int(self._process.stdout.readline())

  def status(self):
    """Waits for the process; its exit status, negative if it was killed."""
    return int(self._process.stdout.readline())

  def close(self):
    """Ends."""
    self._process.stdin.close()
    self._process.wait()


def main():
  """Forks until there are no more lines."""
  import store_cases

  for line in sys.stdin:
    name, *arguments = json.loads(line)
    pid = os.fork()
    if not pid:
      getattr(store_cases, name)(*arguments)
      os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
  main()
