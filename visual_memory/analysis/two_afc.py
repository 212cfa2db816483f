"""Which of two pictures is closer: agreement of a similarity with the answers.

  similarities = encoder_similarities(encoder, triplets, batch_size=32)
  agreement(similarities, triplets.answers)        # a fraction with an interval

Reference: procedural-data paper, Sec. 3, Fig. 5 and Table 4 (NIGHTS): the side
with the larger cosine similarity of embeddings; a tie counts one half. The
paper's +- is sqrt(p (1 - p) / n) and its comparison of encoders an unpaired z
test; encoders answer the same questions, so ours is paired and exact.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from visual_memory.analysis import intervals
from visual_memory.analysis.intervals import Interval
from visual_memory.data.preprocess import resized
from visual_memory.data.triplets import LEFT, Triplets
from visual_memory.encoders.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
  """How often a similarity agrees with the answers.

  Attributes:
    accuracy: a fraction with its exact interval; ties count one half.
    standard_error: sqrt(p (1 - p) / n), as published.
    count: the number of questions.
  """

  accuracy: Interval
  standard_error: float
  count: int


def encoder_similarities(
  encoder: Encoder, triplets: Triplets, *, batch_size: int
) -> Float[np.ndarray, "N 2"]:
  """Cosine of the reference with the left and the right picture, [N, 2]."""
  result = []
  for start in range(0, len(triplets), batch_size):
    rows = range(start, min(start + batch_size, len(triplets)))
    images = [image for row in rows for image in triplets.images(row)]
    embeddings = encoder.encode(images).reshape(len(rows), 3, -1)
    result.append(
      np.einsum(
        "nd,nsd->ns", embeddings[:, 0].astype(np.float64), embeddings[:, 1:]
      )
    )
  return np.concatenate(result)


def pixel_similarities(
  measure: Callable[[np.ndarray, np.ndarray], float],
  triplets: Triplets,
  *,
  side: int,
) -> Float[np.ndarray, "N 2"]:
  """A measure of two pictures, all squeezed to side x side, [N, 2]."""
  result = np.zeros((len(triplets), 2))
  for row in range(len(triplets)):
    reference, left, right = (
      resized(image, (side, side)) for image in triplets.images(row)
    )
    result[row] = measure(reference, left), measure(reference, right)
  return result


def psnr(first: np.ndarray, second: np.ndarray) -> float:
  """Peak signal-to-noise ratio in dB (scikit-image); infinite if equal."""
  from skimage import metrics

  with np.errstate(divide="ignore"):
    return float(metrics.peak_signal_noise_ratio(first, second, data_range=255))


def ssim(first: np.ndarray, second: np.ndarray) -> float:
  """Structural similarity in [-1, 1] (Wang et al. 2004; scikit-image)."""
  from skimage import metrics

  return float(metrics.structural_similarity(first, second, channel_axis=-1))


PIXEL_MEASURES = {"psnr": psnr, "ssim": ssim}
"""Baselines without an encoder; larger is closer."""


def points(
  similarities: Float[np.ndarray, "N 2"], answers: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
  """1 where the closer picture is the answer, 0 where not, 1/2 for a tie.

  Raises:
    ValueError: NaN among the similarities, or answers of another length.
  """
  if similarities.shape != (len(answers), 2) or np.isnan(similarities).any():
    raise ValueError(
      f"Similarities must be [{len(answers)}, 2] without NaN; got"
      f" {similarities.shape}."
    )
  left, right = similarities.T
  closer = np.where(answers == LEFT, left > right, right > left)
  return np.where(left == right, 0.5, closer.astype(np.float64))


def agreement(
  similarities: Float[np.ndarray, "N 2"], answers: Int[np.ndarray, "N"]
) -> Agreement:
  """The share of agreement; in the interval a tie counts as half a success.

  Raises:
    ValueError: see `points`; or no question.
  """
  won = points(similarities, answers)
  if not len(won):
    raise ValueError("There is no question to agree on.")
  share = intervals.exact_share(float(won.sum()), len(won))
  return Agreement(
    accuracy=share,
    standard_error=float(np.sqrt(share.mean * (1 - share.mean) / len(won))),
    count=len(won),
  )


def paired_p_value(
  ours: Float[np.ndarray, "N"], theirs: Float[np.ndarray, "N"]
) -> float:
  """Exact McNemar test of two encoders' `points` on one set.

  Questions on which both agree say nothing; a tie of one is left out.
  """
  decided = (ours != 0.5) & (theirs != 0.5)
  better, worse = decided & (ours > theirs), decided & (ours < theirs)
  return intervals.mcnemar(int(better.sum()), int(worse.sum()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """Several similarities asked the same questions.

  Attributes:
    overall: of each similarity.
    by_group: {similarity: {group: its agreement}}, groups in order.
    p_values: of the paired test of the first similarity against each other.
  """

  overall: dict[str, Agreement]
  by_group: dict[str, dict[str, Agreement]]
  p_values: dict[str, float]


def compare(
  similarities: Mapping[str, Float[np.ndarray, "N 2"]], triplets: Triplets
) -> Comparison:
  """Agreement overall and by group, and paired tests against the first."""
  answers = triplets.answers
  won = {name: points(found, answers) for name, found in similarities.items()}
  first = next(iter(won))
  groups = {
    str(group): triplets.groups == group
    for group in np.unique(triplets.groups).tolist()
  }
  return Comparison(
    overall={
      name: agreement(found, answers) for name, found in similarities.items()
    },
    by_group={
      name: {
        group: agreement(found[mask], answers[mask])
        for group, mask in groups.items()
      }
      for name, found in similarities.items()
    },
    p_values={
      name: paired_p_value(won[first], won[name])
      for name in won
      if name != first
    },
  )
