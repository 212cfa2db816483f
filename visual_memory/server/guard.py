"""Who may ask: this machine's own page, with the token, and nobody else.

  app = Starlette(..., middleware=[Middleware(Guard, token=token, port=port)])

The server binds to 127.0.0.1, but any page that the user visits may send
requests there. So: a request with another Host is refused (a name that was
made to point here), one with another Origin too (a page from elsewhere), and
everything but the first visit needs the cookie that the token buys. The cookie
is of this server alone (its name holds the port) and never sent from other
sites. Answers forbid the page to load anything from anywhere else.
"""

import hmac
import urllib.parse

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = ("GET", "HEAD")
MARK = "x-visual-memory"
"""A header that requests which change something must have: a form of another
site cannot send it."""

_HEADERS = {
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
    self._cookie = f"visual_memory_{port}"
    self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, or refuses with 403 and one sentence."""
    if scope["type"] != "http":  # Nothing else is served.
      if scope["type"] == "lifespan":
        await self._app(scope, receive, send)
      return
    request = Request(scope)
    answer = self._refused(request) or self._first_visit(request) or self._app

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
    allowed = {f"http://{host}" for host in self._hosts}
    site = request.headers.get("sec-fetch-site", "same-origin")
    if origin is not None and origin not in allowed:
      return _refuse("Requests of other sites are refused.")
    if self._visits(request):
      return None
    if site not in ("same-origin", "none"):
      return _refuse("Requests of other sites are refused.")
    if not self._equal(request.cookies.get(self._cookie, "")):
      return _refuse(
        "Open the address that `visual-memory serve` printed, token included."
      )
    if request.scope["method"] not in SAFE and MARK not in request.headers:
      return _refuse("Only the page itself may change something.")
    return None

  def _first_visit(self, request: Request) -> RedirectResponse | None:
    """Trades the token in the address for the cookie."""
    if not self._visits(request):
      return None
    # Strict: a link on another site that leads here brings no cookie along.
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(
      self._cookie, self._token, httponly=True, samesite="strict"
    )
    return response

  def _visits(self, request: HTTPConnection) -> bool:
    """Whether it is a visit of the page with the right token."""
    query = urllib.parse.parse_qs(request.url.query)
    return (
      request.scope["method"] == "GET"
      and request.url.path == "/"
      and self._equal(query.get("token", [""])[0])
    )

  def _equal(self, token: str) -> bool:
    return hmac.compare_digest(token.encode(), self._token.encode())


def _refuse(why: str) -> PlainTextResponse:
  return PlainTextResponse(why, status_code=403)
