"""How much say each neighbor has: one weight per neighbor, for every voter.

  setting("rank", offset=3.0)          # a checked voter and hyper-parameters
  weights(near.similarities, setting("softmax"))              # float64 [Q, k]
  setting("my_voters:squared")         # one's own: that function of that module

A neighbor's weight depends on its own rank and similarity (and, for softmax,
on the nearest neighbor's), never on how many neighbors vote. So one pass over
the neighbors serves every k. A voter of one's own keeps to that: a function
from similarities [Q, k], float64 and best first, to as many weights, finite and
not negative, made of jax.numpy operations. All that votes takes its name,
`module:function`, so that configs and commands can name it too:

  def squared(similarities):
    return jnp.maximum(similarities, 0) ** 2

Reference: Geirhos et al., "Towards flexible perception with visual memory",
ICML 2025, section 3.1 and appendix C.
"""

import dataclasses
import functools
import importlib
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
    voter: a key of VOTERS, or one's own as "module:function".
    **hyper: the voter's hyper-parameters by name: `exponent` >= 0 (distance),
      `temperature` > 0 (softmax), `offset` > 0 (rank).

  Raises:
    ValueError: unknown voter or hyper-parameter (listing the known ones), or
      a value out of range.
  """
  hypers = rule(voter).hypers
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


def named(text: str) -> Setting:
  """The setting that a text names: "rank", or "softmax,temperature=0.1".

  Raises:
    ValueError: a part that is no KEY=NUMBER, or what `setting` refuses.
  """
  voter, *parts = text.split(",")
  hyper = {}
  for part in parts:
    name, _, value = part.partition("=")
    try:
      hyper[name] = float(value)
    except ValueError:
      raise ValueError(
        f"{part!r} of the voter {text!r} is no NAME=NUMBER."
      ) from None
  return setting(voter, **hyper)


def rule(voter: str) -> Voter:
  """The rule of this name; one's own is imported, and tried, once.

  Raises:
    ValueError: unknown voter, or a function that does not keep the contract.
  """
  return VOTERS[voter] if voter in VOTERS else _own_rule(voter)


@functools.cache
def _own_rule(voter: str) -> Voter:
  """The rule behind "module:function"."""
  module, colon, name = voter.partition(":")
  if not colon:
    raise ValueError(
      f"Unknown voter {voter!r}; the voters are {', '.join(VOTERS)}, or"
      " module:function for one's own."
    )
  try:
    weigh = getattr(importlib.import_module(module), name)
  except (ImportError, AttributeError) as error:
    raise ValueError(f"There is no voter {voter!r}: {error}.") from error
  tried = np.array([[0.9, 0.5, 0.5, -0.2], [1.0, 0.1, 0.0, -1.0]])
  try:
    with jax.enable_x64(True):
      found = np.asarray(jax.jit(weigh)(tried))
  except Exception as error:
    reason = str(error).partition("\n")[0]
    raise ValueError(
      f"The voter {voter!r} cannot weigh similarities [Q, k] by jax.numpy"
      f" operations: {reason}"
    ) from error
  if (
    found.shape != tried.shape or not (np.isfinite(found) & (found >= 0)).all()
  ):
    raise ValueError(
      f"The voter {voter!r} makes {found.tolist()} of {tried.tolist()}: there"
      " must be a weight for each, finite and not negative."
    )
  return Voter(weigh=weigh)


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
  """The voter's rule in float64, compiled once for each voter and shape."""
  return rule(voter).weigh(similarities.astype(jnp.float64), **hyper)


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
