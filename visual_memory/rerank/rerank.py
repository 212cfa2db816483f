"""Re-ranking: someone looks at a query and its neighbors, and names the class.

  votes, margin = split_votes(near, voter="rank", k=50, num_classes=10)
  asked = split_queries(margin, threshold=0.4, most=1000)
  questions = QuestionList(near=near, asked=asked, votes=votes, ...)
  answers = reranker(questions, repeats=1)            # one list per repeat
  found = summarize(questions.choices, answers, asked=asked, votes=votes, ...)

The vote stands where nobody was asked, and where an answer cannot be used; both
are counted. No answer can be right about a class that is not among the
neighbors unless all classes are offered: hit rate at k bounds the accuracy.

Reference: Geirhos et al., "Towards flexible perception with visual memory"
(ICML 2025), section 2.2: 50 neighbors of DINOv2 L/14, images and labels in
context, answered by Gemini 1.5 Flash. Prompt and protocol are not published.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Int64

from visual_memory.types import UNLABELED, Array, Neighbors
from visual_memory.voting import vote, weighting

STATUSES = (
  "ok", "repaired", "outside", "empty", "too_long", "failed", "unasked"
)  # fmt: skip
"""What became of an answer: usable as it is; usable after repair; a label that
was not offered; no text; longer than allowed; no answer after all attempts; not
asked, since the budget was spent."""

USABLE = ("ok", "repaired")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """A query with its neighbors.

  Attributes:
    id: the query's.
    image: uint8 [H, W, 3].
    neighbor_images: likewise, best first, k of them.
    neighbor_labels: their classes, [k].
    similarities: of the neighbors to the query, [k].
    choices: the classes that may be named.
    vote: the class that the neighbors' vote names.
  """

  id: str
  image: np.ndarray
  neighbor_images: tuple[np.ndarray, ...]
  neighbor_labels: Int[np.ndarray, "k"]
  similarities: Float[np.ndarray, "k"]
  choices: tuple[int, ...]
  vote: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionList(Sequence):
  """Questions about some queries; their images are read on access.

  Attributes:
    near: the neighbors of all queries.
    asked: the positions of those to ask about.
    votes: of all queries.
    ids: of all queries.
    k: neighbors to show.
    all_classes: the classes to offer; None for those of the neighbors shown.
    query_image: from a query's position to its image.
    memory_image: from a row's id to its image.
  """

  near: Neighbors
  asked: Int64[np.ndarray, "A"]
  votes: Int[np.ndarray, "Q"]
  ids: np.ndarray
  k: int
  all_classes: tuple[int, ...] | None
  query_image: Callable[[int], np.ndarray]
  memory_image: Callable[[str], np.ndarray]

  def __len__(self) -> int:
    """The number of questions."""
    return len(self.asked)

  def __getitem__(self, place):
    """One question, or a list of them for a slice."""
    if isinstance(place, slice):
      return [self[i] for i in range(*place.indices(len(self)))]
    query, near, k = int(self.asked[place]), self.near, self.k
    return Question(
      id=self.ids[query],
      image=self.query_image(query),
      neighbor_images=tuple(map(self.memory_image, near.ids[query, :k])),
      neighbor_labels=np.asarray(near.labels)[query, :k],
      similarities=np.asarray(near.similarities)[query, :k],
      choices=self._choices(query),
      vote=int(self.votes[query]),
    )

  @property
  def choices(self) -> list[tuple[int, ...]]:
    """What may be answered to each question, without reading an image."""
    return [self._choices(int(query)) for query in self.asked]

  def _choices(self, query):
    if self.all_classes is not None:
      return self.all_classes
    labels = np.asarray(self.near.labels)[query, : self.k].tolist()
    return tuple(dict.fromkeys(label for label in labels if label >= 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """What came back for one question.

  Attributes:
    label: the class; UNLABELED if the answer cannot be used.
    status: one of STATUSES.
    text: the raw answer; for a failure, what went wrong.
    attempts: requests that were sent.
    input_tokens: as the server counted them; likewise output_tokens.
    output_tokens: see input_tokens.
  """

  label: int
  status: str
  text: str = ""
  attempts: int = 0
  input_tokens: int = 0
  output_tokens: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """Accuracy with and without re-ranking; fractions of all Q queries.

  Attributes:
    without: of the vote.
    with_reranking: the first repeat's answers in the place of votes: those
      that can be used, so that no answer at all leaves the votes' accuracy.
    alone: of the asked queries, the answers that are right, unusable ones
      counted as wrong; None where nothing was asked about a labelled query.
    votes_there: of the same queries, the votes that are right.
    usable: the first repeat's answers that can be used.
    bound: the vote where nobody was asked, else whether the right class was
      among the choices: what perfect answers would reach.
    hit_rate: the right class is among the neighbors' labels, of all queries.
    asked: queries that were asked about.
    fixed: asked queries that re-ranking put right; `broken`: put wrong.
    statuses: how many answers of all repeats were of each status.
    agreement: of queries answered usably in every repeat, the fraction that
      all repeats answer alike; None for one repeat.
    attempts: requests sent, over all repeats; likewise `input_tokens` and
      `output_tokens`, as servers counted them.
    cost: of the tokens, in the currency of the prices.
  """

  without: float
  with_reranking: float
  alone: float | None
  votes_there: float | None
  usable: int
  bound: float
  hit_rate: float
  asked: int
  fixed: int
  broken: int
  statuses: dict[str, int]
  agreement: float | None
  attempts: int
  input_tokens: int
  output_tokens: int
  cost: float

  def values(self) -> dict[str, Any]:
    """Plain values for report.json."""
    return dataclasses.asdict(self)


def split_votes(
  near: Neighbors, *, voter: str, k: int, num_classes: int
) -> tuple[Int32[np.ndarray, "Q"], Float[np.ndarray, "Q"]]:
  """The class that k neighbors vote for, and its lead over the next.

  Args:
    near: at least k neighbors of each query.
    voter: as in `vote.vote`, with its published hyper-parameters.
    k: how many vote.
    num_classes: C.

  Returns:
    Predictions, and margins in [0, 1], shares of the whole vote.
  """
  setting = weighting.setting(voter)
  options = dict(ks=(k,), num_classes=num_classes)
  predictions = vote.predict(near, [setting], **options)[0, 0]
  scores = vote.class_scores(
    near.labels, weighting.weights(near.similarities, setting), **options
  )[0]
  shares = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-30)
  return predictions, margins(shares)


def margins(class_shares: Float[Array, "Q C"]) -> Float[np.ndarray, "Q"]:
  """How far the first class is ahead of the second, in shares of the vote."""
  top = np.sort(np.asarray(class_shares), axis=1)[:, -2:]
  return top[:, -1] - (top[:, 0] if top.shape[1] > 1 else 0)  # One class alone.


def choose_margin(
  margin: Float[np.ndarray, "Q"],
  right: Bool[np.ndarray, "Q"],
  *,
  promise: float,
) -> float:
  """The margin below which a vote counts as split, from tuning queries.

  It is the smallest at which the votes that are this far ahead or farther are
  right at least as often as promised; infinity (ask about all) if none is.

  Args:
    margin: of tuning queries.
    right: whether their votes are right.
    promise: a fraction.
  """
  order = np.argsort(-margin, kind="stable")
  accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
  ordered = margin[order]
  last = np.append(ordered[1:] != ordered[:-1], True)  # Of equal margins.
  good = np.flatnonzero((accuracy >= promise) & last)
  return float(ordered[good[-1]]) if len(good) else float("inf")


def split_queries(
  margin: Float[np.ndarray, "Q"], *, threshold: float, most: int
) -> Int64[np.ndarray, "A"]:
  """Positions of the queries whose vote is split, the closest votes first.

  Args:
    margin: how far the first class is ahead of the second.
    threshold: below it a vote is split.
    most: no more queries than this.
  """
  split = np.flatnonzero(margin < threshold)
  return split[np.argsort(margin[split], kind="stable")][:most]


def reranked(
  votes: Int[np.ndarray, "Q"],
  asked: Int[np.ndarray, "A"],
  answers: Sequence[Answer],
) -> Int32[np.ndarray, "Q"]:
  """The votes, with usable answers in their places.

  Args:
    votes: of all queries.
    asked: the positions of the queries that were asked about.
    answers: in that order.
  """
  out = np.array(votes, np.int32)
  for place, answer in zip(asked, answers, strict=True):
    if answer.status in USABLE:
      out[place] = answer.label
  return out


def summarize(
  choices: Sequence[Sequence[int]],
  answers: Sequence[Sequence[Answer]],
  *,
  asked: Int[np.ndarray, "A"],
  votes: Int[np.ndarray, "Q"],
  labels: Int[np.ndarray, "Q"],
  neighbor_labels: Int[np.ndarray, "Q k"],
  prices: tuple[float, float],
) -> Summary:
  """What re-ranking did to the accuracy, and what it took.

  Args:
    choices: what was offered for each query that was asked about.
    answers: one list for each repeat; the first one counts.
    asked: positions of these queries among all.
    votes: of all queries.
    labels: true classes; queries without one are left out of fractions.
    neighbor_labels: of all queries.
    prices: of a million input tokens and of a million output tokens.

  Raises:
    ValueError: no labelled query.
  """
  known = labels != UNLABELED
  if not known.any():
    raise ValueError("No query has a label: there is no accuracy to report.")
  possible = votes == labels
  for place, offered in zip(asked, choices, strict=True):
    possible[place] = labels[place] in offered
  every = [answer for repeat in answers for answer in repeat]
  total = lambda name: sum(getattr(answer, name) for answer in every)
  inputs, outputs = total("input_tokens"), total("output_tokens")
  first = answers[0] if answers else ()
  after = reranked(votes, asked[: len(first)], first)
  said = reranked(np.full_like(votes, UNLABELED), asked[: len(first)], first)
  there = asked[known[asked]]
  hits = (neighbor_labels == labels[:, None]).any(axis=1)
  counts = collections.Counter(answer.status for answer in every)
  return Summary(
    without=float(np.mean((votes == labels)[known])),
    with_reranking=float(np.mean((after == labels)[known])),
    alone=mean_right(said[there], labels[there]),
    votes_there=mean_right(votes[there], labels[there]),
    usable=sum(answer.status in USABLE for answer in first),
    bound=float(np.mean(possible[known])),
    hit_rate=float(np.mean(hits[known])),
    asked=len(choices),
    fixed=int(((votes != labels) & (after == labels) & known).sum()),
    broken=int(((votes == labels) & (after != labels) & known).sum()),
    statuses={name: counts[name] for name in STATUSES},
    agreement=_agreement(answers),
    attempts=total("attempts"),
    input_tokens=inputs,
    output_tokens=outputs,
    cost=(inputs * prices[0] + outputs * prices[1]) / 1e6,
  )


def mean_right(
  predictions: Int[np.ndarray, "n"], labels: Int[np.ndarray, "n"]
) -> float | None:
  """The fraction of predictions that are right; None for none."""
  return float(np.mean(predictions == labels)) if len(labels) else None


def _agreement(answers: Sequence[Sequence[Answer]]) -> float | None:
  """How often all repeats name the same class, where all name one."""
  if len(answers) < 2:
    return None
  labels = [
    {answer.label for answer in repeats}
    for repeats in zip(*answers, strict=True)
    if all(answer.status in USABLE for answer in repeats)
  ]
  return (
    float(np.mean([len(named) == 1 for named in labels])) if labels else None
  )
