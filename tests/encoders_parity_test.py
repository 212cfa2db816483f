"""Encoders as loaded against transformers: every family in every layout.

With VISUAL_MEMORY_PARITY set, the table is written to the file that it names.
"""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the live comparison needs torch")
pytest.importorskip("transformers", reason="needs transformers")

import parity_cases as cases

from visual_memory.encoders import resnet, vit
from visual_memory.encoders.families import catalog
from visual_memory.encoders.published import params as params_lib
from visual_memory.encoders.text import text_tower

# Relative to the largest value; float32 rounding is 1e-6, the tanh form of
# GELU or a wrong epsilon in LayerNorm is 1e-5 to 1e-3.
MOST = 1e-5

run = jax.jit(vit.forward, static_argnames=("config", "precision"))
run_resnet = jax.jit(resnet.forward, static_argnames=("config", "precision"))
run_text = jax.jit(text_tower.forward, static_argnames=("config", "precision"))


@pytest.fixture(scope="module")
def table():
  """Rows of the table: family, layout, what, and the largest difference."""
  rows = []
  yield rows
  if path := os.environ.get("VISUAL_MEMORY_PARITY"):
    import transformers

    content = {
      "against": f"transformers {transformers.__version__}, ResNets to torch",
      "torch": torch.__version__,
      "command": "VISUAL_MEMORY_PARITY=experiments/results/encoder_parity.json"
      " python -m pytest tests/encoders_parity_test.py",
      "difference": "largest absolute, over the largest value; float32",
      "rows": rows,
    }
    pathlib.Path(path).write_text(json.dumps(content, indent=1) + "\n")


def loaded(case, folder):
  """The towers of a case's files, by the way that load_encoder goes."""
  family, layout = case
  kind = family.split(",")[0]
  weights = folder / "model.pth" if (folder / "model.pth").exists() else folder
  described = any(
    (folder / f"{n}config.json").exists() for n in ("", "open_clip_")
  )
  if described and (kind, layout) != ("SigLIP", "open_clip"):
    found = catalog.find(str(folder))
    assert found.is_described
    family, model, weights = found.family, found.model, found.place
  else:  # A file alone: its name says what it is, here at a small size.
    described = folder / "described"
    described.mkdir()
    origin = "open_clip" if kind == "CLIP" else "Hugging Face"
    cases.write((case[0], origin), described)
    model = catalog.find(str(described)).model
    key = {"ViT": "plain_vit", "SigLIP": "siglip", "DINOv3": "dinov3",
           "CLIP": "clip_resnet"}[kind]  # fmt: skip
    family = catalog.FAMILIES[key]
  both = {"unused": family.unused}
  network = resnet if case[0] == cases.RESNETS else vit
  image = params_lib.load_tower(
    weights, template=network.shapes(model.image), namings=family.image,
    others=family.text, **both,
  )  # fmt: skip
  text = model.text and params_lib.load_tower(
    weights, template=text_tower.shapes(model.text), namings=family.text,
    others=family.image, **both,
  )  # fmt: skip
  return model, image, text


@pytest.mark.parametrize("case", cases.CASES, ids=" as ".join)
def test_equal_to_transformers(case, table, tmp_path_factory):
  family, layout = case
  folder = tmp_path_factory.mktemp("files")
  model = cases.write(case, folder)
  ours, image, text = loaded(case, folder)
  random = np.random.RandomState(1)
  config, forward, sizes = ours.image, run, cases.SIZES
  if family == cases.RESNETS:
    forward, sizes = run_resnet, ()
  else:  # What another size is resampled by, others decide otherwise.
    config = dataclasses.replace(config, position_rule="plain")
  if "registers" in family:
    assert ours.image.position_rule == "antialias"
    config = ours.image
  tokens = random.randint(3, 80, (2, 12))
  tokens[0, 5:], tokens[1, 9:] = 89, 89  # End marks, the largest id.
  native = (ours.image.image_size,) * 2
  for size in sorted({native, *sizes[1:]}):
    if size != native and ours.image.ragged:
      continue
    pixels = random.standard_normal((2, *size, 3)).astype(np.float32)
    expected = cases.outputs(family, model, pixels, tokens)
    outputs = forward(image.params, pixels, config=config)
    found = {
      "class": outputs.class_token,
      "pooled": outputs.embedding,
      "patches": outputs.patch_tokens,
    }
    if text:
      found["text"] = run_text(text.params, tokens, config=ours.text)
    for what, theirs in expected.items():
      scale = np.abs(theirs).max()
      difference = np.abs(np.asarray(found[what]) - theirs).max() / scale
      table.append(
        {
          "family": family, "layout": layout, "what": what,
          "size": f"{size[0]} x {size[1]}", "difference": float(difference),
        }
      )  # fmt: skip
      assert difference <= MOST, (what, size)


def test_a_wrong_activation_would_be_seen(tmp_path):
  """The comparison can fail: exact GELU run with OpenAI's activation."""
  model = cases.write(("CLIP, gelu", "Hugging Face"), tmp_path)
  ours, image, _ = loaded(("CLIP, gelu", "Hugging Face"), tmp_path)
  assert ours.image.act == ours.text.act == "gelu"
  pixels = np.random.RandomState(1).standard_normal((2, 28, 28, 3)).astype("f")
  theirs = cases.outputs("CLIP", model, pixels, np.ones((1, 12)))["pooled"]
  wrong = dataclasses.replace(ours.image, act="quick_gelu")
  outputs = run(image.params, pixels, config=wrong).embedding
  assert np.abs(outputs - theirs).max() / np.abs(theirs).max() > 100 * MOST
