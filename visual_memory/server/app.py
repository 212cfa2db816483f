"""The application: what the page asks for, as JSON and pictures.

  app = make_app(Session("memory"), token="...", port=8000)

Every answer about rows names the generation that it is of. Errors that a user
can mend are answered with 400 and one sentence, which the page shows.
"""

import importlib.resources
import mimetypes
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from visual_memory.data.decoding import UnreadableImage
from visual_memory.server import quality, thumbnails
from visual_memory.server.guard import Guard
from visual_memory.server.maps import Maps
from visual_memory.server.pending import Pending
from visual_memory.server.session import Session
from visual_memory.server.snapshot import Filter, select
from visual_memory.store.errors import StoreError, sentence
from visual_memory.voting import weighting

_MOST_UPLOAD_BYTES = 64 << 20
_MOST_ROWS = 500
_LARGE = 960
_K, _VOTER = 10, "softmax"
_STATIC = importlib.resources.files("visual_memory.server") / "static"


def make_app(session: Session, *, token: str, port: int) -> Starlette:
  """The application of one session, guarded by a token.

  Args:
    session: what the page is about.
    token: what the first visit must bring.
    port: where the application is served, on 127.0.0.1.
  """
  page = _Page(session)
  routes = [
    Route("/", _static("index.html")),
    Route("/static/{name}", _static()),
    Route("/api/state", page.answer(page.state)),
    Route("/api/rows", page.answer(page.rows), methods=["POST"]),
    Route("/api/at", page.answer(page.at), methods=["POST"]),
    Route("/api/find", page.answer(page.find), methods=["POST"]),
    Route("/api/picture", page.picture),
    Route("/api/similar", page.answer(page.similar), methods=["POST"]),
    Route("/api/ask", page.ask, methods=["POST"]),
    Route("/api/ask-again", page.answer(page.ask_again), methods=["POST"]),
    Route("/api/pending", page.answer(page.put), methods=["POST"]),
    Route("/api/undo", page.answer(page.undo), methods=["POST"]),
    Route("/api/apply", page.answer(page.apply), methods=["POST"]),
    Route("/api/accuracy", page.answer(page.accuracy)),
    Route("/api/map", page.answer(page.map), methods=["POST"]),
  ]
  guard = Middleware(Guard, token=token, port=port)
  return Starlette(routes=routes, middleware=[guard])


