"""Every tower of this project as settings: of one transformer, or a ResNet.

  config = vit("vit_s", image_size=64, patch_size=8)

The published ones are in `families`.

References: ViT (Dosovitskiy et al., 2021), CLIP (Radford et al., 2021).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

PRECISIONS = ("float32", "bfloat16", "float16")
"""What `precision` may be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig:
  """The shape of a vision transformer, and the choices that families differ in.

  Attributes:
    patch_size: side of a patch in pixels.
    dim: width of a token.
    depth: number of blocks.
    num_heads: attention heads; dim is a multiple of it.
    mlp_dim: width of the hidden layer of a block.
    image_size: side of the images that it is used with by default, in pixels.
    grid: side, in patches, of the table of position embeddings that is stored.
    act: 'gelu' (exact, by erf), 'gelu_tanh' (its approximation) or
      'quick_gelu', x * sigmoid(1.702 x).
    ffn: 'mlp', or 'swiglu': silu of one half of the hidden layer gates the
      other.
    num_registers: extra tokens that carry no position.
    layer_scale: whether each residual branch is scaled per channel.
    eps: added to the variance by LayerNorm.
    ln_pre: whether tokens are normalized before the first block.
    patch_bias: whether the patch embedding has a bias.
    projection: dimension of a final linear map of the class token, or None.
    position_rule: how the table is resampled to other resolutions; see
      `patch_grid.resample`.
    stem: channels of the strided convolutions before the patches (`ConvStem`);
      patch_size, which counts pixels, is a multiple of 2 ** len(stem).
    class_token: whether there is one.
    pool: what the embedding is: 'class' (the class token, projected), 'map' (a
      learned query attends to all tokens: SigLIP) or 'mean' (of the patches).
    qkv_bias: whether queries, keys and values have a bias.
    rope: whether positions are rotations of queries and keys (DINOv3) in place
      of a table.
    ragged: whether rows and columns of pixels that fill no patch are left out,
      instead of being an error.
  """

  patch_size: int
  dim: int
  depth: int
  num_heads: int
  mlp_dim: int
  image_size: int
  grid: int
  act: str = "gelu"
  ffn: str = "mlp"
  num_registers: int = 0
  layer_scale: bool = False
  eps: float = 1e-6
  ln_pre: bool = False
  patch_bias: bool = True
  projection: int | None = None
  position_rule: str = "offset"
  stem: tuple[int, ...] = ()
  class_token: bool = True
  pool: str = "class"
  qkv_bias: bool = True
  rope: bool = False
  ragged: bool = False

  @property
  def num_first(self) -> int:
    """Tokens before those of the patches: class token and registers."""
    return int(self.class_token) + self.num_registers

  @property
  def embedding_dim(self) -> int:
    """The dimension of the image embedding."""
    return self.projection or self.dim


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig:
  """The shape of a ResNet of CLIP's; what it shares with a ViT is named alike.

  Attributes:
    layers: blocks of each of its four stages.
    width: channels of the narrow convolutions of the first stage.
    image_size: side of its images in pixels, a multiple of 32; of no others,
      for its pool has one position for each place of their grid.
    projection: dimension of the embedding.
    eps: added to the variance by batch normalization.
    patch_size: pixels from one place of the grid to the next.
    num_registers: there are none.
  """

  layers: tuple[int, ...]
  width: int
  image_size: int
  projection: int
  eps: float = 1e-5
  patch_size: ClassVar[int] = 32
  num_registers: ClassVar[int] = 0

  @property
  def dim(self) -> int:
    """Channels of the grid before the pool."""
    return 32 * self.width

  @property
  def depth(self) -> int:
    """The number of blocks."""
    return sum(self.layers)

  @property
  def num_heads(self) -> int:
    """Attention heads of the pool, of 64 values each."""
    return self.dim // 64

  @property
  def grid(self) -> int:
    """Side of the grid before the pool."""
    return self.image_size // self.patch_size

  @property
  def embedding_dim(self) -> int:
    """The dimension of the image embedding."""
    return self.projection


_WIDTHS = {
  # name: (dim, depth, num_heads); the hidden layer is four times as wide.
  "ti": (192, 12, 3),
  "s": (384, 12, 6),
  "b": (768, 12, 12),
  "l": (1024, 24, 16),
  "g": (1536, 40, 24),
  "h": (1280, 32, 16),
  "so400m": (1152, 27, 16),
  "clip_g": (1408, 40, 16),
  "bigg": (1664, 48, 16),
  "gopt": (1536, 40, 16),
}


def vit(name: str, *, image_size: int, patch_size: int, **changes) -> ViTConfig:
  """A plain ViT ('vit_ti', 'vit_s', 'vit_b', 'vit_l') at any resolution.

  Args:
    name: the width, depth and number of heads.
    image_size: side in pixels; a multiple of patch_size.
    patch_size: side of a patch in pixels.
    **changes: any other field of ViTConfig.

  Raises:
    ValueError: unknown name, or sizes that do not divide.
  """
  width = name.removeprefix("vit_")
  if width not in _WIDTHS or width == name:
    known = ", ".join(f"vit_{width}" for width in _WIDTHS)
    raise ValueError(f"Unknown ViT {name!r}; known: {known}.")
  if image_size % patch_size:
    raise ValueError(
      f"An image of {image_size} pixels is not a whole number of patches of"
      f" {patch_size} pixels: choose a multiple."
    )
  if patch_size % (1 << len(changes.get("stem", ()))):
    raise ValueError(
      f"A stem of {len(changes['stem'])} convolutions halves the image as many"
      f" times, and a patch of {patch_size} pixels is no multiple of that."
    )
  dim, depth, num_heads = _WIDTHS[width]
  fields = {
    "dim": dim,
    "depth": depth,
    "num_heads": num_heads,
    "mlp_dim": 4 * dim,
    "image_size": image_size,
    "patch_size": patch_size,
    "grid": image_size // patch_size,
  }
  return ViTConfig(**(fields | changes))


def config_from(values: Mapping[str, Any]) -> ViTConfig:
  """The config of plain values, as JSON brings them back.

  Raises:
    ValueError: a value that this version does not know.
  """
  known = {field.name for field in dataclasses.fields(ViTConfig)}
  unknown = sorted(set(values) - known)
  if unknown:
    raise ValueError(
      f"A vision transformer has no setting {', '.join(unknown)}: the file is"
      " of another version."
    )
  return ViTConfig(
    **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
  """The shape of a text tower.

  Attributes:
    width: width of a token.
    depth: number of blocks.
    num_heads: attention heads; width is a multiple of it.
    dim: dimension of the embedding, that of the image tower's.
    vocabulary_size: number of token ids; the largest id is the end mark.
    context_length: the most tokens in a row.
    act: as in ViTConfig.
    eps: added to the variance by LayerNorm.
    mlp_dim: width of the hidden layer of a block; 0: four times the width.
    causal: whether a token sees only itself and those before it. A text is then
      read at its end mark; otherwise at the last position, which is padding.
    projection_bias: whether the map to the embedding has a bias.
    logit_bias: whether there is one (SigLIP, whose logits go into a sigmoid).
    tokenizer: 'clip'; or 'siglip' or 'siglip2', whose vocabularies come with
      the weights.
  """

  width: int
  depth: int
  num_heads: int
  dim: int
  vocabulary_size: int = 49408
  context_length: int = 77
  act: str = "quick_gelu"
  eps: float = 1e-5
  mlp_dim: int = 0
  causal: bool = True
  projection_bias: bool = False
  logit_bias: bool = False
  tokenizer: str = "clip"
