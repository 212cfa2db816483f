"""Serving a memory on this machine: one address, one token, until interrupted.

serve("memory", port=0, ready=lambda address: print(address))
"""

import secrets
import socket
from collections.abc import Callable

import uvicorn

from visual_memory.server.app import make_app
from visual_memory.server.session import Session

HOST = "127.0.0.1"
"""The only address that is ever bound."""


def serve(path: str, *, port: int, ready: Callable[[str], None]) -> None:
  """Serves the store at a path until the process is interrupted.

  Args:
    path: of the store.
    port: on 127.0.0.1; 0 takes a free one.
    ready: is told the address to open, which holds a new random token.

  Raises:
    StoreError: there is no store.
    OSError: the port is taken.
  """
  session = Session(path)
  session.snapshot()  # The first page is drawn at once.
  with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()  # Whoever comes before the server runs is kept waiting.
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    app = make_app(session, token=token, port=port)
    config = uvicorn.Config(
      app,
      access_log=False,  # Its lines would hold the token.
      lifespan="off",
      log_level="warning",
      proxy_headers=False,  # Nobody stands between.
      server_header=False,
      ws="none",
    )
    ready(f"http://{HOST}:{port}/{token}/")
    uvicorn.Server(config).run(sockets=[listener])
