"""CLIP by others: LAION, DataComp and MetaCLIP, as open_clip trains it.

References: Cherti et al., "Reproducible scaling laws for contrastive
language-image learning" (CVPR 2023); Gadre et al., "DataComp" (NeurIPS 2023);
Xu et al., "Demystifying CLIP Data" (ICLR 2024). Sizes, activations and
statistics as in open_clip's model and checkpoint tables.
"""

import dataclasses

from visual_memory.encoders.families import clip as clip_lib
from visual_memory.encoders.families.clip import clip
from visual_memory.encoders.families.family import Family, Model
from visual_memory.encoders.published.places import Published

_META = "https://dl.fbaipublicfiles.com/MMPT/metaclip"


def _laion(width: str, patch: int, hub: str, side: int = 224) -> Model:
  """Trained with exact GELU."""
  return clip(
    width, patch_size=patch, image_size=side, act="gelu", hub=f"laion/{hub}"
  )


def _meta(width: str, patch: int, file: str, hub: str, sha256: str) -> Model:
  """Trained with OpenAI's activation."""
  address = Published(url=f"{_META}/{file}.pt", sha256=sha256)
  return clip(
    width,
    patch_size=patch,
    address=address,
    hub=f"facebook/metaclip-{hub}" if hub else "",
    license="CC-BY-NC-4.0",
  )


def _half(model: Model) -> Model:
  """With the one checkpoint's own channel statistics."""
  preprocess = dataclasses.replace(
    model.preprocess, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
  )
  return dataclasses.replace(model, preprocess=preprocess)


OPEN_CLIP = Family(
  title="CLIP by LAION, DataComp and MetaCLIP",
  source=(
    "github.com/mlfoundations/open_clip; Meta AI,"
    " github.com/facebookresearch/MetaCLIP"
  ),
  license="MIT",
  models={
    "clip_vitb32_laion2b": _laion("b", 32, "CLIP-ViT-B-32-laion2B-s34B-b79K"),
    "clip_vitb16_laion2b": _laion("b", 16, "CLIP-ViT-B-16-laion2B-s34B-b88K"),
    "clip_vitl14_laion2b": _half(
      _laion("l", 14, "CLIP-ViT-L-14-laion2B-s32B-b82K")
    ),
    "clip_vith14_laion2b": _laion("h", 14, "CLIP-ViT-H-14-laion2B-s32B-b79K"),
    "clip_vitg14_laion2b": _laion(
      "clip_g", 14, "CLIP-ViT-g-14-laion2B-s34B-b88K"
    ),
    "clip_vitbigg14_laion2b": _laion(
      "bigg", 14, "CLIP-ViT-bigG-14-laion2B-39B-b160k"
    ),
    "clip_vitb32_datacomp": _laion(
      "b", 32, "CLIP-ViT-B-32-DataComp.XL-s13B-b90K"
    ),
    "clip_vitb32_256_datacomp": _laion(
      "b", 32, "CLIP-ViT-B-32-256x256-DataComp-s34B-b86K", side=256
    ),
    "clip_vitb16_datacomp": _laion(
      "b", 16, "CLIP-ViT-B-16-DataComp.XL-s13B-b90K"
    ),
    "clip_vitl14_datacomp": _laion(
      "l", 14, "CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
    ),
    "metaclip_vitb32_400m": _meta(
      "b", 32, "b32_400m", "b32-400m",
      "3c68642594a329afc1ec0fe489ee2b58ab19c9d0556ccf7c404a59baa0762d71",
    ),
    "metaclip_vitb16_400m": _meta(
      "b", 16, "b16_400m", "b16-400m",
      "68dfb5996c52a8f4fecb9bd16601e97e1895236645082778bd9cede8429a8d49",
    ),
    "metaclip_vitl14_400m": _meta(
      "l", 14, "l14_400m", "l14-400m",
      "51c782959f920b030779e494517b8d545f56794df6b0a2796a4c310455a361be",
    ),
    "metaclip_vitb32": _meta(
      "b", 32, "b32_fullcc2.5b", "b32-fullcc2.5b",
      "885b7ec11fe07a9826e2e6812d70e5011918e32fe9b12136b49d5dded92b4386",
    ),
    "metaclip_vitb16": _meta(
      "b", 16, "b16_fullcc2.5b", "b16-fullcc2.5b",
      "512ea0fb9f2cf88d027e96e4674247a1a91a96af18abc2e2fcdb8008c551e04b",
    ),
    "metaclip_vitl14": _meta(
      "l", 14, "l14_fullcc2.5b", "l14-fullcc2.5b",
      "ce24750710544ee288ef0abdead2016730da1893a1d07447bda3a75e1c148f97",
    ),
    "metaclip_vith14": _meta(
      "h", 14, "h14_fullcc2.5b", "h14-fullcc2.5b",
      "1286807d5cc8d9a0b12563b47474efb53b9522eb3d7eac5a9a5d39c3a776ad5c",
    ),
    "metaclip_vitbigg14": _meta(
      "bigg", 14, "G14_fullcc2.5b", "",
      "5fe2b83c7439e0caa2c855dec9a2eaa54f17f3ced288218564b640ca7953447f",
    ),
  },
  image=clip_lib.IMAGE,
  text=clip_lib.TEXT,
  read_config=clip_lib.read_config,
)  # fmt: skip
