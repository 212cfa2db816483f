"""One store as the page sees it: rows, pictures, answers, kept up to date.

  session = Session("memory")
  session.snapshot()            # the rows of the newest generation
  session.ask(bytes_of_a_file, k=10, setting=setting("softmax"), without=())

Encoder and memory are loaded when something is first asked (`warm_up` does it
ahead); whatever edits the store, here or beside, is seen at the next question.
"""

import collections
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from visual_memory.analysis import influence
from visual_memory.collection import (
  answering,
  defaults,
  provenance,
  pruning_factors,
  sureness,
)
from visual_memory.data.decoding import decode_image
from visual_memory.encoders.encoder import Encoder
from visual_memory.encoders.text import class_texts
from visual_memory.memory.memory import VisualMemory
from visual_memory.retrieval import exact
from visual_memory.server import thumbnails
from visual_memory.server.snapshot import Snapshot
from visual_memory.server.thumbnails import SIDE, Thumbnails
from visual_memory.store import which_rows
from visual_memory.store.store import Store
from visual_memory.types import Neighbors
from visual_memory.voting import weighting
from visual_memory.voting.weighting import Setting

MOST_K = 100
"""Neighbors that are searched for at once: any k up to it is a cut of them."""
_REMEMBERED = 64
_LOOKED_S = 0.1
"""Pictures are asked for by the hundred: not each looks for a new edit."""


