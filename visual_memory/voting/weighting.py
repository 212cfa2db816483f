"""How much say each neighbor has: one weight per neighbor, for every voter.

  setting("rank", offset=3.0)          # a checked voter and hyper-parameters
  weights(near.similarities, setting("softmax"))              # float64 [Q, k]

A neighbor's weight depends on its own rank and similarity (and, for softmax,
on the nearest neighbor's), never on how many neighbors vote. So one pass over
the neighbors serves every k.

Reference: Geirhos et al., "Towards flexible perception with visual memory",
ICML 2025, section 3.1 and appendix C.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from visual_memory.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyper:
  """A hyper-parameter: finite, and positive (or zero where that is allowed).

  Attributes:
    default: the published value.
    zero_allowed: whether zero makes sense.
  """

  default: float
  zero_allowed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Voter:
  """A rule for the weights of neighbors.

  Attributes:
    weigh: from similarities [Q, k], best first, and the hyper-parameters by
      name to weights [Q, k] of the same dtype, none negative; traceable.
    hypers: the hyper-parameters that it takes, by name.
  """

  weigh: Callable[..., Array]
  hypers: Mapping[str, Hyper] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """A voter's name with a value for each of its hyper-parameters.

  Build one with `setting`, which validates.
  """

  voter: str
  hyper: Mapping[str, float]


def setting(voter: str, **hyper: float | int) -> Setting:
  """A voter with these hyper-parameters, and the published ones for the rest.

  Args:
    voter: a key of VOTERS.
    **hyper: the voter's hyper-parameters by name: `exponent` >= 0 (distance),
      `temperature` > 0 (softmax), `offset` > 0 (rank).

  Raises:
    ValueError: unknown voter or hyper-parameter (listing the known ones), or
      a value out of range.
  """
  if voter not in VOTERS:
    raise ValueError(
      f"Unknown voter {voter!r}; the voters are {', '.join(VOTERS)}."
    )
  hypers = VOTERS[voter].hypers
  for name, value in hyper.items():
    if name not in hypers:
      known = f"it takes {', '.join(hypers)}" if hypers else "it takes none"
      raise ValueError(
        f"The voter {voter!r} has no hyper-parameter {name!r}; {known}."
      )
    zero_allowed = hypers[name].zero_allowed
    if not math.isfinite(value) or value < 0 or value == 0 and not zero_allowed:
      raise ValueError(
        f"{name} = {value} of the voter {voter!r} must be finite and"
        f" {'at least' if zero_allowed else 'above'} 0."
      )
  values = {name: rule.default for name, rule in hypers.items()} | hyper
  return Setting(
    voter=voter, hyper={name: float(value) for name, value in values.items()}
  )


def published_settings() -> dict[str, Setting]:
  """Every voter at its published hyper-parameters, by name."""
  return {voter: setting(voter) for voter in VOTERS}


def weights(
  similarities: Float[Array, "Q k"], setting: Setting
) -> Float[np.ndarray, "Q k"]:
  """The weight of each neighbor, float64, as the votes use them."""
  with jax.enable_x64(True):
    return np.asarray(
      _weights(np.asarray(similarities), setting.hyper, voter=setting.voter)
    )


@functools.partial(jax.jit, static_argnames="voter")
def _weights(similarities, hyper, *, voter):
  """VOTERS[voter] in float64, compiled once for each voter and shape."""
  return VOTERS[voter].weigh(similarities.astype(jnp.float64), **hyper)


def plurality(similarities: Float[Array, "Q k"]) -> Float[Array, "Q k"]:
  """Every neighbor counts one."""
  return jnp.ones_like(similarities)


def distance(
  similarities: Float[Array, "Q k"], *, exponent: Array | float
) -> Float[Array, "Q k"]:
  """exp(-exponent * d), with d = 1 - similarity the cosine distance."""
  return jnp.exp(-exponent * (1 - similarities))


def softmax(
  similarities: Float[Array, "Q k"], *, temperature: Array | float
) -> Float[Array, "Q k"]:
  """exp((s - s_nearest) / temperature), with s the similarity.

  The published weight is exp(s / temperature), without denominator. Dividing
  all of a query's weights by its nearest neighbor's changes no winner, and
  keeps float64 from overflowing at temperatures below 0.0014 (float32: below
  0.0113). Weights that underflow to zero are those that could not matter.
  """
  return jnp.exp((similarities - similarities[:, :1]) / temperature)


def rank(
  similarities: Float[Array, "Q k"], *, offset: Array | float
) -> Float[Array, "Q k"]:
  """1 / (offset + i), with i = 0 for the nearest neighbor.

  As in the published code. The paper's formula, read with its neighbors
  numbered from 1, is this one with an offset larger by 1.
  """
  ranks = jnp.arange(similarities.shape[1], dtype=similarities.dtype)
  return jnp.broadcast_to(1 / (offset + ranks), similarities.shape)


VOTERS = {
  "plurality": Voter(weigh=plurality),
  "distance": Voter(
    weigh=distance,
    hypers={"exponent": Hyper(default=1.0, zero_allowed=True)},
  ),
  "softmax": Voter(weigh=softmax, hypers={"temperature": Hyper(default=0.07)}),
  "rank": Voter(weigh=rank, hypers={"offset": Hyper(default=2.0)}),
}
"""The voters by name."""
