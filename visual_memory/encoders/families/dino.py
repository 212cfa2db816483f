"""DINO and DINOv2, without and with registers.

References: DINO (Caron et al., 2021), DINOv2 (Oquab et al., 2024), registers
(Darcet et al., 2024); sizes as in the authors' released code and weights.
"""

from visual_memory.data.preprocess import PRESETS
from visual_memory.encoders.families import vit_layouts
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published.download import Published
from visual_memory.encoders.settings import ViTConfig, vit

_ROOT = "https://dl.fbaipublicfiles.com"
_SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}


def _dinov2_tower(width: str, *, registers: bool) -> ViTConfig:
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


def _dinov2(width: str, *, registers: bool) -> Model:
  name = f"dinov2_vit{width}14"
  file = f"{name}_reg4_pretrain.pth" if registers else f"{name}_pretrain.pth"
  hub = "dinov2-with-registers" if registers else "dinov2"
  return Model(
    image=_dinov2_tower(width, registers=registers),
    preprocess=PRESETS["dino"],
    address=Published(url=f"{_ROOT}/dinov2/{name}/{file}"),
    hub=f"facebook/{hub}-{_SIZES[width]}",
  )


def _dino(width: str, patch: int) -> Model:
  folder = f"dino_{ {'s': 'deitsmall', 'b': 'vitbase'}[width] }{patch}_pretrain"
  return Model(
    image=vit(f"vit_{width}", image_size=224, patch_size=patch),
    preprocess=PRESETS["dino"],
    address=Published(url=f"{_ROOT}/dino/{folder}/{folder}.pth"),
    hub=f"facebook/dino-vit{width}{patch}",
  )


IMAGE = (
  vit_layouts.hub("hub"),
  vit_layouts.hub("hub", fc1="w12", fc2="w3"),
  vit_layouts.hf_dinov2("fc1", "fc2"),
  vit_layouts.hf_dinov2("weights_in", "weights_out"),
  vit_layouts.hf_vit(),
)
"""The namings that a DINO or DINOv2 checkpoint may follow."""

DINOV2 = Family(
  title="DINOv2",
  source="Meta AI, github.com/facebookresearch/dinov2 (MODEL_CARD.md)",
  license="Apache-2.0",
  models={
    **{f"dinov2_vit{w}14": _dinov2(w, registers=False) for w in _SIZES},
    **{f"dinov2_vit{w}14_reg": _dinov2(w, registers=True) for w in _SIZES},
  },
  image=IMAGE,
)
DINO = Family(
  title="DINO",
  source="Meta AI, github.com/facebookresearch/dino",
  license="Apache-2.0",
  models={f"dino_vit{w}{p}": _dino(w, p) for w in "sb" for p in (8, 16)},
  image=IMAGE,
)
