"""The application: what the page asks for, as JSON and pictures.

  app = make_app(Session("memory"), token="...", port=8000)

Every answer about rows names the generation that it is of. Errors that a user
can mend are answered with 400 and one sentence, which the page shows.
"""

import importlib.resources
import mimetypes
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from visual_memory.collection import (
  adding,
  edit_lists,
  origins,
  pending_edits,
  questions,
)
from visual_memory.collection.defaults import VOTER, K
from visual_memory.data.decoding import UnreadableImage
from visual_memory.server import thumbnails
from visual_memory.server.guard import (
  Given,
  Guard,
  body_of,
  filter_of,
  read,
  vote_of,
)
from visual_memory.server.maps import Maps
from visual_memory.server.session import Session
from visual_memory.server.snapshot import select
from visual_memory.store.errors import StoreError, sentence
from visual_memory.types import UNLABELED
from visual_memory.voting import weighting

_MOST_UPLOAD_BYTES = 64 << 20
_MOST_GIVEN_BYTES = 16 << 20
_MOST_ROWS = 500
_MOST_ASKED = 2000
_LARGE = 960
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
    Route("/api/seen", page.answer(page.seen), methods=["POST"]),
    Route("/api/rows", page.answer(page.rows), methods=["POST"]),
    Route("/api/at", page.answer(page.at), methods=["POST"]),
    Route("/api/find", page.answer(page.find), methods=["POST"]),
    Route("/api/picture", page.picture),
    Route("/api/similar", page.answer(page.similar), methods=["POST"]),
    Route("/api/words", page.answer(page.words), methods=["POST"]),
    Route("/api/ask", page.ask, methods=["POST"]),
    Route("/api/ask-again", page.answer(page.ask_again), methods=["POST"]),
    Route("/api/pending", page.answer(page.put), methods=["POST"]),
    Route("/api/undo", page.answer(page.undo), methods=["POST"]),
    Route("/api/apply", page.answer(page.apply), methods=["POST"]),
    Route("/api/accuracy", page.answer(page.accuracy)),
    Route("/api/doubtful", page.answer(page.doubtful), methods=["POST"]),
    Route("/api/add", page.answer(page.add), methods=["POST"]),
    Route("/api/map", page.answer(page.map), methods=["POST"]),
    Route("/api/near", page.answer(page.near), methods=["POST"]),
  ]
  guard = Middleware(Guard, token=token, port=port)
  app = Starlette(routes=routes, middleware=[guard])
  app.state.session = session
  return app


