"""What a request says, read with suspicion: a body, its JSON, a filter, a vote.

given = read(await body_of(request, 1 << 20))
given["ids"]                # ValueError in words, if the request lacks it
"""

import json
from typing import Any

from starlette.requests import Request

from visual_memory.collection.defaults import VOTER, K
from visual_memory.server.snapshot import Filter
from visual_memory.voting import weighting


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
