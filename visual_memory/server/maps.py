"""The map of a session's memory, made once in the background.

An edit does not draw it anew: rows that are gone leave it, rows that are new
are not on it yet, and the page offers to draw it again.
"""

import logging
import threading
from typing import Any

import numpy as np

from visual_memory.analysis.neighbor_map import map_of, neighbors_of
from visual_memory.collection.answering import VOTER, K
from visual_memory.server.session import Session
from visual_memory.types import UNLABELED
from visual_memory.voting import vote, weighting

_GRID = 1 << 14
"""Coordinates travel as whole numbers from 0 to this."""


class Maps:
  """The newest map, or how far it is; safe between threads."""

  def __init__(self, session: Session):
    """Nothing is drawn before it is first asked for."""
    self._session = session
    self._lock = threading.Lock()
    self._thread: threading.Thread | None = None
    self._done = 0.0
    self._problem: str | None = None
    self._ids: np.ndarray | None = None
    self._places = np.zeros((0, 2), np.int64)
    self._names: np.ndarray = np.zeros(0, object)  # What the others say.
    self._at = -1

  def current(self, *, anew: bool = False) -> dict[str, Any]:
    """The map: positions of rows, x and y; or done, a fraction.

    Also the class of each row and the one that the others voted for when it
    was drawn, as indices of class_names; -1 is none.

    Args:
      anew: draw it for the newest generation, if it is of an older one.
    """
    snapshot = self._session.snapshot()
    with self._lock:
      drawing = self._thread is not None and self._thread.is_alive()
      old = self._ids is None or (anew and self._at != snapshot.generation)
      if old and not drawing and (anew or self._problem is None):
        self._done, self._problem = 0.0, None
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()
        drawing = True
      if self._problem:
        return {"error": self._problem}
      if drawing or self._ids is None:
        return {"done": self._done}
      place = [snapshot.positions.get(i, -1) for i in self._ids.tolist()]
      positions = np.array(place, np.int64)
      there = positions >= 0
      labels = {name: i for i, name in enumerate(snapshot.class_names)}
      said = self._names[there].tolist()
      return {
        "generation": snapshot.generation,
        "positions": positions[there].tolist(),
        "labels": snapshot.labels[positions[there]].tolist(),
        "predicted": [labels.get(name, UNLABELED) for name in said],
        "class_names": list(snapshot.class_names),
        "x": self._places[there, 0].tolist(),
        "y": self._places[there, 1].tolist(),
        "grid": _GRID,
        "complete": int(there.sum()) == len(snapshot.ids),
      }

  def _draw(self) -> None:
    """Draws the map of what the memory holds now."""
    try:
      generation = self._session.generation()
      memory = self._session.memory()
      ids = memory.ids
      names = np.full(len(ids), None, object)
      near = None
      if len(ids) > 1:
        near = neighbors_of(memory, progress=self._progress)
        k, setting = min(K, near.k), weighting.setting(VOTER)
        predicted = vote.predict(
          near, [setting], ks=(k,), num_classes=len(memory.class_names)
        )[0, 0]
        names = np.array([*memory.class_names, None], object)[predicted]
      places = map_of(memory, near=near, progress=self._progress)
      low, high = places.min(axis=0), places.max(axis=0)
      scale = _GRID / max(float((high - low).max()), 1e-6)
      with self._lock:
        self._ids, self._at, self._names = ids, generation, names
        self._places = np.round((places - low) * scale).astype(np.int64)
    except Exception as error:  # A thread has nobody else to tell.
      logging.getLogger(__name__).exception("The map cannot be drawn.")
      with self._lock:
        self._problem = f"The map cannot be drawn: {error}"

  def similarities(self, question: str) -> dict[str, Any]:
    """How similar each row of the map is to a picture asked about.

    Returns:
      similarities, in the order of the map's rows, as whole numbers from 0 to
      1,000 between low and high, which are the least and the largest.

    Raises:
      ValueError: there is no map, or the memory has been edited since.
      KeyError: the question is no longer known.
    """
    snapshot = self._session.snapshot()
    found = self._session.similarities(question)
    with self._lock:
      place = [snapshot.positions.get(i, -1) for i in self._ids_drawn()]
    places = np.array(place, np.int64)
    places = places[places >= 0]
    if len(found) != len(snapshot.ids):
      raise ValueError("The memory has been edited meanwhile: try once more.")
    low, high = (
      (float(found.min()), float(found.max())) if len(found) else (0, 0)
    )
    steps = (found[places] - low) * (1000 / max(high - low, 1e-9))
    return {
      "similarities": np.round(steps).astype(int).tolist(),
      "low": low,
      "high": high,
      "generation": snapshot.generation,
    }

  def _ids_drawn(self) -> list[str]:
    if self._ids is None:
      raise ValueError("There is no map yet.")
    return self._ids.tolist()

  def _progress(self, done: float) -> None:
    self._done = done