class _Page:
  """The answers, each from a request's JSON to plain values."""

  def __init__(self, session: Session):
    self._session = session
    self._maps = Maps(session)
    # The page asks for one list block by block: kept, so that each block is
    # not filtered anew.
    self._chosen: tuple[Any, Any] = (None, None)

  def answer(
    self, function: Callable[[dict[str, Any]], Any]
  ) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint: the function of a request's JSON, in a thread."""

    async def endpoint(request: Request) -> Response:
      body = await body_of(request, _MOST_GIVEN_BYTES)
      if body is None:
        return _problem("What the page sent is too long.")
      return await _in_words(lambda: JSONResponse(function(read(body))))

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
      "words": self._session.has_words(),
      "pending": pending_edits.pending(self._session.store),
      "voters": {
        name: {key: rule.default for key, rule in voter.hypers.items()}
        for name, voter in weighting.VOTERS.items()
      },
      "defaults": {"k": K, "voter": VOTER},
    }

  def seen(self, _: dict[str, Any]) -> dict[str, Any]:
    """The first rows are on screen: now is time to get ready for questions."""
    self._session.warm_up()
    return {}

  def rows(self, given: dict[str, Any]) -> dict[str, Any]:
    """A stretch of the rows that a filter lets through."""
    snapshot = self._session.snapshot()
    wanted = filter_of(given)
    key = (snapshot.generation, wanted)
    if self._chosen[0] != key:
      self._chosen = (key, select(snapshot, wanted))
    chosen = self._chosen[1]
    start = int(given.get("start", 0))
    count = min(int(given.get("count", 100)), _MOST_ROWS)
    stretch = chosen[start : start + count].tolist()
    return {
      "generation": snapshot.generation,
      "total": len(chosen),
      "start": start,
      "rows": [snapshot.record(p) for p in stretch],
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

    try:
      found = await run_in_threadpool(made)
    except (ValueError, StoreError):  # What is wrong is said where it is asked.
      found = None
    if found is None:
      return Response(status_code=404)
    return Response(found[0], media_type=found[1])

  def similar(self, given: dict[str, Any]) -> dict[str, Any]:
    """The rows most like one."""
    return {"rows": self._session.similar(str(given["id"]), _MOST_ROWS // 5)}

  def words(self, given: dict[str, Any]) -> dict[str, Any]:
    """The rows that a text describes best."""
    text = str(given["text"]).strip()
    if not text:
      raise ValueError("Say in words what to look for.")
    return self._session.by_words(text, _MOST_ROWS // 5)

  async def ask(self, request: Request) -> Response:
    """What an uploaded picture is; its bytes are the body."""
    body = await body_of(request, _MOST_UPLOAD_BYTES)
    if body is None:
      return _problem("That file is larger than 64 MB: drop a smaller picture.")
    given = Given(request.query_params)
    name = given.pop("name", "picture")[:200]
    return await _in_words(
      lambda: JSONResponse(self._session.ask(body, name=name, **vote_of(given)))
    )

  def ask_again(self, given: dict[str, Any]) -> dict[str, Any]:
    """The same picture with another vote, or without some rows."""
    return self._session.ask_again(str(given["question"]), **vote_of(given))

  def put(self, given: dict[str, Any]) -> dict[str, Any]:
    """One more edit that waits."""
    edit_lists.pend(self._session.store, given)
    return {"pending": pending_edits.pending(self._session.store)}

  def undo(self, given: dict[str, Any]) -> dict[str, Any]:
    """Takes a waiting edit back."""
    pending_edits.take_back(self._session.store, int(given["number"]))
    return {"pending": pending_edits.pending(self._session.store)}

  def apply(self, given: dict[str, Any]) -> dict[str, Any]:
    """Applies what waits; what became of each, and of the accuracy."""
    measured = bool(given.get("measure"))
    before = self.accuracy(given)["accuracy"] if measured else None
    outcomes, problem = [], None
    try:
      for outcome in edit_lists.apply_pending(self._session.store):
        outcomes.append(outcome)
    except (KeyError, ValueError, OSError, StoreError) as error:
      problem = sentence(error)
    if outcomes:
      self._session.measure_anew()
    return {
      "outcomes": outcomes,
      "problem": problem,
      "before": before,
      "after": self.accuracy(given)["accuracy"] if measured else None,
      **self.state({}),
    }

  def accuracy(self, given: dict[str, Any]) -> dict[str, Any]:
    """How often rows are classified rightly by the others."""
    vote, memory = vote_of(given), self._session.memory()
    if len(memory) < 2 or (memory.embedded().labels == UNLABELED).all():
      return {"accuracy": None}
    found = questions.accuracy(
      self._session.store,
      k=vote["k"],
      voter=vote["setting"],
      memory=memory,
      most_rows=_MOST_ASKED,
    )
    return {"accuracy": {n: found[n] for n in ("accuracy", "rows", "held")}}

  def doubtful(self, given: dict[str, Any]) -> dict[str, Any]:
    """Rows to look at, as the commands of these names find them.

    Raises:
      ValueError: an unknown kind.
    """
    store, kind = self._session.store, given["kind"]
    memory = self._session.memory()
    if kind == "suspects":
      found = questions.suspects(store, limit=_MOST_ROWS, memory=memory)
      ids = [row["id"] for row in found]
    elif kind == "outliers":
      ids = [row["id"] for row in questions.outliers(store, memory=memory)]
    elif kind == "duplicates":
      groups = questions.duplicates(store, memory=memory)
      ids = [
        member["id"]
        for group in groups
        if len(group["members"]) > 1
        for member in group["members"]
      ][:_MOST_ROWS]
    else:
      raise ValueError("kind is suspects, outliers or duplicates.")
    return {"ids": ids}

  def add(self, given: dict[str, Any]) -> dict[str, Any]:
    """Adds pictures of this machine, as the command does."""
    path, name = given["path"], str(given.get("class") or "").strip() or None
    if not isinstance(path, str) or not path.strip():
      raise ValueError("Name a folder, a .zip or a picture.")
    # With a class of its own, a folder's folders are none.
    options = origins.Options(flat=name is not None)
    request = adding.Request(options=options, class_name=name, progress=False)
    path = os.path.expanduser(path.strip())
    report = adding.add(self._session.store, [path], request)
    return {**report.to_dict(), "remarks": report.remarks(), **self.state({})}

  def map(self, given: dict[str, Any]) -> dict[str, Any]:
    """Where the rows lie on the map, if it is made; else how far it is."""
    return self._maps.current(anew=bool(given.get("anew")))

  def near(self, given: dict[str, Any]) -> dict[str, Any]:
    """How similar the rows of the map are to a picture or a text."""
    return self._maps.similarities(str(given["question"]))


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
  except (TypeError, AttributeError, OverflowError):
    return _problem("That request is not of the form that the page sends.")


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
    )

  return endpoint
