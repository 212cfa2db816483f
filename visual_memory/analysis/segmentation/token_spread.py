"""Why attention as published is flat for some encoders: how tokens lie.

  spread = token_spread(encoder, source, batch_size=8)
  spread.attended         # share of a prompt's patches that a patch attends to

Softmax of z1.z2 / D tells patches apart only where products of tokens differ by
about D. Tokens that are shorter, or that have much in common, give every patch
of a prompt the same weight.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from visual_memory.data.image_source import ImageSource
from visual_memory.encoders.embedding.embed_patches import dense_features
from visual_memory.encoders.encoder import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSpread:
  """What the tokens of some pictures have in common.

  Attributes:
    mean_square: of an entry of a token, |z|^2 / D; about 1 after a LayerNorm.
    common: share of the squared length that is that of the mean token.
    attended: effective number (exponent of the entropy) of the prompt's patches
      that a patch attends to as published, as a share of all; of every picture
      with the one before it.
  """

  mean_square: float
  common: float
  attended: float | None


def token_spread(
  encoder: Encoder, source: ImageSource, *, batch_size: int
) -> TokenSpread:
  """The spread of a source's tokens.

  Args:
    encoder: has patches.
    source: at least one picture; `attended` needs two, and is None else.
    batch_size: pictures at once.
  """
  total, squares, count, attended, before = 0.0, 0.0, 0, [], None
  for batch in dense_features(encoder, source, batch_size=batch_size):
    for picture in batch.features:
      tokens = picture.reshape(-1, picture.shape[-1])
      total = total + tokens.sum(axis=0, dtype=np.float64)
      squares += float(np.square(tokens, dtype=np.float64).sum())
      count += len(tokens)
      if before is not None:
        attended.append(effective_share(tokens @ before.T / tokens.shape[1]))
      before = tokens
  center = total / count
  return TokenSpread(
    mean_square=squares / count / len(center),
    common=float(np.square(center).sum() / (squares / count)),
    attended=float(np.mean(attended)) if attended else None,
  )


def effective_share(scores: Float[np.ndarray, "Q P"]) -> float:
  """exp(entropy of the softmax of a row) / P, the mean over rows."""
  shifted = scores - scores.max(axis=1, keepdims=True)
  weights = np.exp(shifted)
  sums = weights.sum(axis=1, keepdims=True)
  entropy = np.log(sums[:, 0]) - (weights * shifted).sum(axis=1) / sums[:, 0]
  return float(np.exp(entropy).mean() / scores.shape[1])
