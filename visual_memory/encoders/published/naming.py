"""The words of name maps: where each of our params is found in a checkpoint.

A naming maps our leaf ("blocks.{i}.attn.qkv.kernel") to the tensors that it is
made of and to how:

  same        the tensor itself
  linear      torch's [out, in] to our [in, out]; several tensors are put side
              by side (q, k, v)
  side        several vectors end to end
  gapped      two vectors with zeros of the same length between them (a key
              without a bias)
  masked      two vectors, multiplied
  conv        [out, in, h, w] to [h, w, in, out], or of patches to
              [p * p * 3, out]
  first_row   the first row of the table of position embeddings
  grid        its rows after the first `skip`, as a square
  zeros       of no tensor at all

The namings themselves are in `families`.
"""

import dataclasses
import re
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Source:
  """The tensors that a leaf is made of, and how; see the module.

  Attributes:
    tensors: their names; "{i}" is the number of the block.
    how: see the module.
    skip: rows of a table of positions before those of the patches.
  """

  tensors: tuple[str, ...]
  how: str = "same"
  skip: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Naming:
  """One layout of a file.

  Attributes:
    origin: whose files are laid out so: "hub" (the authors' code), "hf"
      (Hugging Face transformers), "openai" (and open_clip), "timm".
    sources: for each leaf of ours, where it comes from.
  """

  origin: str
  sources: Mapping[str, Source]


def same(**names: str) -> dict[str, Source]:
  """Leaves that are a tensor as it is; "__" in a leaf's name is a dot."""
  return {
    leaf.replace("__", "."): Source((name,)) for leaf, name in names.items()
  }


def norm(leaf: str, name: str) -> dict[str, Source]:
  """Scale and bias of a LayerNorm."""
  return {
    f"{leaf}.scale": Source((f"{name}.weight",)),
    f"{leaf}.bias": Source((f"{name}.bias",)),
  }


def linear(leaf: str, *names: str) -> dict[str, Source]:
  """One linear layer, or several side by side."""
  return {
    f"{leaf}.kernel": Source(tuple(f"{n}.weight" for n in names), "linear"),
    f"{leaf}.bias": Source(tuple(f"{n}.bias" for n in names), "side"),
  }


def fused_linear(leaf: str, name: str) -> dict[str, Source]:
  """torch's MultiheadAttention: q, k and v in one, and no dot in the names."""
  return {
    f"{leaf}.kernel": Source((f"{name}_weight",), "linear"),
    f"{leaf}.bias": Source((f"{name}_bias",)),
  }


def patch_embed(name: str, *, bias: bool = True) -> dict[str, Source]:
  """The convolution that embeds patches."""
  kernel = {"patch_embed.kernel": Source((f"{name}.weight",), "conv")}
  return kernel | (same(patch_embed__bias=f"{name}.bias") if bias else {})


def positions(name: str, *, skip: int = 1) -> dict[str, Source]:
  """A table whose first row, if it has one more, is the class token's."""
  grid = {"patch_position": Source((name,), "grid", skip)}
  first = {"class_position": Source((name,), "first_row", skip)}
  return grid | (first if skip else {})


PREFIXES = (
  "module.",
  "state_dict.",
  "model.",
  "backbone.",
  "timm_model.",
  "dinov2.",
  "dinov2_with_registers.",
  "dinov3_vit.",
  "vit.",
  "deit.",
)
"""Wrappers that a checkpoint may have been saved from."""

_UNUSED = (
  r"(embeddings\.)?mask_token",  # Only pretraining masks patches.
  r"pooler\.dense\.(weight|bias)",  # Hugging Face's, not the authors'.
  r"classifier\.(weight|bias)",  # A linear probe saved with the backbone.
  r"(vision_model|text_model)\.embeddings\.position_ids",  # 0, 1, 2, ...
  r"input_resolution|context_length|vocab_size",  # OpenAI's three scalars.
)


def is_unused(name: str, more: tuple[str, ...] = ()) -> bool:
  """Whether files have this tensor and no encoder needs it.

  Args:
    name: of a tensor.
    more: patterns of one family.
  """
  return any(re.fullmatch(pattern, name) for pattern in (*_UNUSED, *more))


def belongs(name: str, namings: tuple[Naming, ...]) -> bool:
  """Whether any naming knows this tensor, at any block."""
  pattern = re.sub(r"\.\d+\.", ".{i}.", name, count=1)
  return any(
    pattern in source.tensors or name in source.tensors
    for naming in namings
    for source in naming.sources.values()
  )
