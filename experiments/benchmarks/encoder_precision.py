"""What half precision costs an encoder's embeddings, on real images.

  python -m experiments.benchmarks.encoder_precision --encoder=dinov2_vits14 \\
      --weights=FILE --images=photos.zip --count=16 --workdir=DIR

Writes encoder_precision.json: 1 - cosine to float32 of the embedding and of the
patch tokens, in each half precision. Quote it of trained weights alone: the
activations of random ones are tamer.
"""

import dataclasses
import pathlib

import jax
import numpy as np
from absl import app, flags

import visual_memory as vm
from visual_memory import files
from visual_memory.encoders.layers import PRECISIONS
from visual_memory.encoders.outputs import ViTOutputs
from visual_memory.encoders.tokens import tokens_of
from visual_memory.reports import workdir

_ENCODER = flags.DEFINE_string("encoder", None, "Its name.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "Its file or directory.")
_IMAGES = flags.DEFINE_string("images", None, "A folder.", required=True)
_SPLIT = flags.DEFINE_string("split", None, "A part of the folder.")
_COUNT = flags.DEFINE_integer("count", 16, "How many images.")
_WORKDIR = flags.DEFINE_string("workdir", None, "For results.", required=True)


def main(argv: list[str]) -> None:
  """Measures every half precision and writes JSON."""
  if len(argv) > 1:
    raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}.")
  options = {"split": _SPLIT.value} if _SPLIT.value else {}
  source = vm.open_source("folder", path=_IMAGES.value, **options)
  rows = np.linspace(0, len(source) - 1, _COUNT.value).astype(int)
  images = [source[int(row)].image for row in rows]
  outputs, names = {}, ("embedding", "patch_tokens")
  for precision in PRECISIONS:
    encoder = vm.load_encoder(
      _ENCODER.value, weights=_WEIGHTS.value, precision=precision
    )
    outputs[precision] = jax.tree.map(np.asarray, tokens_of(encoder, images))
  report = {
    "encoder": _ENCODER.value,
    "position_rule": encoder.apply.config.position_rule,
    "num_images": len(images),
    "environment": workdir.environment(),
    "one_minus_cosine": {
      precision: {
        name: _errors(outputs["float32"], outputs[precision], name)
        for name in names
      }
      for precision in PRECISIONS[1:]
    },
  }
  path = pathlib.Path(_WORKDIR.value) / "encoder_precision.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_json(path, report)
  print(report["one_minus_cosine"])


def _errors(exact: ViTOutputs, half: ViTOutputs, name: str) -> dict[str, float]:
  """Least, mean and largest 1 - cosine over images, or over patches."""
  a, b = (
    np.float64(dataclasses.asdict(outputs)[name]) for outputs in (exact, half)
  )
  lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  errors = 1 - (a * b).sum(axis=-1) / lengths
  return {
    "least": float(errors.min()),
    "mean": float(errors.mean()),
    "most": float(errors.max()),
  }


if __name__ == "__main__":
  app.run(main)
