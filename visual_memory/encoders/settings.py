"""Every image tower of this project as settings of one vision transformer.

  config = CONFIGS["dinov2_vits14_reg"]
  config = vit("vit_s", image_size=64, patch_size=8)

DINOv3 is not among them: its rotary positions would enter `Attention` between
the qkv layer and the product, and its weights may not be downloaded freely.

References: DINOv2 (Oquab et al., 2024), registers (Darcet et al., 2024), DINO
(Caron et al., 2021), CLIP (Radford et al., 2021), ViT (Dosovitskiy et al.,
2021); sizes as in the authors' released code and weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


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
    act: 'gelu' (exact, by erf) or 'quick_gelu', x * sigmoid(1.702 x).
    ffn: 'mlp', or 'swiglu': silu of one half of the hidden layer gates the
      other.
    num_registers: extra tokens that carry no position.
    layer_scale: whether each residual branch is scaled per channel.
    eps: added to the variance by LayerNorm.
    ln_pre: whether tokens are normalized before the first block.
    patch_bias: whether the patch embedding has a bias.
    projection: dimension of a final linear map of the class token, or None.
    position_rule: how the table is resampled to other resolutions; see
      `position.resample`.
    stem: channels of the strided convolutions before the patches (`ConvStem`);
      patch_size, which counts pixels, is a multiple of 2 ** len(stem).
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

  @property
  def embedding_dim(self) -> int:
    """The dimension of the image embedding."""
    return self.projection or self.dim


_WIDTHS = {
  # name: (dim, depth, num_heads); the hidden layer is four times as wide.
  "ti": (192, 12, 3),
  "s": (384, 12, 6),
  "b": (768, 12, 12),
  "l": (1024, 24, 16),
  "g": (1536, 40, 24),
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


def _dinov2(width: str, *, registers: bool) -> ViTConfig:
  """DINOv2: trained at 518 pixels (37 patches a side), used at 224."""
  giant = {"ffn": "swiglu", "mlp_dim": 4096} if width == "g" else {}
  return vit(
    f"vit_{width}",
    image_size=224,
    patch_size=14,
    grid=37,
    layer_scale=True,
    num_registers=4 if registers else 0,
    # The two releases of the weights come with different rules.
    position_rule="antialias" if registers else "offset",
    **giant,
  )


def _clip(
  width: str, *, patch_size: int, projection: int, image_size: int = 224
) -> ViTConfig:
  return vit(
    f"vit_{width}",
    image_size=image_size,
    patch_size=patch_size,
    act="quick_gelu",
    eps=1e-5,
    ln_pre=True,
    patch_bias=False,
    projection=projection,
    position_rule="plain",
  )


CONFIGS: dict[str, ViTConfig] = {
  **{f"dinov2_vit{w}14": _dinov2(w, registers=False) for w in "sblg"},
  **{f"dinov2_vit{w}14_reg": _dinov2(w, registers=True) for w in "sblg"},
  **{
    f"dino_vit{w}{patch}": vit(f"vit_{w}", image_size=224, patch_size=patch)
    for w in "sb"
    for patch in (8, 16)
  },
  "clip_vitb32": _clip("b", patch_size=32, projection=512),
  "clip_vitb16": _clip("b", patch_size=16, projection=512),
  "clip_vitl14": _clip("l", patch_size=14, projection=768),
  "clip_vitl14_336": _clip("l", patch_size=14, projection=768, image_size=336),
}
"""Every published image tower, by the name that `load_encoder` knows."""
