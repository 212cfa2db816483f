"""A memory in the browser: serve."""

import argparse
import atexit
import html
import os
import pathlib
import shutil
import tempfile
import threading
import webbrowser

from visual_memory.cli import output
from visual_memory.cli.commands import command, option

_SERVE = """\
  visual-memory serve                    prints an address to open
  visual-memory serve --open             opens it in your browser
  visual-memory serve --store pets --port 8000"""


_KEPT_S = 30.0
"""How long a browser has to read the page that leads to the address."""


def _open(address: str) -> bool:
  """Opens an address in the user's browser; whether one could be started.

  What a process is started with can be read by every user of the machine, and
  the address holds the token. So the browser is given a file that leads there,
  which its owner alone can read, and which is gone soon.
  """
  folder = tempfile.mkdtemp(prefix="visual-memory-")  # Its owner's alone.
  remove = lambda: shutil.rmtree(folder, ignore_errors=True)
  atexit.register(remove)
  timer = threading.Timer(_KEPT_S, remove)
  timer.daemon = True
  timer.start()
  page = pathlib.Path(folder) / "open.html"
  with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
    file.write(
      '<!doctype html><meta charset="utf-8"><title>visual memory</title>'
      '<meta name="referrer" content="no-referrer"><meta http-equiv="refresh"'
      f' content="0; url={html.escape(address)}">'
    )
  return webbrowser.open(page.as_uri())


@command(
  "serve",
  option(
    "--port",
    type=int,
    default=0,
    metavar="N",
    help="of 127.0.0.1 (default: a free one)",
  ),
  option("--open", action="store_true", help="open the page in your browser"),
  examples=_SERVE,
)
def serve(arguments: argparse.Namespace) -> None:
  """See, ask and edit a memory in the browser.

  Serves one page to this machine alone, until it is interrupted (Ctrl-C).
  """
  output.open_store(arguments)  # What is wrong with it is said at once.
  try:
    from visual_memory.server import listening
  except ImportError as error:
    raise ImportError(
      "The page needs Starlette and uvicorn: install them with"
      " pip install 'visual_memory[serve]'."
    ) from error

  def ready(address: str) -> None:
    output.show(arguments, {"address": address}, f"Open {address}")
    output.say("Only this machine can. Press Ctrl-C to stop.")
    if arguments.open and not _open(address):
      output.say("No browser could be started: open the address yourself.")

  listening.serve(arguments.store, port=arguments.port, ready=ready)
