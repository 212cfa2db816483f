"""Who may ask, and what a request says: both read with suspicion.

  app = Starlette(..., middleware=[Middleware(Guard, token=token, port=port)])
  given = read(await body_of(request, 1 << 20))
  given["ids"]                # ValueError in words, if the request lacks it

The server binds to 127.0.0.1, but any page that the user visits may send
requests there. So: a request with another Host is refused (a name that was
made to point here), one with another Origin too (a page from elsewhere), and
every address begins with the token. It is in no cookie: a browser sends those
to every port of this machine, where another user's server may listen. Answers
forbid the page to load anything from anywhere else, to tell anyone where it
is, and to be kept on a disk: what is removed is gone.
"""

import hmac
import json
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from visual_memory.collection.defaults import VOTER, K
from visual_memory.server.snapshot import Filter
from visual_memory.voting import weighting

SAFE = ("GET", "HEAD")
MARK = "x-visual-memory"
"""A header that requests which change something must have: a form of another
site cannot send it."""

_HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src"
    " 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
  ),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
}


class Guard:
  """ASGI middleware that lets the page's own requests through."""

  def __init__(self, app: ASGIApp, *, token: str, port: int):
    """Guards an application that is served at a port of this machine."""
    self._app, self._token = app, token
    self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, or refuses with 403 and one sentence."""
    if scope["type"] != "http":  # Nothing else is served.
      if scope["type"] == "lifespan":
        await self._app(scope, receive, send)
      return
    answer = self._refused(Request(scope)) or self._app
    path = scope["path"].removeprefix(f"/{self._token}")
    if answer is self._app and not path:
      answer = RedirectResponse(f"/{self._token}/", status_code=303)
    scope = {**scope, "path": path, "raw_path": path.encode()}

    async def with_headers(message: Message) -> None:
      if message["type"] == "http.response.start":
        names = {name.lower() for name, _ in message["headers"]}
        message["headers"] = [
          *message["headers"],
          *(
            (name.encode(), value.encode())
            for name, value in _HEADERS.items()
            if name.encode() not in names
          ),
        ]
      await send(message)

    await answer(scope, receive, with_headers)

  def _refused(self, request: HTTPConnection) -> PlainTextResponse | None:
    """A refusal, if the request is not the page's own."""
    if request.headers.get("host") not in self._hosts:
      return _refuse("This server answers to its own address only.")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers['host']}":
      return _refuse("Requests of other sites are refused.")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") and not self._visit(request):
      return _refuse("Requests of other sites are refused.")
    if not self._equal(request.scope["path"][1:].partition("/")[0]):
      return _refuse(
        "Open the address that `visual-memory serve` printed, token included."
      )
    if request.scope["method"] not in SAFE and MARK not in request.headers:
      return _refuse("Only the page itself may change something.")
    return None

  def _visit(self, request: HTTPConnection) -> bool:
    """Whether a tab is led to the page itself, as by a link in a file.

    It learns nothing that it may read: frames are forbidden, and no opener
    keeps a hold of the page.
    """
    wanted = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    return (
      request.scope["method"] in SAFE
      and request.scope["path"].rstrip("/").count("/") == 1
      and all(request.headers.get(k) == v for k, v in wanted.items())
    )

  def _equal(self, token: str) -> bool:
    given = token.encode("utf-8", "replace")
    return hmac.compare_digest(given, self._token.encode())


def _refuse(why: str) -> PlainTextResponse:
  return PlainTextResponse(why, status_code=403)


class Given(dict):
  """What a request says; what it lacks is told in words."""

  def __missing__(self, name: str) -> Any:
    """Raises ValueError, which names it."""
    raise ValueError(f"The request lacks {name!r}.")


def read(body: bytes) -> Given:
  """A request's JSON.

  Raises:
    ValueError: it is none, or no object.
  """
  try:
    given = json.loads(body or b"{}")
  except (ValueError, RecursionError):
    given = None
  if not isinstance(given, dict):
    raise ValueError("What was sent is no JSON object.")
  return Given(given)


async def body_of(request: Request, most: int) -> bytes | None:
  """A request's body; None if it is longer, of which no more is read."""
  body = bytearray()
  async for part in request.stream():
    body += part
    if len(body) > most:
      return None
  return bytes(body)


def filter_of(given: dict[str, Any]) -> Filter:
  """The filter that a request describes."""
  among = given.get("among")
  return Filter(
    classes=tuple(given.get("classes") or ()),
    text=str(given.get("text") or ""),
    fields=tuple((str(k), str(v)) for k, v in given.get("fields") or ()),
    among=None if among is None else tuple(map(str, among)),
    newest_first=bool(given.get("newest_first")),
  )


def vote_of(given: dict[str, Any]) -> dict[str, Any]:
  """k, voter with its hyper-parameter, and the rows to do without.

  Raises:
    ValueError: k is no positive number, or no such voter.
  """
  k = int(given.get("k") or K)
  if k < 1:
    raise ValueError(f"k = {k}: at least one neighbor must vote.")
  voter = str(given.get("voter") or VOTER)
  if voter not in weighting.VOTERS:  # A request imports no module.
    raise ValueError(f"There is no voter {voter!r}.")
  hyper = {}
  if given.get("hyper") not in (None, ""):
    names = list(weighting.VOTERS[voter].hypers)
    hyper = {names[0]: float(given["hyper"])} if names else {}
  without = given.get("without") or []
  return {
    "k": k,
    "setting": weighting.setting(voter, **hyper),
    "without": [str(row_id) for row_id in without],
  }