class _Page:
  """The answers, each from a request's JSON to plain values."""

  def __init__(self, session: Session):
    self._session = session
    self._pending = Pending()
    self._maps = Maps(session)
    # The page asks for one list block by block: kept, so that each block is
    # not filtered anew.
    self._chosen: tuple[Any, Any] = (None, None)

  def answer(
    self, function: Callable[[dict[str, Any]], Any]
  ) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint: the function of a request's JSON, in a thread."""

    async def endpoint(request: Request) -> Response:
      given = await request.json() if request.method == "POST" else {}
      return await _in_words(lambda: JSONResponse(function(given)))

    return endpoint

  def state(self, _: dict[str, Any]) -> dict[str, Any]:
    """What the memory holds; cheap, asked every few seconds."""
    snapshot, contents = self._session.snapshot(), self._session.store.contents
    encoder = contents.attributes.get("encoder") or {}
    return {
      "name": self._session.path,
      "generation": snapshot.generation,
      "num_rows": len(snapshot.ids),
      "classes": snapshot.counts(),
      "unlabelled": int((snapshot.labels < 0).sum()),
      "encoder": encoder.get("name"),
      "pending": self._pending.listed(),
      "voters": {
        name: {key: rule.default for key, rule in voter.hypers.items()}
        for name, voter in weighting.VOTERS.items()
      },
      "defaults": {"k": _K, "voter": _VOTER},
    }

  def rows(self, given: dict[str, Any]) -> dict[str, Any]:
    """A stretch of the rows that a filter lets through."""
    snapshot = self._session.snapshot()
    wanted = _filter(given)
    key = (snapshot.generation, wanted)
    if self._chosen[0] != key:
      self._chosen = (key, select(snapshot, wanted))
    chosen = self._chosen[1]
    start = int(given.get("start", 0))
    count = min(int(given.get("count", 100)), _MOST_ROWS)
    return {
      "generation": snapshot.generation,
      "total": len(chosen),
      "start": start,
      "rows": [
        snapshot.record(p) for p in chosen[start : start + count].tolist()
      ],
    }

  def at(self, given: dict[str, Any]) -> dict[str, Any]:
    """The rows at some positions of a generation.

    Raises:
      ValueError: the memory has been edited since: positions may have moved.
    """
    snapshot = self._session.snapshot()
    if int(given["generation"]) != snapshot.generation:
      raise ValueError("The memory has been edited meanwhile: try once more.")
    positions = [int(p) for p in given["positions"]]
    return {"rows": [snapshot.record(p) for p in positions]}

  def find(self, given: dict[str, Any]) -> dict[str, Any]:
    """The positions of some ids; -1 for those that are not there."""
    places = self._session.snapshot().positions
    return {"positions": [places.get(str(i), -1) for i in given["ids"]]}

  async def picture(self, request: Request) -> Response:
    """A row's picture: a thumbnail, or with `large` most of it."""
    row_id = request.query_params.get("id", "")

    def made() -> tuple[bytes, str] | None:
      if "large" not in request.query_params:
        return self._session.thumbnail(row_id)
      image = self._session.picture(row_id)
      return None if image is None else thumbnails.encode(image, _LARGE)

    found = await run_in_threadpool(made)
    if found is None:
      return Response(status_code=404)
    # The address holds the generation: a browser may keep it until an edit.
    headers = {"cache-control": "private, max-age=3600"}
    return Response(found[0], media_type=found[1], headers=headers)

  def similar(self, given: dict[str, Any]) -> dict[str, Any]:
    """The rows most like one."""
    return {"rows": self._session.similar(str(given["id"]), _MOST_ROWS // 5)}

  async def ask(self, request: Request) -> Response:
    """What an uploaded picture is; its bytes are the body."""
    length = int(request.headers.get("content-length") or 0)
    if length > _MOST_UPLOAD_BYTES:
      return _problem("That file is larger than 64 MB: drop a smaller picture.")
    body = await request.body()
    given = dict(request.query_params)
    name = given.pop("name", "picture")[:200]
    return await _in_words(
      lambda: JSONResponse(self._session.ask(body, name=name, **_vote(given)))
    )

  def ask_again(self, given: dict[str, Any]) -> dict[str, Any]:
    """The same picture with another vote, or without some rows."""
    return self._session.ask_again(str(given["question"]), **_vote(given))

  def put(self, given: dict[str, Any]) -> dict[str, Any]:
    """One more edit that waits."""
    self._pending.put(given)
    return {"pending": self._pending.listed()}

  def undo(self, given: dict[str, Any]) -> dict[str, Any]:
    """Takes a waiting edit back."""
    self._pending.undo(int(given["number"]))
    return {"pending": self._pending.listed()}

  def apply(self, given: dict[str, Any]) -> dict[str, Any]:
    """Applies what waits; what became of each, and of the accuracy."""
    measured = bool(given.get("measure"))
    before = self.accuracy(given)["accuracy"] if measured else None
    outcomes, problem = [], None
    try:
      for outcome in self._pending.apply(self._session.store):
        outcomes.append(outcome)
    except (KeyError, ValueError, OSError, StoreError) as error:
      problem = sentence(error)
    return {
      "outcomes": outcomes,
      "problem": problem,
      "before": before,
      "after": self.accuracy(given)["accuracy"] if measured else None,
      **self.state({}),
    }

  def accuracy(self, given: dict[str, Any]) -> dict[str, Any]:
    """How often rows are classified rightly by the others."""
    vote = _vote(given)
    return {
      "accuracy": quality.accuracy(
        self._session.memory(), k=vote["k"], setting=vote["setting"]
      )
    }

  def map(self, given: dict[str, Any]) -> dict[str, Any]:
    """Where the rows lie on the map, if it is made; else how far it is."""
    return self._maps.current(anew=bool(given.get("anew")))


def _filter(given: dict[str, Any]) -> Filter:
  """The filter that a request describes."""
  among = given.get("among")
  return Filter(
    classes=tuple(given.get("classes") or ()),
    text=str(given.get("text") or ""),
    fields=tuple((str(k), str(v)) for k, v in given.get("fields") or ()),
    among=None if among is None else tuple(map(str, among)),
    newest_first=bool(given.get("newest_first")),
  )


def _vote(given: dict[str, Any]) -> dict[str, Any]:
  """k, voter with its hyper-parameter, and the rows to do without.

  Raises:
    ValueError: k is no positive number, or no such voter.
  """
  k = int(given.get("k") or _K)
  if k < 1:
    raise ValueError(f"k = {k}: at least one neighbor must vote.")
  voter = str(given.get("voter") or _VOTER)
  hyper = {}
  if given.get("hyper") not in (None, ""):
    names = (
      list(weighting.VOTERS[voter].hypers) if voter in weighting.VOTERS else []
    )
    hyper = {names[0]: float(given["hyper"])} if names else {}
  without = given.get("without") or []
  return {
    "k": k,
    "setting": weighting.setting(voter, **hyper),
    "without": [str(row_id) for row_id in without],
  }


async def _in_words(work: Callable[[], Response]) -> Response:
  """What work returns, in a thread; errors of the user as one sentence."""
  try:
    return await run_in_threadpool(work)
  except (
    KeyError,
    ValueError,
    OSError,
    StoreError,
    UnreadableImage,
  ) as error:
    return _problem(sentence(error))


def _problem(sentence: str) -> JSONResponse:
  return JSONResponse({"error": sentence}, status_code=400)


def _static(name: str | None = None):
  """An endpoint that gives a packaged file."""
  present = {entry.name for entry in _STATIC.iterdir()}

  async def endpoint(request: Request) -> Response:
    wanted = name or request.path_params["name"]
    if wanted not in present:
      return Response(status_code=404)
    kind = mimetypes.guess_type(wanted)[0] or "application/octet-stream"
    return Response(
      (_STATIC / wanted).read_bytes(),
      media_type="text/javascript" if kind.endswith("javascript") else kind,
      headers={"cache-control": "no-cache"},
    )

  return endpoint