class Session:
  """A store that is open in a page; safe between threads."""

  def __init__(self, path: str):
    """Opens the store; nothing of its rows is read yet.

    Raises:
      StoreError: there is none.
    """
    self.path = path
    self.store = Store.open(path)
    self.thumbnails = Thumbnails()
    self._snapshot: Snapshot | None = None
    self._looked = 0.0
    self._opened: tuple[Any, Any] = (None, None)
    self._encoder: Encoder | None = None
    self._memory: VisualMemory | None = None
    self._at = -1  # The generation of _memory.
    self._usual: float | None = None
    self._asked: collections.OrderedDict[str, np.ndarray] = (
      collections.OrderedDict()
    )
    # Rows and devices wait for different things: reading rows is quick, and
    # must not wait for an encoder that is being loaded.
    self._rows_lock, self._device_lock = threading.RLock(), threading.RLock()
    self._warming = threading.Lock()

  def generation(self) -> int:
    """The store's newest generation."""
    return self.store.contents.generation

  def snapshot(self, *, age_s: float = 0.0) -> Snapshot:
    """The rows of the newest generation; the same object until an edit.

    Args:
      age_s: how long ago somebody may have looked whether there is a newer one.
    """
    with self._rows_lock:
      now = time.monotonic()
      if self._snapshot is not None and now - self._looked < age_s:
        return self._snapshot
      if (
        self._snapshot is None or self._snapshot.generation != self.generation()
      ):
        self._snapshot = Snapshot.of(self.store)
        self.thumbnails.forget(self._snapshot.positions.keys())
      self._looked = now
      return self._snapshot

  def encoder(self) -> Encoder:
    """The encoder of the rows.

    Raises:
      StoreError: it is not known, or not what made them.
    """
    with self._device_lock:
      if self._encoder is None:
        self._encoder = provenance.load_encoder(self.store)
      return self._encoder

  def memory(self) -> VisualMemory:
    """The rows on the devices, as the newest generation has them."""
    with self._device_lock:
      newest = self.generation()
      if self._memory is None:
        self._memory = self.store.load()
      elif self._at != newest:
        self._memory = self.store.refresh(self._memory)
      self._at = newest
      return self._memory

  def warm_up(self) -> None:
    """Gets ready for questions in a thread, once; see `warm`."""
    if self._warming.acquire(blocking=False):
      _in_background(self.warm)

  def measure_anew(self) -> None:
    """Measures in a thread: an edit is answered before; see `measure`."""
    _in_background(self.measure)

  def warm(self) -> None:
    """Loads and compiles what a first question would wait for."""
    side = 2 * self.encoder().preprocess.size
    nothing, _ = thumbnails.encode(np.zeros((side, side, 3), np.uint8), side)
    with contextlib.suppress(ValueError):  # No rows, or none with a label.
      setting = weighting.setting(defaults.VOTER)
      self.ask(nothing, name="", k=defaults.K, setting=setting, without=())
    self.measure()

  def measure(self) -> None:
    """Finds how near a picture must be to something to count as known.

    Questions are answered meanwhile.
    """
    memory, setting = self.memory(), weighting.setting(defaults.VOTER)
    if len(memory):
      k = min(defaults.K, len(memory))
      sure = sureness.calibrate(self.store, memory, setting, k=k)
      self._usual = sure.min_similarity

  def picture(self, row_id: str, least: int | None = None) -> np.ndarray | None:
    """The picture of a row, uint8 [H, W, 3]; None if it is not to be had.

    Args:
      row_id: whose.
      least: pixels of its sides that are enough; see `decode_image`.
    """
    snapshot = self.snapshot(age_s=_LOOKED_S)
    position = snapshot.positions.get(row_id)
    if position is None:
      return None
    return self._pictures(snapshot).find(
      row_id, snapshot.metadata(position), least=least
    )

  def thumbnail(self, row_id: str) -> tuple[bytes, str] | None:
    """A row's thumbnail as a file, and its media type."""
    if row_id not in self.snapshot(age_s=_LOOKED_S).positions:
      return None
    return self.thumbnails.get(row_id, lambda: self.picture(row_id, SIDE))

  def ask(
    self,
    picture: bytes,
    *,
    name: str,
    k: int,
    setting: Setting,
    without: Sequence[str],
  ) -> dict[str, Any]:
    """What a picture is, and which rows decided.

    Args:
      picture: the bytes of an image file.
      name: of the file, for messages.
      k, setting, without: see `decide`.

    Raises:
      UnreadableImage: it is no image.
    """
    image = decode_image(picture, id=name)
    with self._device_lock:
      embedding = self.encoder().encode([image])
    key = self._remember(embedding)
    return self.ask_again(key, k=k, setting=setting, without=without)

  def ask_again(
    self, key: str, *, k: int, setting: Setting, without: Sequence[str]
  ) -> dict[str, Any]:
    """The same question with other settings, or without some rows.

    Args:
      key: `question` of an earlier answer.
      k: how many neighbors vote.
      setting: the voter.
      without: ids of rows that are to be done without.

    Raises:
      KeyError: the question is no longer known: ask it anew.
      ValueError: k out of range, or nothing to vote.
    """
    near, memory = self._near(self._recall(key), len(without))
    k = min(k, near.k)
    if without:
      k = min(k, len(memory) - len(set(without) & set(near.ids[0].tolist())))
      near = influence.edited(
        near, removed=set(without), relabeled={}, k=max(k, 1)
      )
    near = near.first(k)
    (answer,) = answering.decide(
      near,
      memory.class_names,
      setting,
      factors=self._factors(near, memory),
      min_similarity=self._usual,
    )
    return {
      "question": key,
      "k": k,
      "generation": self._at,
      "usual": self._usual,
      **answer,
    }

  def similarities(self, key: str) -> np.ndarray:
    """How similar every row is to a picture, in order of insertion, [N].

    Raises:
      KeyError: the question is no longer known.
    """
    asked = self._recall(key)
    with self._device_lock:
      return self.memory().embedded().embeddings @ asked[0]

  def has_words(self) -> bool:
    """Whether rows can be searched by text, as far as is known by now."""
    encoder = self._encoder
    return encoder is not None and class_texts.has_text_tower(encoder)

  def by_words(self, text: str, count: int) -> dict[str, Any]:
    """The rows whose pictures a text describes best, best first.

    Returns:
      rows (see `similar`), and question: the text's own, for `similarities`.

    Raises:
      ValueError: the encoder has no text tower, or the text is too long.
    """
    with self._device_lock:
      embedding = class_texts.embed_texts(self.encoder(), [text])
      memory = self.memory()
      if not len(memory):
        return {"rows": [], "question": self._remember(embedding)}
      near = exact.search(embedding, memory, k=min(count, len(memory)))
    return {"rows": _listed(near), "question": self._remember(embedding)}

  def _remember(self, embedding: np.ndarray) -> str:
    """The key of a question that may be asked again."""
    key = uuid.uuid4().hex
    self._asked[key] = embedding
    while len(self._asked) > _REMEMBERED:
      self._asked.popitem(last=False)
    return key

  def _recall(self, key: str) -> np.ndarray:
    if key not in self._asked:
      raise KeyError("That question is no longer known: drop the picture anew.")
    return self._asked[key]

  def similar(self, row_id: str, count: int) -> list[dict[str, Any]]:
    """The rows most like a row: id, class and similarity, without itself.

    Raises:
      KeyError: no row has that id.
    """
    embedding = self.store.handle.read(
      lambda state: state.embeddings(which_rows.find(state, [row_id]))
    )
    with self._device_lock:
      memory = self.memory()
      k = min(count, len(memory) - 1)
      if not k:
        return []
      near = exact.search(embedding, memory, k=k, exclude_self=[row_id])
    return _listed(near)

  def _near(
    self, embedding: np.ndarray, spare: int
  ) -> tuple[Neighbors, VisualMemory]:
    """The nearest rows, with as many to spare as will be done without."""
    with self._device_lock:
      memory = self.memory()
      if not len(memory):
        raise ValueError("The memory is empty: add pictures first.")
      k = min(MOST_K + (spare and MOST_K), len(memory))
      return exact.search(embedding, memory, k=k), memory

  def _factors(
    self, near: Neighbors, memory: VisualMemory
  ) -> np.ndarray | None:
    """How reliable each neighbor is, as `visual-memory prune` found it."""
    factors = pruning_factors.factors(self.store)
    if factors is None or len(factors) != len(memory):
      return None
    places = self.snapshot().positions
    return factors[[[places[row] for row in near.ids[0].tolist()]]]

  def _pictures(self, snapshot: Snapshot) -> provenance.Pictures:
    """The pictures of the rows, where they came from; opened once an edit."""
    with self._rows_lock:
      if self._opened[0] is not snapshot:
        origins = provenance.origins_of(self.store)
        self._opened = (snapshot, provenance.Pictures(origins))
      return self._opened[1]


def _listed(near: Neighbors) -> list[dict[str, Any]]:
  """The neighbors of one query: id, class and similarity of each."""
  return [
    {"id": str(i), "class": name, "similarity": float(similarity)}
    for i, name, similarity in zip(
      near.ids[0], near.names[0], near.similarities[0], strict=True
    )
  ]


def _in_background(work: Callable[[], None]) -> None:
  """Does some work in a thread; what is wrong is said when one asks."""

  def alone() -> None:
    with contextlib.suppress(Exception):
      work()

  threading.Thread(target=alone, daemon=True).start()
