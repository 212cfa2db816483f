"""The map of a session's memory, made once in the background.

An edit does not draw it anew: rows that are gone leave it, rows that are new
are not on it yet, and the page offers to draw it again.
"""

import logging
import threading
from typing import Any

import numpy as np

from visual_memory.analysis.neighbor_map import map_of
from visual_memory.server.session import Session

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
    self._at = -1

  def current(self, *, anew: bool = False) -> dict[str, Any]:
    """The map: generation, positions of rows, x and y; or done, a fraction.

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
      return {
        "generation": snapshot.generation,
        "positions": positions[there].tolist(),
        "labels": snapshot.labels[positions[there]].tolist(),
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
      places = map_of(memory, progress=self._progress)
      low, high = places.min(axis=0), places.max(axis=0)
      scale = _GRID / max(float((high - low).max()), 1e-6)
      with self._lock:
        self._ids, self._at = ids, generation
        self._places = np.round((places - low) * scale).astype(np.int64)
    except Exception as error:  # A thread has nobody else to tell.
      logging.getLogger(__name__).exception("The map cannot be drawn.")
      with self._lock:
        self._problem = f"The map cannot be drawn: {error}"

  def _progress(self, done: float) -> None:
    self._done = done
