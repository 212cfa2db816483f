"""The encoders there are, as names that know what they name.

names = list_encoders()          # shown as a table
names[4], names[4].license       # 'dinov2_vits14', 'Apache-2.0'
"""

import html
from collections.abc import Iterable

from visual_memory.encoders.families import catalog
from visual_memory.encoders.settings import (
  ResNetConfig,
  TextConfig,
  ViTConfig,
)


class EncoderName(str):
  """A name for `load_encoder`, and what it names.

  Attributes:
    family: "DINOv2", ...; "" of an encoder without published weights.
    image_size: side of its images in pixels.
    dim: of its embedding.
    num_params: of the image tower; 0 where that depends on options.
    num_text_params: of the text tower; 0 if there is none.
    license: of its weights.
    address: where they come from: a URL, or a repository on the hub.
  """

  family: str = ""
  image_size: int = 0
  dim: int = 0
  num_params: int = 0
  num_text_params: int = 0
  license: str = ""
  address: str = ""


class EncoderNames(tuple[EncoderName, ...]):
  """Names in the order of the families; its repr is a table."""

  def __repr__(self) -> str:
    """One line for each encoder."""
    rows = [_HEADER, *(_row(name) for name in self)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = (
      "  ".join(
        cell.ljust(width) for cell, width in zip(row, widths, strict=True)
      )
      for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)

  def _repr_html_(self) -> str:
    """The same in a notebook."""
    head, *body = [_HEADER, *(_row(name) for name in self)]
    cells = lambda row, tag: "".join(
      f"<{tag} style='text-align:left'>{html.escape(cell)}</{tag}>"
      for cell in row
    )
    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in body)
    return f"<table><tr>{cells(head, 'th')}</tr>{rows}</table>"

  def to_markdown(self) -> str:
    """The same as a page shows it."""
    rows = [_HEADER, ("---",) * len(_HEADER)]
    rows += [(f"`{name}`", *_row(name)[1:]) for name in self]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_HEADER = (
  "name", "family", "pixels", "dim", "parameters", "text", "licence", "weights",
)  # fmt: skip


def names_of(known: Iterable[str]) -> EncoderNames:
  """These names, with what is known of the published ones."""
  return EncoderNames(_named(name) for name in known)


def _named(name: str) -> EncoderName:
  named = EncoderName(name)
  model = catalog.MODELS.get(name)
  if model is not None:
    family = catalog.FAMILY_OF[name]
    named.family = family.title
    named.image_size = model.image.image_size
    named.dim = model.image.embedding_dim
    named.num_params = count_image(model.image)
    named.num_text_params = count_text(model.text) if model.text else 0
    named.license = model.license or family.license
    named.address = model.address.url if model.address else model.hub
  return named


def _row(name: EncoderName) -> tuple[str, ...]:
  if not name.family:
    return (str(name), "no download", *("",) * (len(_HEADER) - 2))
  millions = lambda count: f"{count / 1e6:,.0f} M" if count else ""
  return (
    str(name), name.family, str(name.image_size), str(name.dim),
    millions(name.num_params), millions(name.num_text_params), name.license,
    name.address,
  )  # fmt: skip


def count_image(config: ViTConfig | ResNetConfig) -> int:
  """The number of parameters of an image tower without a stem.

  The statistics of batch normalization, which nothing trains, are none.
  """
  if isinstance(config, ResNetConfig):
    return _count_resnet(config)
  dim, projection = config.dim, config.projection or 0
  tokens = config.num_registers + config.class_token
  positions = 0 if config.rope else config.grid**2 + config.class_token
  total = dim * (3 * config.patch_size**2 + config.patch_bias)
  total += dim * (tokens + positions + 2 + 2 * config.ln_pre + projection)
  total += config.depth * _count_block(
    dim,
    config.mlp_dim,
    gated=config.ffn == "swiglu",
    qkv_bias=config.qkv_bias,
    layer_scale=config.layer_scale,
  )
  if config.pool == "map":  # A block with one LayerNorm and a probe.
    total += _count_block(dim, config.mlp_dim) - dim
  return total


def _count_resnet(config: ResNetConfig) -> int:
  half, dim, projection = config.width // 2, config.dim, config.projection
  conv = lambda side, sources, targets: (side**2 * sources + 2) * targets
  total = conv(3, 3, half) + conv(3, half, half) + conv(3, half, 2 * half)
  sources = config.width
  for stage, depth in enumerate(config.layers):
    width = config.width << stage
    total += conv(1, sources, 4 * width)  # The shortcut of the first block.
    for _ in range(depth):
      total += conv(1, sources, width) + conv(3, width, width)
      total += conv(1, width, 4 * width)
      sources = 4 * width
  total += dim * (1 + config.grid**2)
  return total + 3 * dim * (dim + 1) + (dim + 1) * projection


def count_text(config: TextConfig) -> int:
  """The number of parameters of a text tower, with those of its logits."""
  width = config.width
  total = width * (config.vocabulary_size + config.context_length + 2)
  total += config.dim * (width + config.projection_bias) + 1 + config.logit_bias
  return total + config.depth * _count_block(width, config.mlp_dim or 4 * width)


def _count_block(
  dim: int,
  mlp_dim: int,
  *,
  gated: bool = False,
  qkv_bias: bool = True,
  layer_scale: bool = False,
) -> int:
  attention = 4 * dim * dim + dim * (1 + 3 * qkv_bias)
  mlp = (2 + gated) * dim * mlp_dim + (1 + gated) * mlp_dim + dim
  return attention + mlp + 4 * dim + 2 * dim * layer_scale
