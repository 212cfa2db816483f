"""A memory in the browser: serve."""

import argparse
import webbrowser
from typing import Any

from visual_memory.cli import output

_SERVE = """\
  visual-memory serve                    prints an address to open
  visual-memory serve --open             opens it in your browser
  visual-memory serve --store pets --port 8000"""


def add_commands(commands: Any) -> None:
  """Adds serve."""
  parser = output.command(
    commands,
    "serve",
    _serve,
    text="See, ask and edit a memory in the browser. Serves one page to this"
    " machine alone, until it is interrupted (Ctrl-C).",
    examples=_SERVE,
  )
  parser.add_argument(
    "--port",
    type=int,
    default=0,
    metavar="N",
    help="of 127.0.0.1 (default: a free one)",
  )
  parser.add_argument(
    "--open", action="store_true", help="open the page in your browser"
  )


def _serve(arguments: argparse.Namespace) -> None:
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
    if arguments.open and not webbrowser.open(address):
      output.say("No browser could be started: open the address yourself.")

  listening.serve(arguments.store, port=arguments.port, ready=ready)
